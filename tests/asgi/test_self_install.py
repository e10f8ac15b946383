"""Plain `uvicorn app:app` is enough, whatever stands around our middleware; so it is elsewhere."""

from __future__ import annotations

import select
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.asgi.handshaking import request_bytes
from tests.peer import PATIENCE, PING, PONG, Peer
from tests.running import ROOT, RunningServer, eventually, free_port, is_listening, run_command


@contextmanager
def serving(folder: Path, app: str, *options: str, cwd: Path = ROOT) -> Iterator[RunningServer]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), *options]
    with run_command(command, folder / "log", cwd=cwd) as server:
        server.port = port
        eventually(lambda: is_listening(port) or "Uvicorn running on unix" in server.log)
        yield server


def ask(port: int, path: str = "/ping") -> str | bytes:
    """Answer a ping, if one comes; gives what the handler says then."""
    with Peer(port) as peer:
        peer.open(path)
        received = peer.read_frame()
        if received.opcode == PING:
            peer.send_frame(PONG, received.payload)
            received = peer.read_frame()
        return received.payload.decode()


@pytest.mark.parametrize(
    ("name", "options"),
    [("whole", ()), ("added", ()), ("stacked", ()), ("stacked", ("--log-level", "trace"))],
)
def test_frames_are_ours_from_the_beginning(
    tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    with serving(tmp_path, f"tests.asgi.nested:{name}", *options) as server:
        assert ask(server.port) == "frames"
    assert "Traceback" not in server.log


#: What runs an app under servers other than uvicorn.
OTHERS = {
    "hypercorn": ["hypercorn", "--bind"],
    "gunicorn": ["gunicorn", "-k", "asgi", "--no-control-socket", "--bind"],
}


@contextmanager
def serving_elsewhere(server: str, folder: Path, app: str) -> Iterator[RunningServer]:
    port = free_port()
    command = [sys.executable, "-m", *OTHERS[server], f"127.0.0.1:{port}", app]
    with run_command(command, folder / "log") as running:
        running.port = port
        eventually(lambda: is_listening(port))
        yield running


@pytest.mark.parametrize("server", OTHERS)
@pytest.mark.parametrize("name", ["whole", "added", "stacked"])
def test_frames_are_ours_from_the_beginning_elsewhere(
    tmp_path: Path, server: str, name: str
) -> None:
    with serving_elsewhere(server, tmp_path, f"tests.asgi.nested:{name}") as running:
        assert ask(running.port) == "frames"
    assert "Traceback" not in running.log


@pytest.mark.parametrize(("server", "later"), [("hypercorn", "events"), ("gunicorn", "frames")])
def test_below_a_mount_elsewhere(tmp_path: Path, server: str, later: str) -> None:
    with serving_elsewhere(server, tmp_path, "tests.asgi.nested:mounted") as running:
        told = [ask(running.port, "/below/ping") for _ in range(2)]
        assert told == ["events", later]


@pytest.mark.parametrize("ws", ["auto", "none"])
def test_frames_are_ours_below_a_mount_from_the_second_request(tmp_path: Path, ws: str) -> None:
    with serving(tmp_path, "tests.asgi.nested:mounted", "--ws", ws) as server:
        if ws == "auto":
            assert ask(server.port, "/below/ping") == "events"
        else:
            with Peer(server.port) as peer:
                peer.send(peer.request("/below/ping"))
                assert peer.reply().status == 400
        assert ask(server.port, "/below/ping") == "frames"


def test_frames_are_ours_without_lifespan_from_the_second_request(tmp_path: Path) -> None:
    with serving(tmp_path, "tests.asgi.nested:whole", "--lifespan", "off") as server:
        assert [ask(server.port), ask(server.port)] == ["events", "frames"]


def has_input(peer: Peer) -> bool:
    return bool(select.select([peer.socket], [], [], 0)[0])


def test_frames_are_ours_after_a_reload(tmp_path: Path) -> None:
    source = tmp_path / "code"
    source.mkdir()
    shutil.copy(ROOT / "tests" / "asgi" / "nested.py", source / "app.py")
    options = ["--reload", "--reload-dir", str(source), "--app-dir", str(source)]
    with serving(tmp_path, "app:whole", *options, cwd=tmp_path) as server:
        eventually(lambda: server.log.count("Application startup complete") == 1)
        assert ask(server.port) == "frames"
        with Peer(server.port) as peer:
            peer.open("/ping").read_frame()
            # The first change that uvicorn looks for is one after its first look.
            eventually(lambda: (source / "app.py").touch() or has_input(peer))
            assert peer.read_close()[0] == 1001
        eventually(lambda: server.log.count("Application startup complete") == 2)
        assert ask(server.port) == "frames"


def test_frames_are_ours_on_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    options = ["--uds", path]
    with serving(tmp_path, "tests.asgi.nested:whole", *options), socket.socket(_UNIX) as peer:
        peer.settimeout(PATIENCE)
        peer.connect(path)
        peer.sendall(request_bytes("/ping"))
        data = b""
        while not data.partition(b"\r\n\r\n")[2]:
            data += peer.recv(1000)
        assert data.startswith(b"HTTP/1.1 101")
        assert data.partition(b"\r\n\r\n")[2][0] == 0x80 | PING


_UNIX = getattr(socket, "AF_UNIX", socket.AF_INET)
