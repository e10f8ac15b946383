"""Handshakes meant to confuse: values that are not what they should be, or more than that."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

import pytest

from tests.peer import CLOSE, PING, PONG, TEXT, Peer, frame
from tests.running import RunningServer, eventually
from tests.servers.asking import innocent, refused

TARGETS = ("tests.servers.policies:ws", "tests.servers.policies:app")

SAMPLE_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
SAMPLE_ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

Fields = dict[str, str | None]


def opened(
    server: RunningServer, path: str = "/echo", fields: Fields | None = None, extra: bytes = b""
) -> dict[str, str]:
    """Open a WebSocket, check that it answers, and give the fields of its 101."""
    with Peer(server.port) as peer:
        peer.send(peer.request(path, fields=fields, extra=extra))
        reply = peer.reply()
        assert reply.status == 101, reply.raw + peer.buffer
        peer.send_frame(PING, "open")
        assert peer.read_frame() == (PONG, b"open", True, 0)
        return reply.fields


def seen(server: RunningServer, path: str = "/who", **request: Any) -> dict[str, Any]:
    """Give what a handler sees of a request."""
    with Peer(server.port) as peer:
        peer.send(peer.request(path, **request))
        reply = peer.reply()
        assert reply.status == 101, reply.raw + peer.buffer
        told: dict[str, Any] = json.loads(peer.read_message())
        return told


# --- the answer to a good handshake ---


@pytest.mark.row(14, 26, 27, 28, 29, 30, 31, 33, 35, 36)
def test_101_is_the_one_of_the_rfc(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        peer.send(peer.request("/echo", fields={"Sec-WebSocket-Key": f"  {SAMPLE_KEY}\t"}))
        reply = peer.reply()
        assert reply.raw.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert reply.fields["upgrade"] == "websocket"
        assert reply.fields["connection"] == "Upgrade"
        assert reply.fields["sec-websocket-accept"] == SAMPLE_ACCEPT
        unasked = {
            "sec-websocket-protocol",
            "sec-websocket-extensions",
            "content-length",
            "transfer-encoding",
        }
        assert not unasked & reply.fields.keys()
        peer.echo("the next byte is a frame's")


@pytest.mark.row(10, 11, 44, 65)
@pytest.mark.parametrize(
    "lines",
    [
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
        b"Upgrade: WebSocket\r\nConnection: uPGRADE\r\n",
        b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n",
        b"Upgrade: websocket\r\nConnection: keep-alive\r\nConnection: Upgrade\r\n",
        b"Upgrade: h2c, websocket\r\nConnection: Upgrade\r\n",
        b"Upgrade: h2c\r\nUpgrade: websocket\r\nConnection: ,, Upgrade ,\r\n",
    ],
)
def test_upgrade_and_connection_are_lists_in_any_case(server: RunningServer, lines: bytes) -> None:
    opened(server, fields={"Upgrade": None, "Connection": None}, extra=lines)


@pytest.mark.row(1, 10, 11, 18, 38)
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Upgrade": None}, 426),
        ({"Upgrade": ""}, 400),
        ({"Upgrade": "websockets"}, 426),
        ({"Upgrade": "xwebsocket"}, 426),
        ({"Upgrade": "h2c"}, 426),
        ({"Upgrade": '"websocket"'}, 400),
        ({"Upgrade": "web socket"}, 400),
        ({"Connection": None}, 400),
        ({"Connection": ""}, 400),
        ({"Connection": "keep-alive"}, 400),
        ({"Connection": "Upgraded"}, 400),
        ({"Connection": "not-Upgrade"}, 400),
        ({"Connection": "keep-alive Upgrade"}, 400),
        ({"Connection": "keep-alive; Upgrade"}, 400),
    ],
)
def test_upgrade_that_is_not_asked_for_is_not_made(
    server: RunningServer, fields: Fields, status: int
) -> None:
    refusal = refused(server, fields=fields)
    assert refusal.status == status
    if status == 426:
        assert refusal.fields["upgrade"] == "websocket"
        assert "Upgrade" in refusal.fields["connection"]


# --- characters that do not belong there ---

CONTROLS = ["\r", "\n", "\0", "\x0b", "\x0c", "\x1b", "\x1c", "\x7f", "\x85"]


@pytest.mark.fault(17)
@pytest.mark.row(54, 63)
@pytest.mark.parametrize("control", [*CONTROLS, "%0d%0aX-Injected:%201"])
@pytest.mark.parametrize(
    "name", ["Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Origin", "Sec-WebSocket-Key"]
)
def test_nothing_of_a_broken_value_is_reflected(
    server: RunningServer, name: str, control: str
) -> None:
    with Peer(server.port) as peer:
        peer.send(peer.request("/spoken", fields={name: f"chat{control}log"}))
        reply = peer.reply()
        assert reply.status in (101, 400, 403)
        assert "x-injected" not in reply.fields
        assert all(32 <= byte < 127 or byte in b"\r\n" for byte in reply.raw)
        assert not re.search(rb"(?i)protocol|extensions", reply.raw.partition(b"\r\n")[2])


@pytest.mark.fault(18)
@pytest.mark.parametrize("text", ["\xe9", "\xff", "\xc3\xa9", "\x80\x81", "\xed\xa0\x80"])
@pytest.mark.parametrize(
    "name",
    [
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
        "Sec-WebSocket-Accept",
        "Sec-WebSocket-Other",
        "Host",
        "Origin",
        "Connection",
        "Upgrade",
        "Cookie",
        "Authorization",
        "User-Agent",
    ],
)
def test_other_than_ascii_is_no_error_of_the_server(
    server: RunningServer, name: str, text: str
) -> None:
    for path in ("/who", "/app/accept"):
        with Peer(server.port) as peer:
            peer.send(peer.request(path, fields={name: f"a={text}"}))
            status = peer.reply().status
            assert status == 101 or 400 <= status < 500


@pytest.mark.fault(18)
@pytest.mark.parametrize("path", ["/who/\xe9", "/\xff", "/who?\xe9", "/who/%ff%fe", "/who/%00%80"])
def test_other_than_ascii_in_the_target_is_no_error_of_the_server(
    server: RunningServer, path: str
) -> None:
    with Peer(server.port) as peer:
        peer.send(peer.request(path))
        status = peer.reply().status
        assert status == (101 if "%" in path else 400)


@pytest.mark.row(24)
def test_other_fields_reach_the_handler_as_they_came(server: RunningServer) -> None:
    told = seen(
        server, fields={"Authorization": "Basic x", "X-Other": "1", "Cookie": "a=b; c=\xfcd"}
    )
    headers = dict(told["headers"])
    assert headers["authorization"] == "Basic x"
    assert headers["x-other"] == "1"
    assert told["cookies"]["a"] == "b"


# --- key, version, method ---


@pytest.mark.fault(19)
@pytest.mark.row(12)
@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "MTIzNDU2Nzg5MDEyMzQ1",  # 15 bytes
        "MTIzNDU2Nzg5MDEyMzQ1Njc=",  # 17 bytes
        "dGhlIHNhbXBsZSBub25jZQ",  # without its padding
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25j ZQ==",
        "dGhlIHNhbXBsZSBub25jZQ==, x",
        "dGhlIHNhbXBsZSBub2_-ZQ==",  # of another alphabet
        "!!!!!!!!!!!!!!!!!!!!!!==",
        "=dGhlIHNhbXBsZSBub25jZQ=",
        "A" * 4096,
    ],
)
def test_key_is_sixteen_bytes_in_base64(server: RunningServer, key: str | None) -> None:
    assert refused(server, fields={"Sec-WebSocket-Key": key}).status == 400


@pytest.mark.fault(19, 20, 22)
@pytest.mark.row(9, 13, 16, 65)
@pytest.mark.parametrize(
    "line",
    [
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"sec-websocket-key:",
        b"Sec-WebSocket-Version: 13",
        b"SEC-WEBSOCKET-VERSION: 8",
        b"Host: here",
        b"host: other",
    ],
)
def test_what_may_be_there_once_is_not_taken_twice(server: RunningServer, line: bytes) -> None:
    refusal = refused(server, extra=line + b"\r\n")
    assert refusal.status == 400
    if b"ersion" in line.lower():
        assert refusal.fields["sec-websocket-version"] == "13"


@pytest.mark.fault(20)
@pytest.mark.row(15, 17, 18)
@pytest.mark.parametrize(
    "version",
    [None, "", "0", "7", "8", "12", "14", "99", "256", "013", "+13", "13.0", "13, 8", "13 13"],
)
def test_other_versions_are_told_which_one_is_spoken(
    server: RunningServer, version: str | None
) -> None:
    refusal = refused(server, fields={"Sec-WebSocket-Version": version})
    assert refusal.status == 426
    assert refusal.fields["sec-websocket-version"] == "13"
    assert refusal.fields["upgrade"] == "websocket"
    assert "Upgrade" in refusal.fields["connection"]


@pytest.mark.fault(21)
@pytest.mark.row(1, 2)
@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS", "DELETE", "get", "Get", "GETS", "X"])
def test_only_get_opens_a_websocket(server: RunningServer, method: str) -> None:
    for path in ("/echo", "/nowhere"):
        refusal = refused(server, line=f"{method} {path} HTTP/1.1")
        assert refusal.status == 405
        assert refusal.fields["allow"] == "GET"


@pytest.mark.fault(21)
@pytest.mark.row(2)
def test_refusal_of_head_has_no_body(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        peer.send(peer.request(line="HEAD /echo HTTP/1.1"))
        reply = peer.reply()
        assert reply.status == 405
        assert int(reply.fields["content-length"]) > 0
        peer.read_end()


@pytest.mark.fault(21)
@pytest.mark.row(3, 4, 6)
@pytest.mark.parametrize(
    "line",
    [
        "GET /echo HTTP/1.0",
        "GET /echo HTTP/0.9",
        "GET /echo HTTP/2.0",
        "GET /echo HTTP/1.2",
        "GET /echo HTTP/1.1x",
        "GET /echo HTTP/01.1",
        "GET /echo HTTP/1,1",
        "GET /echo HTTP/1",
        "GET /echo http/1.1",
        "GET /echo WS/1.1",
        "GET /echo",
        "GET  /echo HTTP/1.1",
        "GET /echo  HTTP/1.1",
        "GET /echo HTTP/1.1 ",
        "GET /echo\tHTTP/1.1",
        "GET /e cho HTTP/1.1",
        "GET HTTP/1.1",
        "/echo HTTP/1.1",
        "GET",
    ],
)
def test_only_http_1_1_opens_a_websocket(server: RunningServer, line: str) -> None:
    assert refused(server, line=line).status == 400


# --- target and host ---


@pytest.mark.row(7)
@pytest.mark.parametrize(
    "target",
    ["*", "echo", "here:80", "//", "/echo#fragment", "/echo#", "/\0", "/a\x01", "/a\x7f", "?", "#"],
)
def test_target_is_a_path(server: RunningServer, target: str) -> None:
    assert refused(server, target).status in (400, 403)


@pytest.mark.row(5)
@pytest.mark.parametrize("scheme", ["http", "ws", "HTTP"])
def test_target_may_be_absolute(server: RunningServer, scheme: str) -> None:
    told = seen(server, f"{scheme}://elsewhere.example/who/a%20b?x=1")
    assert told["path"] == "/who/a b"
    with Peer(server.port) as peer:
        peer.open(f"{scheme}://elsewhere.example/app/accept").echo("an app finds its path too")


@pytest.mark.fault(22)
@pytest.mark.row(9)
@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "a/b",
        "a b",
        "user@host",
        "user:pass@host",
        "http://host",
        "host:port",
        "host:99999",
        "host:-1",
        "host:80:80",
        "::1",
        "[::1",
        "[::1]x",
        "[host]",
        "[]",
        "host, other",
        "h\xf6st",
        "a?b",
        "a#b",
        "a\\b",
        "<a>",
        '"',
        "a" * 10_240,
        "[" + ":" * 10_240 + "]",
    ],
)
def test_host_that_is_none_is_refused(server: RunningServer, host: str | None) -> None:
    assert refused(server, fields={"Host": host}).status == 400


@pytest.mark.fault(22)
@pytest.mark.row(9)
@pytest.mark.parametrize(
    "host", ["here", "HERE.example", "127.0.0.1:1", "[::1]", "[::1]:8000", "a-b.example.", "x:"]
)
def test_any_host_is_served_where_none_are_listed(server: RunningServer, host: str) -> None:
    opened(server, fields={"Host": host})


@pytest.mark.fault(23)
@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("service.example", True),
        ("SERVICE.example", True),
        ("service.example:1234", True),
        ("other.example:8443", True),
        ("other.example", False),
        ("other.example:443", False),
        ("evil.example", False),
        ("service.example.evil.example", False),
        ("evil-service.example", False),
        ("127.0.0.1", False),
        ("[::1]", False),
    ],
)
def test_hosts_that_are_not_listed_are_refused_with_421(
    server: RunningServer, host: str, served: bool
) -> None:
    if served:
        opened(server, "/hosted", {"Host": host})
    else:
        refusal = refused(server, "/hosted", fields={"Host": host, "Origin": f"http://{host}"})
        assert refusal.status == 421
        assert "hosts" in refusal.text


# --- what a proxy would say, and what only a proxy may ---

FORWARDED: Fields = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "443",
    "X-Real-IP": "203.0.113.7",
    "Forwarded": "for=203.0.113.7;proto=https;host=evil.example",
    "X-Original-URL": "/echo",
    "X-Rewrite-URL": "/echo",
    "X-HTTP-Method-Override": "POST",
}


@pytest.mark.fault(24)
def test_what_a_stranger_says_of_a_proxy_has_no_effect(server: RunningServer) -> None:
    size = len(server.log)
    told = seen(server, fields=FORWARDED)
    assert told["address"][0] == "127.0.0.1"
    assert told["secure"] is False
    assert told["path"] == "/who"
    assert "evil" not in told["url"]
    refusal = refused(server, fields={**FORWARDED, "Origin": "http://evil.example"})
    assert refusal.status == 403
    with Peer(server.port) as peer:
        head = "GET /x HTTP/1.1\r\nHost: here\r\nX-Forwarded-Proto: https\r\n"
        peer.send(f"{head}X-Forwarded-For: 203.0.113.7\r\n\r\n".encode())
        assert b'"scheme": "http"' in peer.body(peer.reply())
    assert "203.0.113.7" not in server.log[size:]


@pytest.mark.fault(25)
@pytest.mark.parametrize(
    "named", ["Origin", "Sec-WebSocket-Version", "Sec-WebSocket-Key", "Host", "Authorization"]
)
def test_fields_named_in_connection_are_heeded_all_the_same(
    server: RunningServer, named: str
) -> None:
    abuse: Fields = {"Connection": f"close, Upgrade, {named}"}
    told = seen(server, fields={**abuse, "Authorization": "Basic x"})
    assert dict(told["headers"])["authorization"] == "Basic x"
    assert refused(server, fields={**abuse, "Origin": "http://evil.example"}).status == 403
    assert refused(server, fields={**abuse, "Sec-WebSocket-Version": "8"}).status == 426


# --- subprotocols and extensions ---


@pytest.mark.row(22, 31, 32, 58, 64, 65)
@pytest.mark.parametrize(
    ("lines", "chosen"),
    [
        (b"Sec-WebSocket-Protocol: chat\r\n", "chat"),
        (b"Sec-WebSocket-Protocol: log\r\n", "log"),
        (b"Sec-WebSocket-Protocol: x, log, chat\r\n", "chat"),
        (b"Sec-WebSocket-Protocol: x\r\nSec-WebSocket-Protocol: log\r\n", "log"),
        (b"Sec-WebSocket-Protocol: ,, log ,\r\n", "log"),
        (b"Sec-WebSocket-Protocol: Chat, LOG\r\n", None),
        (b"Sec-WebSocket-Protocol: x\r\n", None),
        (b"", None),
    ],
)
def test_one_of_the_offered_subprotocols_is_chosen(
    server: RunningServer, lines: bytes, chosen: str | None
) -> None:
    fields = opened(server, "/spoken", extra=lines)
    assert fields.get("sec-websocket-protocol") == chosen


@pytest.mark.row(22, 51, 57, 63)
@pytest.mark.parametrize(
    "value", ["chat, chat", "chat log", "ch@t", "chat;q=1", '"chat"', "chat/1"]
)
def test_malformed_subprotocols_are_refused(server: RunningServer, value: str) -> None:
    assert refused(server, "/spoken", fields={"Sec-WebSocket-Protocol": value}).status == 400


DEFLATE = "permessage-deflate"


@pytest.mark.fault(26)
@pytest.mark.row(51, 56, 57)
@pytest.mark.parametrize(
    "value",
    [
        "a b",
        "a;",
        "a; =b",
        "a; b=",
        "a; b=c d",
        'a; b="c',
        'a; b="c d"',
        'a; b=""',
        "; a",
        "a=b",
        "a, b; c=@",
        f"{DEFLATE}; server_max_window_bits=10;",
    ],
)
def test_malformed_offers_are_refused(server: RunningServer, value: str) -> None:
    assert refused(server, fields={"Sec-WebSocket-Extensions": value}).status == 400


@pytest.mark.fault(26)
@pytest.mark.row(60, 62, 160, 161, 162)
@pytest.mark.parametrize(
    "value",
    [
        "unknown",
        "unknown; a; b=c",
        f"{DEFLATE}; unknown",
        f"{DEFLATE}; server_max_window_bits",
        f"{DEFLATE}; server_max_window_bits=7",
        f"{DEFLATE}; server_max_window_bits=16",
        f"{DEFLATE}; server_max_window_bits=010",
        f"{DEFLATE}; server_max_window_bits=999999999999999999999",
        f"{DEFLATE}; client_max_window_bits=x",
        f"{DEFLATE}; server_no_context_takeover=1",
        f"{DEFLATE}; client_max_window_bits; client_max_window_bits",
        f"{DEFLATE.upper()}",
        "deflate-frame; max_window_bits=99",
    ],
)
def test_offers_that_cannot_be_accepted_are_declined(server: RunningServer, value: str) -> None:
    fields = opened(server, "/deflates", {"Sec-WebSocket-Extensions": value})
    assert "sec-websocket-extensions" not in fields


@pytest.mark.fault(26)
@pytest.mark.row(23, 33, 34, 55, 58, 59, 61, 158, 186)
@pytest.mark.parametrize(
    ("lines", "chosen"),
    [
        ([DEFLATE], DEFLATE),
        ([f",, {DEFLATE} ,"], DEFLATE),
        (["unknown", DEFLATE], DEFLATE),
        (['unknown; a="b\\c"; d=e, x', DEFLATE], DEFLATE),
        (
            [f"{DEFLATE}; server_max_window_bits=99", f'{DEFLATE}; server_max_window_bits="10"'],
            DEFLATE,
        ),
        ([f"{DEFLATE}, {DEFLATE}"], DEFLATE),
        ([f"{DEFLATE}, deflate-frame, x-webkit-deflate-frame"], DEFLATE),
        ([f"deflate-frame, {DEFLATE}"], "deflate-frame"),
        ([f"x-webkit-deflate-frame, {DEFLATE}"], "x-webkit-deflate-frame"),
        ([",".join([DEFLATE] * 380)], DEFLATE),
        ([",".join([f"{DEFLATE}, deflate-frame"] * 190)], DEFLATE),
        ([",".join(f"unknown{number}" for number in range(380)), DEFLATE], DEFLATE),
    ],
)
def test_one_of_the_deflates_at_most_is_accepted(
    server: RunningServer, lines: list[str], chosen: str
) -> None:
    extra = "".join(f"Sec-WebSocket-Extensions: {value}\r\n" for value in lines)
    fields = opened(server, "/deflates", extra=extra.encode())
    accepted = fields["sec-websocket-extensions"].split(",")
    assert [one.partition(";")[0] for one in accepted] == [chosen]


# --- what ends up in the log ---

ESCAPES = [
    "\x1b[31mred\x1b[0m",
    "a\r\nb",
    "\u202egnp.exe",
    "a\nINFO forged",
    "\x07",
    "\x9b31m",
    "é",
]


def percent(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def local_address(peer: Peer) -> str:
    host, port = peer.socket.getsockname()
    return f" {host}:{port} "


def check_log(server: RunningServer, size: int, address: str) -> str:
    """Check that the log has one line of this peer, and that the server alone wrote lines."""
    eventually(lambda: re.search(f"{address}.*\\n", server.log[size:]))
    text = server.log[size:]
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        assert re.match(r"\d{4}-\d\d-\d\d [\d:,]+ INFO ", line), line
        assert line.replace("§", "").isascii()
        assert line.isprintable()
        assert len(line) < 500
    assert text.count(address) == 1
    return text


@pytest.mark.fault(27)
@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("path", ["/who/", "/app/refuse/", "/"])
def test_path_is_escaped_in_the_log(server: RunningServer, path: str, escape: str) -> None:
    size = len(server.log)
    fields: Fields = {}
    if path == "/":  # plain HTTP
        fields = {"Upgrade": None, "Sec-WebSocket-Key": None, "Sec-WebSocket-Version": None}
    with Peer(server.port) as peer:
        address = local_address(peer)
        peer.send(peer.request(path + percent(escape), fields=fields))
        peer.reply()
    check_log(server, size, address)


@pytest.mark.fault(27)
@pytest.mark.parametrize("escape", ESCAPES)
def test_close_reason_is_escaped_in_the_log(server: RunningServer, escape: str) -> None:
    size = len(server.log)
    with Peer(server.port) as peer:
        address = local_address(peer)
        peer.open("/echo")
        peer.send_frame(CLOSE, (4000).to_bytes(2, "big") + escape.encode())
        peer.read_close()
        peer.read_end()
    assert "closed with 4000" in check_log(server, size, address)


@pytest.mark.fault(27)
@pytest.mark.parametrize("name", ["Origin", "User-Agent", "Authorization", "Host", "Cookie"])
@pytest.mark.parametrize("escape", ["\x1b[31mred", "\x9b31m", "\xff\xfe", "a" * 5000])
def test_fields_are_escaped_in_the_log(server: RunningServer, name: str, escape: str) -> None:
    size = len(server.log)
    with Peer(server.port) as peer:
        address = local_address(peer)
        peer.send(peer.request("/who", fields={name: escape}))
        peer.reply()
    check_log(server, size, address)


# --- an app that misbehaves while it decides ---


@pytest.mark.fault(28)
@pytest.mark.row(25)
@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/app/raise", 500, marks=pytest.mark.tracebacks(1)),
        pytest.param("/app/nonsense", 500, marks=pytest.mark.tracebacks(1)),
        pytest.param("/app/wrong-types", 500, marks=pytest.mark.tracebacks(1)),
        pytest.param("/app/unoffered", 500, marks=pytest.mark.tracebacks(1)),
        pytest.param("/app/split-response", 500, marks=pytest.mark.tracebacks(1)),
        pytest.param("/app/split-denial", 500, marks=pytest.mark.tracebacks(1)),
        ("/app/return", 500),
        ("/app/hang", 503),
        ("/app/refuse", 403),
        ("/app/challenge", 401),
        ("/app/nowhere", 403),
    ],
)
def test_app_that_does_not_accept_is_answered_for(
    server: RunningServer, path: str, status: int
) -> None:
    with innocent(server):
        refusal = refused(server, path, behind=frame(TEXT, "early"))
    assert refusal.status == status
    assert "set-cookie" not in refusal.fields
    assert "purpose" not in refusal.text


@pytest.mark.row(48)
def test_challenge_of_an_app_arrives(server: RunningServer) -> None:
    refusal = refused(server, "/app/challenge")
    assert refusal.fields["www-authenticate"] == 'Basic realm="here"'
    assert refusal.text == "who are you?"


@pytest.mark.fault(28)
def test_app_that_hangs_is_released_when_the_peer_leaves(server: RunningServer) -> None:
    before = server.descriptors
    for leave in (Peer.reset, Peer.finish):
        with Peer(server.port) as peer:
            peer.send(peer.request("/app/hang"))
            leave(peer)
    eventually(lambda: server.descriptors <= before)


@pytest.mark.row(25)
@pytest.mark.parametrize(
    "path",
    ["/nowhere", "/ECHO", "//echo", "/echo//", "/./echo", "/rooms/../echo", "/rooms/a/b", "/e%2fo"],
)
def test_path_without_a_route_is_not_upgraded(server: RunningServer, path: str) -> None:
    assert refused(server, path).status == 403


# --- anything ---

KNOWN = {101, 200, 400, 403, 405, 408, 414, 421, 426, 431, 501}
PIECES = [b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b",", b";", b'"', b"\xff", b"HTTP/1.1", b"xxx"]


def mutate(data: bytes, random: Random) -> bytes:
    """Remove, repeat, replace or insert something, somewhere."""
    start = random.randrange(len(data))
    stop = start + random.choice([0, 1, 1, 2, 8, 40])
    middle = random.choice([b"", data[start:stop] * 2, random.choice(PIECES), random.randbytes(2)])
    return data[:start] + middle + data[stop:]


@pytest.mark.row(1, 51)
@pytest.mark.parametrize("seed", range(8))
def test_mutilated_handshakes_are_answered_once_or_not_at_all(
    server: RunningServer, seed: int
) -> None:
    random = Random(seed)
    fields: Fields = {"Host": "a", "Sec-WebSocket-Key": SAMPLE_KEY, "Origin": "https://a"}
    for _ in range(100):
        with Peer(server.port) as peer:
            path = random.choice(["/spoken", "/deflates", "/app/accept"])
            data = peer.request(path, fields=fields)
            for _ in range(random.randint(1, 3)):
                data = mutate(data, random)
            peer.send(data)
            peer.finish()
            received = peer.read_rest()
        statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", received)
        # An empty line in the middle makes two of it: a plain request, and what is none.
        once = len(statuses) == bool(received) or statuses == [b"200", b"400"]
        assert once, (data, received)
        assert all(int(status) in KNOWN for status in statuses), (data, received)
