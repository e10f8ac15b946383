"""What a client sends to open a WebSocket, and what it makes of each answer."""

from __future__ import annotations

import base64
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.client.scripted import ACCEPT, accepting, refusing, scripted, unix_listener
from tests.client.ways import Open, both_ways, read_all
from tests.peer import CLOSE, TEXT, frame
from ws_middleware.client import Token
from ws_middleware.core.endpoint import State
from ws_middleware.errors import HandshakeError, HandshakeRefused
from ws_middleware.extensions import PermessageDeflate

pytestmark = both_ways

# --- the request ---


@pytest.mark.row(68, 73, 74, 75, 76, 79, 80, 81)
def test_request_is_a_handshake_and_nothing_is_sent_before_its_answer(open_: Open) -> None:
    with scripted(accepting("Sec-WebSocket-Protocol: b")) as server:
        url = f"ws://user:secret@127.0.0.1:{server.port}/chat%20room?x=1&y"
        connection = open_(url, subprotocols=["a", "b"], extensions=[PermessageDeflate()])
    (asked,) = server.asked
    assert asked.line == "GET /chat%20room?x=1&y HTTP/1.1"
    assert asked.field("Host") == f"127.0.0.1:{server.port}"
    assert asked.field("Upgrade") == "websocket"
    assert asked.field("Connection") == "Upgrade"
    assert asked.field("Sec-WebSocket-Version") == "13"
    assert asked.field("Sec-WebSocket-Protocol") == "a, b"
    offer = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
    assert asked.field("Sec-WebSocket-Extensions") == offer
    assert b"user" not in asked.raw
    assert server.received == b""  # nor anything behind, as it was aborted
    assert connection.subprotocol == "b"
    assert connection.request.target == "/chat%20room?x=1&y"
    assert connection.response is not None
    assert connection.response.status == 101
    assert connection.state is State.CLOSED


@pytest.mark.row(77)
def test_each_request_has_a_new_key_of_16_bytes(open_: Open) -> None:
    answers = [
        refusing(302, "Location: /other"),
        refusing(401, 'WWW-Authenticate: Basic realm="r"'),
        accepting(),
        accepting(),
    ]
    with scripted(*answers) as server:
        url = server.url.replace("://", "://user:secret@")
        open_(url)
        open_(url)
    keys = [asked.field("Sec-WebSocket-Key") or "" for asked in server.asked]
    assert [len(base64.b64decode(key, validate=True)) for key in keys] == [16] * 4
    assert len(set(keys)) == 4


@pytest.mark.row(78)
def test_origin_headers_and_cookies_are_sent_as_given(open_: Open) -> None:
    with scripted(accepting(), accepting()) as server:
        open_(server.url)
        open_(
            server.url,
            origin="https://example.org",
            headers={"X-One": "1", "Host": "example.org"},
            cookies={"a": "1", "b": "2"},
        )
    plain, rich = server.asked
    assert plain.field("Origin") is None
    assert plain.field("Cookie") is None
    assert rich.field("Origin") == "https://example.org"
    assert rich.field("X-One") == "1"
    assert rich.field("Host") == "example.org"
    assert rich.field("Cookie") == "a=1; b=2"


def test_default_port_is_not_named_and_ipv6_stands_in_brackets(open_: Open) -> None:
    listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    with scripted(accepting(), listener=listener) as server:
        connection = open_(f"ws://[::1]:{server.port}")
    assert server.asked[0].field("Host") == f"[::1]:{server.port}"
    assert connection.remote_address[:2] == ("::1", server.port)  # type: ignore[index]


def test_unix_socket_is_connected_to_whatever_the_host_is(open_: Open, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with scripted(accepting(), listener=unix_listener(path)) as server:
        open_("ws://example.org/x", unix=str(path))
    assert server.asked[0].line == "GET /x HTTP/1.1"
    assert server.asked[0].field("Host") == "example.org"


@pytest.mark.row(92)
@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("ws://127.0.0.1/\r\nX: y", {}),
        ("ws://127.0.0.1/ x", {}),
        ("ws://127.0.0.1\0/", {}),
        ("ws://127.0.0.1/", {"headers": {"X": "a\r\nY: b"}}),
        ("ws://127.0.0.1/", {"headers": {"X\r\nY": "b"}}),
        ("ws://127.0.0.1/", {"headers": {"X": "a\0"}}),
        ("ws://127.0.0.1/", {"headers": {"X": "\u20ac"}}),
        ("ws://127.0.0.1/", {"headers": {"Upgrade": "h2c"}}),
        ("ws://127.0.0.1/", {"headers": [("sec-websocket-key", "x")]}),
        ("ws://127.0.0.1/", {"headers": {"Content-Length": "1"}}),
        ("ws://127.0.0.1/", {"headers": {"authorization": "x"}, "credentials": Token("t")}),
        ("ws://127.0.0.1/", {"cookies": {"a": "b; c=d"}}),
        ("ws://127.0.0.1/", {"cookies": {"a b": "c"}}),
        ("ws://127.0.0.1/", {"cookies": {"a": "b\r\n"}}),
        ("ws://127.0.0.1/", {"origin": "https://a\r\nX: y"}),
        ("ws://127.0.0.1/", {"origin": "example.org"}),
        ("ws://127.0.0.1/", {"subprotocols": ["a\r\nb"]}),
        ("ws://127.0.0.1/", {"subprotocols": ["a, b"]}),
        ("ws://127.0.0.1/", {"subprotocols": ["a", "a"]}),
        ("ws://127.0.0.1/", {"proxy": "ftp://a"}),
        ("ws://127.0.0.1/", {"proxy": "http://a", "unix": "/tmp/x"}),
        ("ws://127.0.0.1/", {"open_timeout": 0}),
    ],
)
def test_what_would_break_the_request_is_refused_before_anything_is_sent(
    open_: Open, url: str, settings: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r".{10}"):
        open_(url, **settings)


@pytest.mark.parametrize(
    ("url", "settings", "why"),
    [
        (None, {}, "a URL is a str, not NoneType"),
        ("ws://127.0.0.1/", {"headers": "X: y"}, "a list of pairs, not str"),
        ("ws://127.0.0.1/", {"headers": {"X": 7}}, "values of headers are str, not int"),
        ("ws://127.0.0.1/", {"credentials": ("ada", "secret")}, "a Password or .*, not tuple"),
        ("wss://127.0.0.1/", {"ssl_context": True}, r"is an ssl\.SSLContext, not bool"),
    ],
)
def test_object_of_another_kind_is_refused(
    open_: Open, url: Any, settings: dict[str, Any], why: str
) -> None:
    with pytest.raises(TypeError, match=f"{why}$"):
        open_(url, **settings)


def test_setting_that_a_client_does_not_have_is_refused(open_: Open) -> None:
    with pytest.raises(TypeError, match=r"a client has no setting origins: write origin$"):
        open_("ws://127.0.0.1/", origins="*")
    with pytest.raises(ValueError, match="wss"):
        open_("ws://127.0.0.1/", ssl_context=object())


# --- the response ---


def _fails(open_: Open, answer: str, **settings: Any) -> HandshakeError:
    with scripted(answer) as server, pytest.raises(HandshakeError) as caught:
        open_(server.url, **settings)
    assert server.received == b""
    return caught.value


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(accepting(without="Upgrade"), "upgrade", marks=pytest.mark.row(83)),
        pytest.param(
            accepting("Upgrade: h2c", without="Upgrade"), "upgrade", marks=pytest.mark.row(83)
        ),
        pytest.param(accepting("Upgrade: h2c"), "other protocols too", marks=pytest.mark.row(83)),
        pytest.param(accepting(without="Connection"), "connection", marks=pytest.mark.row(84)),
        pytest.param(
            accepting("Connection: keep-alive", without="Connection"),
            "connection",
            marks=pytest.mark.row(84),
        ),
        pytest.param(
            accepting(without="Sec-WebSocket-Accept"), "our key", marks=pytest.mark.row(85)
        ),
        pytest.param(
            accepting("Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=", without="Sec"),
            "our key",
            marks=pytest.mark.row(85),
        ),
        pytest.param(
            accepting(f"Sec-WebSocket-Accept: {ACCEPT}"),
            "more than once",
            marks=pytest.mark.row(85),
        ),
        pytest.param(
            accepting("Sec-WebSocket-Extensions: x-other"),
            "not offered",
            marks=pytest.mark.row(86, 159),
        ),
        pytest.param(
            accepting("Sec-WebSocket-Extensions: permessage-deflate; x"),
            "no parameter",
            marks=pytest.mark.row(86, 164),
        ),
        pytest.param(
            accepting("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=15"),
            "window of 15 bits",
            marks=pytest.mark.row(86, 159, 164),
        ),
        pytest.param(
            accepting("Sec-WebSocket-Protocol: c"), "not offered", marks=pytest.mark.row(87)
        ),
        pytest.param(
            accepting("Sec-WebSocket-Protocol: a, b"), "not offered", marks=pytest.mark.row(87)
        ),
        pytest.param(
            accepting("Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b"),
            "more than once",
            marks=pytest.mark.row(87),
        ),
        pytest.param(
            accepting(status="HTTP/1.0 101 Switching Protocols"),
            "HTTP/1.0 101",
            marks=pytest.mark.row(88),
        ),
        pytest.param(accepting("Content-Length: 5"), "has no body", marks=pytest.mark.row(88)),
        pytest.param(
            accepting("Transfer-Encoding: chunked"), "has no body", marks=pytest.mark.row(88)
        ),
        pytest.param(accepting("X: a\r\n b"), "folded", marks=pytest.mark.row(88)),
        pytest.param(accepting("X: a\nY: b"), "CR LF", marks=pytest.mark.row(88)),
        pytest.param(accepting("X: a\0"), "CR LF", marks=pytest.mark.row(88)),
        pytest.param(accepting("X"), "not valid", marks=pytest.mark.row(88)),
        pytest.param(accepting(status="HTTP/1.1 1x1 No"), "not valid", marks=pytest.mark.row(88)),
        pytest.param("SSH-2.0-x\r\n", "not the beginning", marks=pytest.mark.row(88)),
        pytest.param("\r\n\r\n", "not the beginning", marks=pytest.mark.row(88)),
        pytest.param(accepting("X: y").replace("\r\n", "\n"), "CR LF", marks=pytest.mark.row(88)),
    ],
)
def test_breach_in_the_response_has_its_own_sentence(open_: Open, answer: str, reason: str) -> None:
    error = _fails(open_, answer, subprotocols=["a", "b"])
    assert reason in error.reason
    assert error.status in (0, 101)


@pytest.mark.row(90)
@pytest.mark.parametrize(
    ("answer", "limit"),
    [
        (accepting("X: " + "x" * 20_000), "max_head_size=16384"),
        ("HTTP/1.1 101 " + "x" * 20_000, "max_head_size=16384"),
        ("HTTP/1.1 103 Early Hints\r\n\r\n" * 1000, "max_head_size=16384"),
        (accepting(*["X: y"] * 100), "max_head_fields=100"),
    ],
)
def test_head_of_the_response_has_limits(open_: Open, answer: str, limit: str) -> None:
    assert limit in _fails(open_, answer).reason


@pytest.mark.row(90)
def test_head_of_the_response_may_be_larger_where_the_settings_say_so(open_: Open) -> None:
    with scripted(accepting("X: " + "x" * 20_000)) as server:
        open_(server.url, max_head_size=30_000)


def test_responses_that_only_inform_are_passed_over(open_: Open) -> None:
    with scripted("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + accepting()) as server:
        open_(server.url)


@pytest.mark.row(82)
@pytest.mark.parametrize("status", [200, 204, 400, 403, 404, 426, 429, 500, 503])
def test_other_status_fails_with_status_headers_and_body(open_: Open, status: int) -> None:
    body = "" if status == 204 else "why not"
    error = _fails(open_, refusing(status, "Retry-After: 7", body=body))
    assert isinstance(error, HandshakeRefused)
    assert error.status == status
    assert ("Retry-After", "7") in error.headers
    assert error.body == body.encode()
    assert str(error) == f"the server refused to open a WebSocket: {status} No"


@pytest.mark.row(82)
@pytest.mark.parametrize(
    ("answer", "body"),
    [
        ("HTTP/1.1 403 No\r\n\r\nuntil the end", b"until the end"),
        ("HTTP/1.0 403 No\r\n\r\nuntil the end", b"until the end"),
        ("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"abc"),
        ("HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nbroken", b"broken"),
        ("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", b""),
        ("HTTP/1.1 403 No\r\nContent-Length: 99999\r\n\r\n" + "x" * 99_999, b"x" * 16_384),
    ],
)
def test_body_is_read_as_far_as_it_goes(open_: Open, answer: str, body: bytes) -> None:
    error = _fails(open_, answer)
    assert isinstance(error, HandshakeRefused)
    assert error.body == body


@pytest.mark.row(89)
@pytest.mark.parametrize("answer", [None, "HTTP/1.1 101 Swit", "HTTP/1.1 103 X\r\n\r\n"])
def test_connection_that_is_lost_on_the_way_is_an_os_error(open_: Open, answer: str | None) -> None:
    with scripted(answer) as server, pytest.raises(ConnectionError, match="without an answer"):
        open_(server.url)


@pytest.mark.row(89)
def test_connection_that_is_refused_is_an_os_error(open_: Open) -> None:
    with scripted() as server:
        url = server.url
    with pytest.raises(ConnectionRefusedError):
        open_(url)


def test_host_that_does_not_exist_is_an_os_error(open_: Open) -> None:
    with pytest.raises(socket.gaierror):
        open_("ws://does-not-exist.invalid/", proxy=None)


@pytest.mark.row(90)
@pytest.mark.parametrize("answer", ["", "HTTP/1.1 101", "HTTP/1.1 403 No\r\n\r\nbody"])
def test_whole_opening_has_a_deadline(open_: Open, answer: str) -> None:
    with (
        scripted(answer, stays_open=True) as server,
        pytest.raises(TimeoutError, match=r"open_timeout=0\.2"),
    ):
        open_(server.url, open_timeout=0.2)


# --- what comes behind it ---


def test_frames_that_arrive_with_the_response_are_not_lost(open_: Open) -> None:
    early = frame(TEXT, "early", key=None) + frame(CLOSE, b"\x03\xe8", key=None)
    with scripted(accepting(), behind=early) as server:
        assert read_all(open_, server.url) == (["early"], 1000)
