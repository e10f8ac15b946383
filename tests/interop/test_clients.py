"""One table of behaviours, for every client that can show them.

What a client cannot do is not asked of it: `CAN` says what each one can.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.interop.clients import Closed, Connection, Data, Refused
from tests.interop.tap import Tap
from tests.peer import Peer
from tests.running import RunningServer
from tests.tls import Certificate

Connect = Callable[..., Connection]
MIB = 2**20

FLAGS = {"server_no_context_takeover", "client_no_context_takeover"}
WINDOWS = {"server_max_window_bits", "client_max_window_bits"}
#: Headers and the Origin can be set, the status of a refusal is told, pings can be sent, messages
#: can be sent in fragments, a close frame can be sent without a code; a parameter of
#: permessage-deflate can be offered, "deflate" itself means that messages are compressed.
#: "tls" is not asked of the blocking client of websockets: a thread of it reads while another one
#: writes, on one object of OpenSSL, which does not allow that; of some hundred opening handshakes
#: one then hangs, whatever the server.
SOCKETS = {"headers", "origin", "status", "ping"}
CAN: dict[str, set[str]] = {
    "websockets": SOCKETS | {"pieces", "deflate", "tls"} | FLAGS | WINDOWS,
    "websockets-sync": SOCKETS | {"pieces", "deflate"} | FLAGS | WINDOWS,
    "aiohttp": SOCKETS | {"deflate", "server_max_window_bits", "tls"},
    "wsproto": SOCKETS | {"pieces", "no-code", "deflate", "tls"} | FLAGS | WINDOWS,
    "ws": SOCKETS | {"pieces", "no-code", "deflate", "tls"} | FLAGS | WINDOWS,
    "node": {"headers", "no-code", "tls"},
    "chromium": {"origin", "no-code", "deflate", "tls"},
}


def clients(*abilities: str) -> pytest.MarkDecorator:
    names = [name for name, can in CAN.items() if can.issuperset(abilities)]
    return pytest.mark.parametrize("client", names, indirect=True)


def end_of(connection: Connection) -> tuple[int | None, str]:
    with pytest.raises(Closed) as closed:
        connection.receive()
    return closed.value.code, closed.value.reason


def about(connection: Connection) -> Any:
    return json.loads(connection.receive())


# --- messages ---

MESSAGES: dict[str, Data] = {
    "text": "Hello, world",
    "non-ASCII": "naïve, 世界, 👋, \u0000\u2028\U0010ffff",
    "empty text": "",
    "bytes": bytes(range(256)),
    "empty bytes": b"",
    "125": "a" * 125,
    "126": "a" * 126,
    "65535": b"\xff" * 65535,
    "65536": b"\xff" * 65536,
    "large text": "0123456789abcdef" * (MIB // 16 - 1) + "fifteen is odd.",
    "large non-ASCII": "€" * (MIB // 3),
    "large bytes": random.Random(1).randbytes(MIB - 1),
}


@clients()
@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_message_comes_back(connect: Connect, message: Data) -> None:
    connection = connect("/echo")
    connection.send(message)
    assert connection.receive() == message


@clients()
def test_messages_come_back_in_order(connect: Connect) -> None:
    connection = connect("/echo")
    messages = [str(number) * number for number in range(100)]
    for message in messages:
        connection.send(message)
    assert [connection.receive() for _ in messages] == messages


@clients()
@pytest.mark.parametrize("message", [b"\x00" * (MIB + 1), "a" * (MIB + 1)], ids=["bytes", "text"])
def test_message_that_is_too_large_is_answered_with_1009(connect: Connect, message: Data) -> None:
    connection = connect("/echo")
    connection.send(message)
    code, reason = end_of(connection)
    assert code == 1009
    assert "max_message_size" in reason


# --- fragments, pings ---


@clients("pieces")
@pytest.mark.parametrize(
    "pieces",
    [["Grüße, ", "", "世界", "!"], [b"\x00", b"\xff" * 70_000, b""]],
    ids=["text", "bytes"],
)
def test_fragments_from_the_client_become_one_message(connect: Connect, pieces: list[Any]) -> None:
    connection = connect("/echo")
    connection.send_pieces(pieces)
    assert connection.receive() == type(pieces[0])().join(pieces)


@clients()
@pytest.mark.parametrize("message", ["Grüße, 世界!", bytes(140_000)], ids=["text", "bytes"])
def test_fragments_from_the_server_become_one_message(connect: Connect, message: Data) -> None:
    connection = connect("/pieces")
    connection.send(message)
    assert connection.receive() == message


@clients()
@pytest.mark.parametrize("payload", ["p", "", "p" * 125], ids=["short", "empty", "longest"])
def test_ping_of_the_server_is_answered(connect: Connect, payload: str) -> None:
    connection = connect("/pings")
    connection.send(payload)
    assert connection.receive() == "pong"


@clients("ping")
@pytest.mark.parametrize("payload", ["p", "p" * 125], ids=["short", "longest"])
def test_ping_of_the_client_is_answered(connect: Connect, payload: str) -> None:
    assert connect("/echo").ping(payload) == payload


# --- the closing handshake ---

REASONS = [(1000, ""), (1000, "goodbye"), (3000, "naïve, 世界"), (4999, "é" * 61 + "!")]


@clients()
@pytest.mark.parametrize(("code", "reason"), REASONS)
def test_close_of_the_client(
    connect: Connect, server: RunningServer, name: str, code: int, reason: str
) -> None:
    connection = connect(f"/watched/{name}")
    connection.close(code, reason)
    assert end_of(connection) == (code, "")
    assert end_on(server, name) == [code, reason]


@clients("no-code")
def test_close_of_the_client_without_a_code(
    connect: Connect, server: RunningServer, name: str
) -> None:
    connection = connect(f"/watched/{name}")
    connection.close(None, "")
    assert end_of(connection) == (1005, "")
    assert end_on(server, name) == [1005, ""]


@clients()
@pytest.mark.parametrize(("code", "reason"), [*REASONS, (1001, "going"), (1011, ""), (1013, "")])
def test_close_of_the_server(connect: Connect, code: int, reason: str) -> None:
    connection = connect(f"/closes/{code}")
    connection.send(reason)
    assert end_of(connection) == (code, reason)


def end_on(server: RunningServer, name: str) -> object:
    """Ask the server how a connection ended for it."""
    with Peer(server.port) as peer:
        return json.loads(peer.open(f"/ends/{name}").read_message())


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Name a connection after its test."""
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in request.node.name)


# --- the opening handshake ---


@clients()
def test_path_and_query_arrive(connect: Connect) -> None:
    seen = about(connect("/about/n%C3%A4he?room=%E4%B8%96&plus=a+b"))
    assert seen["name"] == "nähe"
    assert seen["query"] == {"room": "世", "plus": "a b"}


@clients("headers")
def test_headers_and_cookies_arrive(connect: Connect) -> None:
    seen = about(connect("/about/x", headers={"X-Colour": "blue", "Cookie": "a=1; b=two"}))
    assert seen["headers"]["x-colour"] == "blue"
    assert seen["cookies"] == {"a": "1", "b": "two"}


@clients()
@pytest.mark.parametrize(
    ("offered", "chosen"), [(["one"], "one"), (["one", "two"], "two"), ([], None)]
)
def test_subprotocol_is_what_the_server_prefers(
    connect: Connect, offered: list[str], chosen: str | None
) -> None:
    connection = connect("/about/x", subprotocols=offered)
    assert connection.subprotocol == chosen
    assert about(connection)["subprotocol"] == chosen


@clients()
def test_unknown_path_is_refused(connect: Connect, client_name: str) -> None:
    expect_refusal(connect, client_name, 404, "/nowhere")


@clients("origin")
def test_foreign_origin_is_refused(
    connect: Connect, server: RunningServer, client_name: str
) -> None:
    origin = f"http://localhost:{server.port}"
    expect_refusal(connect, client_name, 403, "/echo", origin=origin)


@clients("origin")
def test_own_origin_is_accepted(connect: Connect, server: RunningServer) -> None:
    origin = f"http://127.0.0.1:{server.port}"
    assert about(connect("/about/x", origin=origin))["headers"]["origin"] == origin


def expect_refusal(
    connect: Connect, client_name: str, status: int, path: str, **terms: object
) -> None:
    with pytest.raises(Refused) as refused:
        connect(path, **terms)
    if "status" in CAN[client_name]:
        assert str(status) in str(refused.value)


@pytest.fixture
def client_name(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["client"])


# --- permessage-deflate ---

#: What is offered, and whether a message that has been there before costs little on its way up
#: and on its way down: 2,000 bytes are remembered by a window of 12 bits, but not by one of 9.
OFFERS: list[tuple[dict[str, bool | int], bool, bool]] = [
    ({}, True, True),
    ({"server_no_context_takeover": True}, True, False),
    ({"client_no_context_takeover": True}, False, True),
    ({"server_max_window_bits": 9}, True, False),
    ({"client_max_window_bits": 9}, False, True),
]
OFFERING = [
    pytest.param(name, offer, up, down, id=f"{name}-{'+'.join(offer) or 'plain'}")
    for offer, up, down in OFFERS
    for name, can in CAN.items()
    if can.issuperset({"deflate", *offer})
]


@clients("deflate")
def test_messages_are_compressed_both_ways(connect: Connect, tap: Tap) -> None:
    connection = connect(f"ws://127.0.0.1:{tap.port}/echo", deflate={})
    up, down = tap.up, tap.down
    messages: list[Data] = ["Blah " * 20_000, b"\x00\x01" * 50_000]
    for message in messages:
        connection.send(message)
        assert connection.receive() == message
    assert tap.up - up < 10_000
    assert tap.down - down < 10_000


@pytest.mark.parametrize(
    ("client", "offer", "up_remembers", "down_remembers"), OFFERING, indirect=["client"]
)
def test_terms_of_compression_are_kept(
    connect: Connect,
    tap: Tap,
    offer: dict[str, bool | int],
    up_remembers: bool,
    down_remembers: bool,
) -> None:
    connection = connect(f"ws://127.0.0.1:{tap.port}/echo", deflate=offer)
    message = random.Random(2).randbytes(2000)
    costs = []
    for _ in range(3):
        up, down = tap.up, tap.down
        connection.send(message)
        assert connection.receive() == message
        costs.append((tap.up - up < 500, tap.down - down < 500))
    assert costs == [(False, False), *[(up_remembers, down_remembers)] * 2]


@clients()
def test_compression_is_agreed_on_where_it_is_offered(connect: Connect) -> None:
    seen = about(connect("/about/x"))
    offered = seen["headers"].get("sec-websocket-extensions", "")
    assert bool(seen["extensions"]) == ("permessage-deflate" in offered)


# --- TLS ---


@clients("tls")
def test_messages_come_back_over_tls(
    connect: Connect, secure_server: RunningServer, certificate: Certificate
) -> None:
    url = f"wss://127.0.0.1:{secure_server.port}"
    cafile: Path = certificate.certfile
    assert about(connect(f"{url}/about/x", cafile=cafile))["secure"] is True
    connection = connect(f"{url}/echo", cafile=cafile)
    for message in MESSAGES.values():
        connection.send(message)
        assert connection.receive() == message
    connection.close(4000, "goodbye")
    assert end_of(connection) == (4000, "")
