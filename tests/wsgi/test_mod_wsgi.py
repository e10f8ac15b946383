"""What Apache does beside the suite: settings in the way, processes that go, requests before."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from tests.asgi.stream_socket import StreamSocket
from tests.peer import CLOSE, TEXT, Peer, frame
from tests.tls import Certificate
from tests.wsgi import apache
from tests.wsgi.asking import check_plain, get
from tests.wsgi.kinds import SHAPES, Kind, errors_in, kind_of, serve
from tests.wsgi.replacing import ENOUGH, check_all_shapes, check_handed_on, check_used_up
from tests.wsgi.test_no_socket import ask, handshake
from tests.wsgi.test_stopping import SOON, check_told, open_some
from tests.wsgi.test_tls import SecurePeer
from ws_middleware.wsgi.mod_wsgi import find_setting

NAMES = ["apache-event", "apache-prefork"]
names = pytest.mark.parametrize("name", NAMES)


def configured(name: str, *lines: str) -> Kind:
    """Give a server with further lines in its configuration."""
    kind = kind_of(name)
    return replace(kind, options=(*kind.options, *lines))


def loading(module: str) -> str:
    return f"LoadModule {module}_module {apache.MODULES}/mod_{module}.so"


# --- what stands in the way ---


def check_refused(peer: Peer, *words: str) -> None:
    peer.send(peer.request("/async"))
    reply = peer.reply()
    assert reply.status == 501
    text = peer.body(reply).decode()
    assert text.startswith("Apache's mod_wsgi keeps its sockets to itself: ")
    for word in words:
        assert word in text


def test_nothing_is_taken_of_what_apache_was_not_told_to_hand_over(tmp_path: Path) -> None:
    options = (*apache.EVENT, "WSGIApplicationGroup %{GLOBAL}")
    kind = replace(kind_of("apache-event"), options=options)
    with serve(kind, tmp_path / "log") as server, Peer(server.port) as peer:
        check_refused(peer, "set WSGIPassApacheRequest On", "upgrade=websocket")
        check_plain(server.port)


def test_daemon_mode_is_told_what_works(tmp_path: Path) -> None:
    process = f"WSGIDaemonProcess apart python-home=/usr python-path={apache.PATH}"
    kind = configured("apache-event", process, "WSGIProcessGroup apart")
    with serve(kind, tmp_path / "log") as server, Peer(server.port) as peer:
        check_refused(peer, "daemon mode", "upgrade=websocket")


def test_sub_interpreter_is_told_what_works(tmp_path: Path) -> None:
    # Not all versions of mod_wsgi end one in order under the event module, whatever the app is.
    kind = configured("apache-prefork", "WSGIApplicationGroup %{SERVER}")
    with serve(kind, tmp_path / "log") as server, Peer(server.port) as peer:
        check_refused(peer, "set WSGIApplicationGroup %{GLOBAL}")


@contextlib.contextmanager
def secured(certificate: Certificate, log: Path, *lines: str) -> Iterator[Callable[[], Peer]]:
    """Serve over TLS; gives what connects."""
    kind = configured(
        "apache-event",
        *(loading("ssl"), "SSLEngine on"),
        f"SSLCertificateFile {certificate.certfile}",
        f"SSLCertificateKeyFile {certificate.keyfile}",
        *lines,
    )
    with serve(kind, log) as server:
        yield lambda: SecurePeer(server.port, certificate)


def test_tls_is_not_written_into(tmp_path: Path, certificate: Certificate) -> None:
    with secured(certificate, tmp_path / "log") as connect, connect() as peer:
        check_refused(peer, "TLS", "upgrade=websocket")


def test_what_works_instead(tmp_path: Path, certificate: Certificate) -> None:
    with contextlib.ExitStack() as stack:
        gunicorn = stack.enter_context(serve(kind_of("gunicorn-sync"), tmp_path / "log"))
        *lines, passing = apache.PASSED_ON
        passing = passing.replace("/live/", "/").replace(":8000", f":{gunicorn.port}")
        assert passing.count("/ ") == 2
        modules = [loading(name) for name in ("proxy", "proxy_http")]
        connecting = secured(certificate, tmp_path / "apache.log", *modules, *lines, passing)
        connect = stack.enter_context(connecting)
        for shape in SHAPES:
            with connect() as peer:
                peer.open(f"/{shape}", fields={"Origin": f"https://{peer.host}"})
                peer.echo("x" * 300_000)
                peer.send_frame(CLOSE, b"\x03\xe8")
                assert peer.read_close() == (1000, "")  # behind which Apache ends TLS abruptly


def test_streams_of_http_2_are_not_taken_for_the_connection(tmp_path: Path) -> None:
    kind = configured(
        "apache-event",
        *(loading("http2"), "Protocols h2c http/1.1", "H2WebSockets on"),
    )
    with serve(kind, tmp_path / "log") as server, Peer(server.port) as peer:
        peer.socket = cast(socket.socket, StreamSocket(peer.socket, "http"))
        peer.send(peer.request("/async"))
        reply = peer.reply()
        assert reply.status == 400
        assert b"opened with HTTP/1.1" in peer.body(reply)


HANDED_OVER = {
    "mod_wsgi.process_group": "",
    "mod_wsgi.application_group": "",
    "apache.request_rec": None,
    "apache.version": (2, 4, 41),
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "this Apache has no ap_ssl_conn_is_ssl, use 2.4.48 or later"),
        ({"apache.version": (2, 6, 0)}, "this is not Apache 2.4, let mod_proxy_http"),
    ],
)
def test_other_apaches_are_left_alone(changes: dict[str, Any], words: str) -> None:
    status, text = ask(handshake(**{**HANDED_OVER, **changes}))
    assert status.startswith("501 ")
    assert words in text


def test_windows_is_told_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("os.name", "nt")
        problem = find_setting(HANDED_OVER)
    assert problem.startswith("none can be parked on Windows, let mod_proxy_http")


# --- requests before ours ---


@names
def test_pipelined_requests_are_answered_first(name: str, tmp_path: Path) -> None:
    with serve(kind_of(name), tmp_path / "log") as server, Peer(server.port) as peer:
        page = f"GET /plain HTTP/1.1\r\nHost: {peer.host}\r\n\r\n".encode()
        peer.send(page * 3 + peer.request("/async") + frame(TEXT, "early"))
        for _ in range(3):
            assert peer.body(peer.reply()) == b"plain page"
        assert peer.reply().status == 101
        assert peer.read_message() == "early"
        peer.close()


@names
def test_connection_that_was_kept_alive(name: str, tmp_path: Path) -> None:
    with serve(kind_of(name), tmp_path / "log") as server, Peer(server.port) as peer:
        assert get(peer).body == b"plain page"
        peer.open("/async").echo("on the same connection")
        peer.close()


@names
def test_in_place(name: str, tmp_path: Path) -> None:
    kind = kind_of(name)
    with serve(kind, tmp_path / "log", settings=", park=False") as server:
        check_all_shapes(server.port, 300_000)
        assert not errors_in(server.log), server.log


def test_worker_module(tmp_path: Path) -> None:
    kind = replace(kind_of("apache-event"), options=(*apache.WORKER, *apache.OPENED))
    with serve(kind, tmp_path / "log") as server, contextlib.ExitStack() as stack:
        check_all_shapes(server.port)
        peers = open_some(server.port, stack, each=1)
        server.terminate()
        check_told(peers)
        server.wait(SOON)
        assert not errors_in(server.log), server.log


# --- processes that go ---


@names
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1], ids=["restart", "graceful"])
def test_restart(name: str, number: int, tmp_path: Path) -> None:
    check_handed_on(kind_of(name), tmp_path / "log", end=lambda server: server.terminate(number))


@names
def test_graceful_stop(name: str, tmp_path: Path) -> None:
    with serve(kind_of(name), tmp_path / "log") as server, contextlib.ExitStack() as stack:
        peers = open_some(server.port, stack, each=1)
        server.terminate(signal.SIGWINCH)
        check_told(peers)
        server.wait(SOON)
        assert not errors_in(server.log), server.log


@names
def test_process_that_has_served_enough(name: str, tmp_path: Path) -> None:
    lines = ("ServerLimit 2", f"MaxConnectionsPerChild {ENOUGH}", "KeepAlive Off")
    check_used_up(configured(name, *lines), tmp_path / "log")


@names
def test_stop_while_a_request_runs(name: str, tmp_path: Path) -> None:
    """The event module awaits its requests, for a while, before Python hears of anything."""
    with serve(kind_of(name), tmp_path / "log") as server, contextlib.ExitStack() as stack:
        peers = open_some(server.port, stack, each=1)
        running = stack.enter_context(Peer(server.port))
        length = "Content-Length: 10\r\nExpect: 100-continue"
        running.send(f"POST /posted HTTP/1.1\r\nHost: {running.host}\r\n{length}\r\n\r\n".encode())
        assert running.reply().status == 100  # the app has begun to read
        server.terminate()
        check_told(peers)
        running.reset()
        server.wait(SOON)
