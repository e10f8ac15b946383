"""Sockets that somebody else accepted become WebSockets, or are refused in a whole response."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.peer import CLOSE, PATIENCE, TEXT, Peer, frame
from tests.running import eventually
from tests.tls import make_certificate
from ws_middleware import Forbidden, Handler, upgrade
from ws_middleware.auth.first_message import FirstMessage
from ws_middleware.connection import Connection
from ws_middleware.errors import ConnectionClosed, HandshakeError
from ws_middleware.options import Options
from ws_middleware.raw import Arrival, OneRoute
from ws_middleware.request import Request

_Result = TypeVar("_Result")


class Pair:
    """Join a `Peer` and a server's socket that nobody has read from."""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        self.peer = Peer.__new__(Peer)
        self.peer.socket, self.peer.buffer = theirs, b""
        self.peer.key, self.peer.host = "dGhlIHNhbXBsZSBub25jZQ==", "test"
        theirs.settimeout(PATIENCE)
        self.sock = ours

    def leave(self) -> None:
        """Close as a client does."""
        self.peer.close()
        self.peer.socket.close()

    def close(self) -> None:
        self.sock.close()
        self.peer.socket.close()


def _tcp() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        return Pair(listener.accept()[0], theirs)


def _unix(path: Path) -> Pair:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        theirs = socket.socket(socket.AF_UNIX)
        theirs.connect(str(path))
        return Pair(listener.accept()[0], theirs)


def _tls(folder: Path) -> Pair:
    certificate = make_certificate(folder)
    plain = _tcp()
    secured = _meanwhile(
        lambda: certificate.server_context().wrap_socket(plain.sock, server_side=True)
    )
    client = certificate.client_context()
    theirs = client.wrap_socket(plain.peer.socket, server_hostname="localhost")
    return Pair(secured(), theirs)


@pytest.fixture(params=["tcp", "unix", "socketpair", "tls"])
def any_pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    kinds: dict[str, Callable[[], Pair]] = {
        "tcp": _tcp,
        "unix": lambda: _unix(tmp_path / "s"),
        "socketpair": lambda: Pair(*socket.socketpair()),
        "tls": lambda: _tls(tmp_path),
    }
    made = kinds[request.param]()
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair(*socket.socketpair())
    yield made
    made.close()


def _meanwhile(work: Callable[[], _Result]) -> Callable[[], _Result]:
    """Do something in a thread; gives what waits for its result, or raises its exception."""
    outcome: list[Callable[[], _Result]] = []

    def run() -> None:
        try:
            result = work()
        except Exception as caught:
            error = caught

            def fail() -> _Result:
                raise error

            outcome.append(fail)
        else:
            outcome.append(lambda: result)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def finish() -> _Result:
        thread.join(PATIENCE)
        return outcome[0]()

    return finish


def _echo(sock: socket.socket, **options: Any) -> Connection:
    with upgrade(sock, **options) as connection:
        for message in connection:
            connection.send(message)
    return connection


# --- it opens ---


def test_any_socket_becomes_a_websocket(any_pair: Pair) -> None:
    done = _meanwhile(lambda: _echo(any_pair.sock))
    any_pair.peer.open("/chat?x=1", early=frame(TEXT, "early"))
    assert any_pair.peer.read_message() == "early"
    any_pair.peer.echo("x" * 300_000)
    any_pair.leave()
    connection = done()
    assert connection.request.target == "/chat?x=1"
    assert connection.request.secure == isinstance(any_pair.sock, ssl.SSLSocket)
    assert connection.close_code == 1000


def test_bytes_that_were_read_before_count(pair: Pair) -> None:
    request = pair.peer.request("/a") + frame(TEXT, "early")
    done = _meanwhile(lambda: _echo(pair.sock, leftover=request[:-3]))
    pair.peer.send(request[-3:])
    assert pair.peer.reply().status == 101
    assert pair.peer.read_message() == "early"
    pair.leave()
    done()


def test_request_may_come_in_pieces(pair: Pair) -> None:
    done = _meanwhile(lambda: _echo(pair.sock, subprotocols=["b"]))
    for byte in pair.peer.request(fields={"Sec-WebSocket-Protocol": "a, b"}):
        pair.peer.send(bytes([byte]))
    assert pair.peer.reply().fields["sec-websocket-protocol"] == "b"
    pair.leave()
    assert done().subprotocol == "b"


# --- it is refused ---


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 426),
        (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET /" + b"a" * 20_000, 414),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200, 431),
    ],
)
def test_other_request_is_answered_and_raised(pair: Pair, request_: bytes, status: int) -> None:
    done = _meanwhile(lambda: upgrade(pair.sock))
    pair.peer.send(request_)
    reply = pair.peer.reply()
    assert reply.status == status
    assert pair.peer.body(reply)
    pair.peer.read_end()
    pair.peer.socket.close()
    with pytest.raises(HandshakeError) as caught:
        done()
    assert caught.value.status == status
    assert pair.sock.fileno() == -1


def test_policies_are_asked_as_everywhere(pair: Pair) -> None:
    def authenticate(request: Request) -> str:
        raise Forbidden("not you")

    done = _meanwhile(lambda: upgrade(pair.sock, authenticate=authenticate))
    pair.peer.send(pair.peer.request())
    reply = pair.peer.reply()
    assert (reply.status, pair.peer.body(reply)) == (403, b"not you\n")
    pair.peer.socket.close()
    with pytest.raises(HandshakeError, match="not you"):
        done()


async def _know(request: Request) -> str:
    return "ada"


def test_authenticator_may_be_async(pair: Pair) -> None:
    done = _meanwhile(lambda: _echo(pair.sock, authenticate=_know))
    pair.peer.open()
    pair.leave()
    assert done().identity == "ada"


@pytest.mark.parametrize("message", ["right", "wrong"])
def test_first_message_may_say_who_it_is(pair: Pair, message: str) -> None:
    def check(said: str | bytes, request: Request) -> str:
        if said != "right":
            raise Forbidden("not you")
        return "ada"

    done = _meanwhile(lambda: _echo(pair.sock, authenticate=lambda request: FirstMessage(check)))
    pair.peer.open().send_frame(TEXT, message)
    if message == "right":
        pair.leave()
        assert done().identity == "ada"
    else:
        assert pair.peer.read_close() == (4403, "not you")
        pair.peer.send_frame(CLOSE, b"\x11\x33")
        pair.peer.read_end()
        pair.peer.socket.close()
        with pytest.raises(ConnectionClosed, match="4403"):
            done()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n"])
def test_request_has_to_come_in_time(pair: Pair, sent: bytes) -> None:
    pair.peer.send(sent)
    done = _meanwhile(lambda: upgrade(pair.sock, open_timeout=0.1))
    if sent:
        reply = pair.peer.reply()
        assert reply.status == 408
        assert b"open_timeout=0.1" in pair.peer.body(reply)
    pair.peer.read_end()
    pair.peer.socket.close()
    with pytest.raises(HandshakeError if sent else TimeoutError, match="open_timeout"):
        done()


def test_peer_that_goes_is_an_os_error(pair: Pair) -> None:
    pair.peer.send(b"GET / HTTP/1.1\r\n")
    pair.peer.socket.close()
    with pytest.raises(ConnectionError, match="without a whole request"):
        upgrade(pair.sock)
    assert pair.sock.fileno() == -1


def test_peer_that_does_not_read_its_refusal_holds_nothing_up(pair: Pair) -> None:
    pair.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    pair.peer.send(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises(HandshakeError, match="GET"):
        upgrade(pair.sock)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_connections": 1}, TypeError),
        ({"max_handshakes_per_second": 1}, TypeError),
        ({"readable": "browser"}, ValueError),
        ({"nonsense": 1}, TypeError),
    ],
)
def test_setting_that_means_nothing_for_one_socket_is_refused(
    pair: Pair, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        upgrade(pair.sock, **options)


def test_tls_handshake_may_be_ours(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    pair = _tcp()

    def serve() -> bool:
        arrival = Arrival(pair.sock, OneRoute(Handler, Options()))
        arrival.secure(certificate.server_context())
        opened = arrival.open()
        opened.serve(opened.connect())
        return opened.request.secure

    done = _meanwhile(serve)
    with contextlib.closing(pair.peer.socket):
        client = certificate.client_context()
        pair.peer.socket = client.wrap_socket(pair.peer.socket, server_hostname="localhost")
        pair.peer.open().close()
        pair.peer.socket.close()
        assert done() is True
    pair.close()


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02", b"GET / HTTP/1.1\r\n\r\n"])
def test_tls_handshake_that_fails_closes_the_socket(tmp_path: Path, sent: bytes) -> None:
    pair = _tcp()
    pair.peer.send(sent)
    arrival = Arrival(pair.sock, OneRoute(Handler, Options(open_timeout=0.2)))
    with pytest.raises(OSError):  # noqa: PT011 - it is late, or no TLS at all
        arrival.secure(make_certificate(tmp_path).server_context())
    eventually(lambda: _has_ended(pair.peer))
    pair.close()


def _has_ended(peer: Peer) -> bool:
    try:
        peer.read_rest()
    except OSError:
        return True
    return True
