"""How many `def` handlers run at once, in each way to serve them on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from tests.asgi.test_takeover import serving
from tests.peer import TEXT, Peer
from tests.running import eventually
from tests.tls import make_certificate
from ws_middleware import Connection, WebSockets
from ws_middleware.asgi.types import ASGIApp, Receive, Scope, Send
from ws_middleware.auth import FirstMessage

ws = WebSockets(extensions=(), readable="browser")


@ws.route("/echo")
@ws.route("/introduced", authenticate=FirstMessage(lambda message, request: message))
def echo(connection: Connection) -> None:
    connection.send(type(connection).__name__)
    for message in connection:
        connection.send(message)


@ws.route("/async")
async def echo_on_loop(connection: Any) -> None:
    async for message in connection:
        await connection.send(message)


class OnItsSocket:
    """Serve a handler on the socket itself."""

    kind = "SocketConnection"

    @contextmanager
    def serve(self, app: ASGIApp, folder: Path) -> Iterator[Callable[[], Peer]]:
        """Serve, and give what connects."""
        with serving(asyncio.new_event_loop, app) as running:
            yield lambda: Peer(running.server.port)


class OverTLS(OnItsSocket):
    """Serve it through a bridge to the loop."""

    kind = "BridgedConnection"

    @contextmanager
    def serve(self, app: ASGIApp, folder: Path) -> Iterator[Callable[[], Peer]]:
        certificate = make_certificate(folder)
        files = {"ssl_certfile": certificate.certfile, "ssl_keyfile": certificate.keyfile}
        with serving(asyncio.new_event_loop, app, **files) as running:
            context = certificate.client_context()

            def connect() -> Peer:
                peer = Peer(running.server.port)
                peer.socket = context.wrap_socket(peer.socket, server_hostname="127.0.0.1")
                return peer

            yield connect


class OverEvents(OnItsSocket):
    """Serve it over a server's events, as if its class were another one."""

    kind = "BridgedConnection"

    @contextmanager
    def serve(self, app: ASGIApp, folder: Path) -> Iterator[Callable[[], Peer]]:
        async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
            cast(dict[str, Any], scope).get("extensions", {}).pop("ws_middleware", None)
            await app(scope, receive, send)

        with super().serve(foreign, folder) as connect:
            yield connect


ways = pytest.mark.parametrize("way", [OnItsSocket(), OverTLS(), OverEvents()], ids=type)


@ways
def test_as_many_run_as_may_and_the_next_wait_for_their_turn(
    way: OnItsSocket, tmp_path: Path
) -> None:
    app = ws.asgi(install=False, max_threads=1, max_waiting=1)
    with way.serve(app, tmp_path) as connect, connect() as first, connect() as second:
        assert first.open("/echo").read_message() == way.kind
        second.open("/echo").send_frame(TEXT, "early")
        with connect() as third:
            third.send(third.request("/echo"))
            reply = third.reply()
            assert (reply.status, reply.fields["retry-after"]) == (503, "5")
            assert b"max_threads=1 handlers are running" in third.body(reply)
        with connect() as other:
            other.open("/async").echo("needs no thread")
        first.close()
        first.finish()
        assert second.read_message() == way.kind
        assert second.read_message() == "early"
        with connect() as fourth:
            fourth.open("/echo")
            second.close()
            second.finish()
            assert fourth.read_message() == way.kind
            fourth.close()


@pytest.mark.parametrize("way", [OverTLS(), OverEvents()], ids=type)
def test_who_finds_no_thread_behind_the_handshake_is_told(way: OnItsSocket, tmp_path: Path) -> None:
    app = ws.asgi(install=False, max_threads=1, max_waiting=0)
    with way.serve(app, tmp_path) as connect, connect() as first, connect() as second:
        first.open("/introduced")
        second.open("/introduced")
        first.send_frame(TEXT, "first")
        assert first.read_message() == way.kind
        second.send_frame(TEXT, "second")
        assert second.expect_failure(1013) == "no thread is free"
        first.close()
    eventually(lambda: not len(ws.gate))


@ways
def test_place_comes_back_when_the_peer_of_a_waiting_handler_leaves(
    way: OnItsSocket, tmp_path: Path
) -> None:
    app = ws.asgi(install=False, max_threads=1, max_waiting=1)
    with way.serve(app, tmp_path) as connect, connect() as first:
        assert first.open("/echo").read_message() == way.kind
        with connect() as second:
            second.open("/echo")
        first.close()
        first.finish()
        # The thread ends a little after its connection, which the gate tells.
        eventually(lambda: not app._threads._reserved)
        with connect() as third, connect() as fourth:
            assert third.open("/echo").read_message() == way.kind
            fourth.open("/echo")
            third.close()
            third.finish()
            assert fourth.read_message() == way.kind
            fourth.close()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"max_threads": 0}, "max_threads=0 is less than 1"),
        ({"max_waiting": -1}, "max_waiting=-1 is less than 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, int], complaint: str) -> None:
    for mount in (ws.asgi, ws.wsgi):
        with pytest.raises(ValueError, match=complaint):
            mount(**cast(dict[str, Any], settings))


def test_mounted_app_brings_its_options_along() -> None:
    assert WebSockets(max_head_size=4_096).asgi(install=False).options.max_head_size == 4_096
