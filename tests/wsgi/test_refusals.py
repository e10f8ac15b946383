"""Handshakes that are refused through the server's own response, on every WSGI server."""

from __future__ import annotations

import base64
import hashlib
from typing import NamedTuple

import pytest

from tests.peer import Peer
from tests.wsgi.asking import ask, check_plain, get, stays
from tests.wsgi.kinds import Served

pytestmark = pytest.mark.usefixtures("undisturbed")


class Case(NamedTuple):
    """Hold a request that is refused, and the answer."""

    name: str
    status: int
    words: bytes
    path: str = "/async"
    fields: dict[str, str | None] = {}  # noqa: RUF012 - never changed
    line: str = ""
    behind: bytes = b""
    answer: tuple[str, str] = ("content-type", "text/plain; charset=utf-8")


CASES = [
    Case("origin", 403, b"(setting: origins)", fields={"Origin": "https://evil.example"}),
    Case("null", 403, b"(setting: origins)", fields={"Origin": "null"}),
    Case("host", 421, b"(setting: hosts)", path="/guarded"),
    Case("key", 400, b"16 bytes in base64", fields={"Sec-WebSocket-Key": "c2hvcnQ="}),
    Case("no key", 400, b"Key field is missing", fields={"Sec-WebSocket-Key": None}),
    Case("upgrade", 400, b"'websocket'", fields={"Upgrade": "h2c"}),
    Case("connection", 400, b"'upgrade'", fields={"Connection": "keep-alive"}),
    Case(
        "version",
        400,
        b"only Sec-WebSocket-Version 13",
        fields={"Sec-WebSocket-Version": "8"},
        answer=("sec-websocket-version", "13"),
    ),
    Case("method", 405, b"GET", line="PUT /async HTTP/1.1", answer=("allow", "GET")),
    Case(
        "identity",
        401,
        b"who are you?",
        path="/private",
        answer=("www-authenticate", 'Basic realm="test"'),
    ),
    Case("body", 400, b"has no body", fields={"Content-Length": "5"}, behind=b"abcde"),
    Case(
        "chunked",
        400,
        b"has no body",
        fields={"Transfer-Encoding": "chunked"},
        behind=b"5\r\nabcde\r\n0\r\n\r\n",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_refusal_is_a_whole_response(server: Served, case: Case) -> None:
    with Peer(server.port) as peer:
        request = peer.request(case.path, fields=case.fields, line=case.line)
        answer = ask(peer, request + case.behind)
    assert answer.status == case.status
    assert case.words in answer.body
    name, value = case.answer
    assert answer.fields[name] == value
    check_plain(server.port)


@pytest.mark.parametrize("name", ["origin", "host", "key", "version", "identity"])
def test_connection_stays_as_it_does_behind_a_page(server: Served, name: str) -> None:
    (case,) = [case for case in CASES if case.name == name]
    with Peer(server.port) as peer:
        usual = stays(peer, get(peer)) and case.status not in server.kind.closes_behind
    with Peer(server.port) as peer:
        assert stays(peer, ask(peer, peer.request(case.path, fields=case.fields))) == usual


def test_accepted_behind_a_refusal_on_the_same_connection(peer: Peer) -> None:
    refused = ask(peer, peer.request(fields={"Origin": "null"}, path="/async"))
    assert refused.status == 403
    if not refused.closes:
        peer.open("/async").echo("at last")
        peer.close()


def test_unknown_path_is_the_apps(peer: Peer) -> None:
    answer = ask(peer, peer.request("/nowhere"))
    assert answer.status == 404
    assert b"there is no WebSocket" not in answer.body


def test_http_1_0_is_refused_where_the_server_tells_of_it(server: Served, peer: Peer) -> None:
    peer.send(peer.request(line="GET /async HTTP/1.0"))
    head = peer.read_until(b"\r\n")
    # eventlet tells its apps that each request is HTTP/1.0.
    assert head.split()[1] == (b"101" if server.kind.name == "eventlet" else b"400")


# --- fields that are there twice ---

OTHER_KEY = base64.b64encode(b"another 16 bytes").decode()
GOOD = {
    "Host": "good.example",
    "Origin": "https://good.example",
    "Sec-WebSocket-Key": base64.b64encode(b"the first 16 byt").decode(),
    "Sec-WebSocket-Version": "13",
}
EVIL = {
    "Host": "evil.example",
    "Origin": "https://evil.example",
    "Sec-WebSocket-Key": OTHER_KEY,
    "Sec-WebSocket-Version": "8",
}


def status_of(server: Served, name: str, *values: str) -> int:
    """Send a handshake with a field given by `values`, one line each."""
    with Peer(server.port) as peer:
        lines = "".join(f"{name}: {value}\r\n" for value in values).encode()
        peer.send(peer.request("/guarded", fields={**GOOD, name: None}, extra=lines))
        return int(peer.read_until(b"\r\n").split()[1])


@pytest.mark.support("doubled")
@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("order", [(GOOD, EVIL), (EVIL, GOOD)], ids=["good-evil", "evil-good"])
def test_field_that_is_there_twice(
    server: Served, name: str, order: tuple[dict[str, str], dict[str, str]]
) -> None:
    first, second = (values[name] for values in order)
    assert status_of(server, name, GOOD[name]) == 101
    status = status_of(server, name, first, second)
    if server.kind.doubled == "last":
        assert status == status_of(server, name, second)
    else:
        assert 400 <= status < 500


def test_field_with_underscores_is_no_key(server: Served, peer: Peer) -> None:
    peer.send(peer.request("/async", extra=f"Sec_WebSocket_Key: {OTHER_KEY}\r\n".encode()))
    reply = peer.read_until(b"\r\n\r\n").decode()
    if server.kind.underscore == "refused":
        assert reply.split()[1] == "400"
        return
    # Where the server takes it for the key, it is a key: nothing that was checked is void.
    key = OTHER_KEY if server.kind.underscore == "taken" else peer.key
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    assert base64.b64encode(digest).decode() in reply
