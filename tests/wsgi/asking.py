"""Plain HTTP on a raw connection, as the app or a refusal answers it."""

from __future__ import annotations

import contextlib
from http.client import HTTPResponse
from typing import NamedTuple

from tests.peer import BINARY, Peer, frame

__all__ = ["Answer", "ask", "check_plain", "flood", "get", "post", "stays"]


class Answer(NamedTuple):
    """Hold a whole response."""

    status: int
    fields: dict[str, str]
    body: bytes
    closes: bool


def ask(peer: Peer, request: bytes) -> Answer:
    """Send a request and read its whole response, by its length."""
    peer.send(request)
    response = HTTPResponse(peer.socket)
    response.begin()
    body = response.read()
    fields = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, fields, body, response.will_close)


def get(peer: Peer, path: str = "/plain") -> Answer:
    return ask(peer, f"GET {path} HTTP/1.1\r\nHost: {peer.host}\r\n\r\n".encode())


def post(peer: Peer, body: bytes) -> Answer:
    head = f"POST /posted HTTP/1.1\r\nHost: {peer.host}\r\nContent-Length: {len(body)}\r\n\r\n"
    return ask(peer, head.encode() + body)


def check_plain(port: int) -> None:
    """Check that the app answers, on one connection as long as the server keeps it."""
    body = b"0123456789" * 1000
    with Peer(port) as peer:
        answer = get(peer)
        assert (answer.status, answer.body) == (200, b"plain page")
        if answer.closes:
            peer.read_end()
    with Peer(port) as peer:
        answer = post(peer, body)
        assert (answer.status, answer.body) == (200, body[::-1])
        if not answer.closes:
            assert get(peer).body == b"plain page"


def flood(peer: Peer) -> None:
    """Send until the server takes no more."""
    peer.socket.settimeout(0.2)
    message = frame(BINARY, bytes(60_000))
    with contextlib.suppress(TimeoutError):
        while True:
            peer.send(message)


def stays(peer: Peer, answer: Answer) -> bool:
    """Tell whether a connection goes on behind a response, and check that it does."""
    if answer.closes:
        peer.read_end()
    else:
        assert get(peer).body == b"plain page"
    return not answer.closes
