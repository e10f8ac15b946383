"""Single frames over connections: sent with any key, and received as they came."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.inprocess import run_really
from tests.peer import BINARY, CLOSE, CONTINUATION, PATIENCE, PING, PONG, TEXT
from ws_middleware import ConnectionClosed, Frame, aconnect, connect, upgrade

SENT = [
    Frame(TEXT, b"a", fin=False),
    Frame(PING, b"b"),
    Frame(CONTINUATION, b"c"),
    Frame(BINARY, b"x" * 70_000),
]


class Server:
    """Send some frames to one client, and keep the frames that come back."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}/"
        self.received: list[Frame] = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with self._listener:
            sock, _ = self._listener.accept()
        with (
            upgrade(sock, extensions=(), observe_frames=True) as connection,
            contextlib.suppress(ConnectionClosed),
        ):
            for one in SENT:
                connection.send_frame(one)
            while True:
                self.received.append(connection.recv_frame(PATIENCE))


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.thread.join(PATIENCE)
    assert [(one.opcode, one.payload) for one in server.received] == [
        (PONG, b"b"),
        (TEXT, b"own key"),
        (CLOSE, b"\x03\xe8"),
    ]


def test_blocking_connection_receives_and_sends_frames(server: Server) -> None:
    with connect(server.url, observe_frames=True, proxy=None) as connection:
        assert [connection.recv_frame(PATIENCE) for _ in SENT] == SENT
        with pytest.raises(TimeoutError):
            connection.recv_frame(0.01)
        connection.send_frame(Frame(TEXT, b"own key"), b"\0\0\0\0")


def test_connection_on_a_loop_receives_and_sends_frames(server: Server) -> None:
    async def run() -> None:
        async with aconnect(server.url, observe_frames=True, proxy=None) as connection:
            assert [await connection.recv_frame(PATIENCE) for _ in SENT] == SENT
            with pytest.raises(TimeoutError):
                await connection.recv_frame(0.01)
            await connection.send_frame(Frame(TEXT, b"own key"), b"\0\0\0\0")

    run_really(run())


def test_frames_are_seen_where_they_are_observed_alone(server: Server) -> None:
    with connect(server.url, proxy=None) as connection:
        with pytest.raises(RuntimeError, match="observe_frames=True"):
            connection.recv_frame()
        assert connection.recv(PATIENCE) == "ac"
        assert connection.recv(PATIENCE) == b"x" * 70_000
        connection.send_frame(Frame(TEXT, b"own key"))
