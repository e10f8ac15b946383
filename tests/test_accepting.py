"""A plain accept loop: who is served, who waits, and how it ends."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peer import PATIENCE, TEXT, Peer
from tests.running import eventually
from tests.tls import make_certificate
from ws_middleware import Connection, Handler, WebSockets, connect, serve_forever

Target = Callable[..., Any] | WebSockets


@contextlib.contextmanager
def serving(target: Target, **settings: Any) -> Iterator[int]:
    """Serve for the block; gives the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(
        target=serve_forever, args=(listener, target), kwargs=settings, daemon=True
    )
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stop(listener)
        thread.join(PATIENCE)
        assert not thread.is_alive()


def stop(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def echo(connection: Connection, **path_params: Any) -> None:
    for message in connection:
        connection.send(message)


class Upper(Handler):
    """Say hello, and answer in capitals."""

    def on_open(self) -> None:
        self.connection.send("hello")

    def on_message(self, message: Any) -> None:
        self.connection.send(message.upper())


def test_function_handles_every_path() -> None:
    with serving(echo) as port, Peer(port) as one, Peer(port) as other:
        one.open("/").echo("a")
        other.open("/any/where?x").echo("b" * 100_000)
        one.echo("c")
        one.close()
        other.close()


def test_class_is_driven_by_callbacks() -> None:
    with serving(Upper) as port, Peer(port) as peer:
        peer.open()
        assert peer.read_message() == "hello"
        peer.send_frame(TEXT, "abc")
        assert peer.read_message() == "ABC"
        peer.close()


def test_routes_have_their_handlers_and_options() -> None:
    ws = WebSockets(extensions=())
    ws.add("/echo/<name>", echo, subprotocols=["b"])
    with serving(ws) as port:
        with Peer(port) as peer:
            peer.open("/echo/x", fields={"Sec-WebSocket-Protocol": "a, b"})
            assert peer.fields["sec-websocket-protocol"] == "b"
            peer.close()
        with Peer(port) as peer:
            peer.send(peer.request("/other"))
            assert peer.reply().status == 404


def test_connection_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="ws_middleware")
    with serving(echo) as port, Peer(port) as peer:
        peer.open("/here").close()
        address = f"127.0.0.1:{peer.port}"
    eventually(lambda: f"{address} '/here'" in caplog.text)


def test_peer_that_says_nothing_holds_up_nobody() -> None:
    with serving(echo, open_timeout=3) as port, Peer(port) as silent, Peer(port) as peer:
        peer.open().echo("a")
        silent.read_end()
        peer.close()


def test_slow_tls_handshake_holds_up_nobody(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    settings = {"ssl_context": certificate.server_context(), "open_timeout": 5}
    with serving(echo, **settings) as port, Peer(port) as slow, Peer(port) as broken:
        slow.send(b"\x16\x03\x01")
        broken.send(b"GET / HTTP/1.1\r\n\r\n")
        url = f"wss://localhost:{port}/"
        with connect(url, ssl_context=certificate.client_context(), proxy=None) as connection:
            connection.send("a")
            assert connection.recv(PATIENCE) == "a"
        with contextlib.suppress(ConnectionResetError):
            broken.read_rest()
        slow.read_rest()


def test_others_wait_while_all_threads_are_taken() -> None:
    with serving(echo, max_threads=1) as port, Peer(port) as first, Peer(port) as second:
        first.open().echo("a")
        second.send(second.request())
        first.echo("b")
        first.close()
        first.socket.close()
        assert second.reply().status == 101
        second.close()


def test_who_is_connected_gets_1001_in_the_end() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve_forever, args=(listener, echo), daemon=True)
    thread.start()
    with Peer(listener.getsockname()[1]) as peer:
        peer.open().echo("a")
        stop(listener)
        assert peer.expect_failure(1001) == "the server is shutting down"
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_who_does_not_go_is_dropped_in_the_end() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    settings = {"close_timeout": 0.2}
    thread = threading.Thread(
        target=serve_forever, args=(listener, echo), kwargs=settings, daemon=True
    )
    thread.start()
    with Peer(listener.getsockname()[1]) as peer:
        peer.open().echo("a")
        stop(listener)
        thread.join(PATIENCE)
        assert not thread.is_alive()
        with contextlib.suppress(ConnectionResetError):
            peer.read_rest()


async def on_a_loop(connection: Any) -> None:
    """Take an event loop."""


def test_what_takes_an_event_loop_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with pytest.raises(TypeError, match="async def"):
            serve_forever(listener, on_a_loop)
        with pytest.raises(ValueError, match="readable"):
            serve_forever(listener, echo, readable="browser")
        with pytest.raises(TypeError, match="not 3"):
            serve_forever(listener, 3)  # type: ignore[arg-type]


def test_accepting_goes_on_where_it_failed_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        """Be a listener that has no descriptor left, once."""

        def __init__(self, listener: socket.socket) -> None:
            self._listener = listener
            self.failures = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._listener, name)

        def accept(self) -> Any:
            if self.failures < 1:
                self.failures += 1
                raise OSError(24, "Too many open files")
            return self._listener.accept()

    real = socket.create_server(("127.0.0.1", 0))
    listener: Any = Failing(real)
    thread = threading.Thread(target=serve_forever, args=(listener, echo), daemon=True)
    thread.start()
    with Peer(real.getsockname()[1]) as peer:
        peer.open().echo("a")
        peer.close()
    assert listener.failures == 1
    stop(real)
    thread.join(PATIENCE)
