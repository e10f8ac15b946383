"""Every option does what it says, as seen from the other side of the connection."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Connect, Start
from tests.cli.talking import UnixPeer, get, run
from tests.peer import PING, TEXT, Peer
from tests.running import RunningServer, eventually
from tests.tls import Certificate, make_certificate
from ws_middleware.cli.serve import make_parser
from ws_middleware.version import VERSION

ROUTES = "tests.cli.service:ws"


def test_without_a_target_it_echoes_on_every_path_and_has_a_page(
    start: Start, connect: Connect
) -> None:
    server = start()
    for path in ("/", "/some/path"):
        connect(server, path).echo("hello")
    status, page = get(server, "/")
    assert (status, page[:15]) == (200, b"<!doctype html>")
    assert get(server, "/elsewhere")[0] == 404


def test_first_line_tells_urls_and_routes(start: Start) -> None:
    server = start(ROUTES)
    where = f"http://127.0.0.1:{server.port}/ and ws://127.0.0.1:{server.port}/"
    routes = "/echo /hasty /patient /process /path /raises"
    line = f"ws_middleware {VERSION} serves {where}, routes: {routes} (Ctrl+C stops)"
    assert re.fullmatch(r"[-\d]+ [:\d]+,\d+ INFO " + re.escape(line) + "\n", server.log)


def test_port(start_exactly: Start, connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = start_exactly("--port", str(port))
    eventually(lambda: f"serves http://127.0.0.1:{port}/ " in server.log)
    server.port = port
    connect(server).echo("hello")


def test_host_may_be_an_ipv6_address(start: Start, connect: Connect) -> None:
    server = start("--host", "::1")
    assert f" serves http://[::1]:{server.port}/ and ws://[::1]:{server.port}/" in server.log
    connect(server, "/", "::1").echo("hello")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def check_secure(server: RunningServer, certificate: Certificate) -> None:
    place = f"127.0.0.1:{server.port}/"
    assert f" serves https://{place} and wss://{place}" in server.log
    context = certificate.client_context()
    for _ in range(2):  # two processes, where there are some
        with Peer(server.port) as peer:
            peer.socket = context.wrap_socket(peer.socket, server_hostname="localhost")
            peer.open("/").echo("hello")


@pytest.mark.parametrize("more", [[], ["--workers", "2"], ["--reload"]], ids=" ".join)
def test_certificate_and_key(start: Start, tmp_path: Path, more: list[str]) -> None:
    certificate = make_certificate(tmp_path)
    check_secure(start(*certificate.arguments, *more), certificate)


def test_certificate_with_its_key_in_one_file(start: Start, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.certfile.read_bytes() + certificate.keyfile.read_bytes())
    check_secure(start("--certfile", str(both)), certificate)


@pytest.mark.parametrize("more", [[], ["--workers", "2"], ["--reload"]], ids=" ".join)
def test_max_size(start: Start, connect: Connect, more: list[str]) -> None:
    server = start(ROUTES, "--max-size", "1000", *more)
    connect(server).echo(bytes(1000))
    peer = connect(server)
    peer.send_frame(TEXT, "x" * 1001)
    assert "max_message_size=1000" in peer.expect_failure(1009)


def test_max_size_holds_for_the_sockets_of_an_asgi_app_too(start: Start, connect: Connect) -> None:
    peer = connect(start("tests.cli.service:asgi_app", "--max-size", "1000"), "/any")
    peer.echo("x" * 1000)
    peer.send_frame(TEXT, "x" * 1001)
    peer.expect_failure(1009)


def test_ping_interval(start: Start, connect: Connect) -> None:
    peer = connect(start(ROUTES, "--ping-interval", "0.1"))
    assert peer.read_frame().opcode == PING


def test_ping_interval_of_0_sends_none(start: Start, connect: Connect) -> None:
    peer = connect(start(ROUTES, "--ping-interval", "0"), "/hasty")
    peer.socket.settimeout(1)
    with pytest.raises(TimeoutError):  # the route's own interval is a tenth of this
        peer.read_frame()


@pytest.mark.parametrize(
    ("arguments", "agreed"), [([], "permessage-deflate"), (["--no-compression"], None)]
)
def test_no_compression(start: Start, arguments: list[str], agreed: str | None) -> None:
    server = start(ROUTES, *arguments)
    with Peer(server.port) as peer:
        peer.open("/echo", fields={"Sec-WebSocket-Extensions": "permessage-deflate"})
        extensions = peer.fields.get("sec-websocket-extensions")
    assert (extensions and extensions.partition(";")[0]) == agreed


@pytest.mark.parametrize("prefix", ["/below", "/below/", "below"])
def test_root_path(start: Start, connect: Connect, prefix: str) -> None:
    server = start(ROUTES, "tests.cli.service:asgi_app", "--root-path", prefix)
    assert f" serves http://127.0.0.1:{server.port}/ " in server.log
    assert get(server, "/page") == (200, b"asgi /below/page /below")
    for path in ("/path", "/below/path"):  # taken away by the proxy, or not
        assert connect(server, path).read_message() == "/path"


def test_page_is_found_below_a_root_path(start: Start) -> None:
    assert get(start("--root-path", "/below"), "/")[0] == 200


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("debug", ["Started server process", "serves", "GET /page", "LookupError", "stopped"]),
        ("info", ["serves", "GET /page", "LookupError", "stopped"]),
        ("warning", ["LookupError"]),
        ("error", ["LookupError"]),
        ("critical", []),
    ],
)
def test_log_level(start_exactly: Start, tmp_path: Path, level: str, told: list[str]) -> None:
    path = tmp_path / "socket"
    app = "tests.cli.service:asgi_app"
    server = start_exactly(ROUTES, app, "--uds", str(path), "--log-level", level)
    eventually(path.exists)
    with UnixPeer(path) as peer:
        peer.send(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert peer.reply().status == 200
    with UnixPeer(path) as peer:
        peer.open("/raises")
        peer.expect_failure(1011)
    server.terminate()
    assert server.wait() == 0
    everything = ["Started server process", "serves", "GET /page", "LookupError", "stopped"]
    assert [words for words in everything if words in server.log] == told


def test_help_knows_every_option() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for action in make_parser()._actions:
        assert all(name in done.stdout for name in action.option_strings)


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ws_middleware {VERSION}\n", "")


def test_same_command_has_a_name_of_its_own() -> None:
    program = shutil.which("ws-middleware", path=str(Path(sys.executable).parent))
    assert program is not None
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"ws_middleware {VERSION}\n"
