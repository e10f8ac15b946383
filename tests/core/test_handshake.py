"""The opening handshake, as a server checks it and as a client does, clause by clause."""

from __future__ import annotations

import base64
from collections.abc import Iterable

import pytest

from tests.asgi.handshaking import parse_response
from ws_middleware.core.extensions import accept_offers
from ws_middleware.core.handshake import (
    RequestHead,
    ResponseHead,
    accept_key,
    check_request,
    check_response,
    choose_subprotocol,
    encode_connect,
    encode_refusal,
    encode_request,
    encode_response,
    is_attempt,
    offered_extensions,
    offered_subprotocols,
    request_fields,
    upgrade_fields,
)
from ws_middleware.errors import HandshakeError
from ws_middleware.extensions import DeflateFrame, PermessageDeflate

#: The sample of RFC 6455 §1.3.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

REQUEST = {
    "Host": "server.example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}
RESPONSE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": ACCEPT}

#: A field's lines: one, several, or none.
Lines = str | list[str] | None


def _fields(usual: dict[str, str], changes: dict[str, Lines]) -> list[tuple[str, str]]:
    lines: dict[str, Lines] = {**usual, **changes}
    return [
        (name, value)
        for name, values in lines.items()
        for value in ([values] if isinstance(values, str) else values or [])
    ]


def _request(
    changes: dict[str, Lines] | None = None,
    *,
    method: str = "GET",
    target: str = "/chat",
    version: str = "1.1",
) -> RequestHead:
    return RequestHead(method, target, version, _fields(REQUEST, changes or {}))


def _response(
    changes: dict[str, Lines] | None = None, *, status: int = 101, version: str = "1.1"
) -> ResponseHead:
    return ResponseHead(status, "", version, _fields(RESPONSE, changes or {}))


def _refusal(head: RequestHead) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        check_request(head)
    assert 400 <= caught.value.status < 500
    return caught.value


# --- the request as a whole ---


@pytest.mark.row(29)
def test_sample_of_the_rfc() -> None:
    assert check_request(_request()) == KEY
    assert accept_key(KEY) == ACCEPT


@pytest.mark.row(2)
@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "get", "Get", ""])
def test_method_other_than_get_gets_405_with_allow(method: str) -> None:
    error = _refusal(_request(method=method))
    assert (error.status, error.headers) == (405, (("Allow", "GET"),))


@pytest.mark.row(1, 3, 4)
@pytest.mark.parametrize("version", ["1.0", "0.9", "1.2", "2", "2.0", "3", "01.1", "1.1x", ""])
def test_version_other_than_http_1_1_is_refused(version: str) -> None:
    assert _refusal(_request(version=version)).status == 400


@pytest.mark.row(5)
@pytest.mark.parametrize(
    "target",
    ["/", "/chat?room=1", "//", "/%00", "http://a/", "HTTPS://a/b?c", "ws://a/b", "wss://a:1/b"],
)
def test_target_is_a_path_or_in_absolute_form(target: str) -> None:
    assert check_request(_request(target=target)) == KEY


@pytest.mark.row(1, 7)
@pytest.mark.parametrize(
    "target",
    ["", "*", "a:80", "chat", "?x", "/a#b", "/\x00", "/\x1f", "/\x7f", "/\x85", "ftp://a/b"],
)
def test_target_in_another_form_is_refused(target: str) -> None:
    assert _refusal(_request(target=target)).status == 400


@pytest.mark.row(9, 65)
@pytest.mark.parametrize(
    "host",
    [None, "", ["a", "a"], ["a", "b"], "a/b", "a b", "u@a", "a:x", "a:65536", "[::1"],
)
def test_host_that_is_missing_there_twice_or_malformed_is_refused(host: Lines) -> None:
    assert _refusal(_request({"Host": host})).status == 400


@pytest.mark.row(9)
@pytest.mark.parametrize("host", ["a", "A:80", "127.0.0.1", "[::1]:8000", " a "])
def test_host_with_or_without_port_is_accepted(host: str) -> None:
    assert check_request(_request({"Host": host})) == KEY


# --- upgrade and connection ---


@pytest.mark.row(10, 11, 44)
@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": "WebSocket"},
        {"Upgrade": "WEBSOCKET"},
        {"Upgrade": "h2c, websocket"},
        {"Upgrade": "h2c/1, websocket"},
        {"Upgrade": ["h2c", "websocket"]},
        {"Upgrade": ",websocket,,"},
        {"Connection": "upgrade"},
        {"Connection": "UPGRADE"},
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": "Upgrade,keep-alive"},
        {"Connection": ["keep-alive", "Upgrade"]},
        {"Upgrade": None, "uPGRADE": "websocket"},
    ],
)
def test_tokens_are_found_in_any_case_and_anywhere(changes: dict[str, Lines]) -> None:
    assert check_request(_request(changes)) == KEY


@pytest.mark.row(1, 10, 18, 38)
@pytest.mark.parametrize(
    "upgrade",
    [None, [], "h2c", "websockets", "notwebsocket", "websocket/13", "web/socket"],
)
def test_request_without_the_token_websocket_is_told_to_upgrade(upgrade: Lines) -> None:
    error = _refusal(_request({"Upgrade": upgrade}))
    assert error.status == 426
    assert ("Upgrade", "websocket") in error.headers


@pytest.mark.row(1, 11)
@pytest.mark.parametrize(
    "connection",
    [None, "", "close", "keep-alive", "Upgraded", "not-upgrade", "up grade", '"Upgrade"'],
)
def test_request_without_the_token_upgrade_is_refused(connection: Lines) -> None:
    assert _refusal(_request({"Connection": connection})).status == 400


@pytest.mark.row(57)
@pytest.mark.parametrize("name", ["Upgrade", "Connection"])
@pytest.mark.parametrize("value", ["", ",", "a b, websocket", "websocket, Upgrade;", "\xe4"])
def test_malformed_list_is_refused(name: str, value: str) -> None:
    error = _refusal(_request({name: value}))
    assert (error.status, error.reason) == (400, f"the {name.lower()} field is malformed")


# --- version and key ---


@pytest.mark.row(15, 17, 18)
@pytest.mark.parametrize(
    "version",
    [None, "", "0", "7", "8", "12", "14", "99", "256", "013", "+13", "13, 8", "13 8", "1 3"],
)
def test_version_other_than_13_is_answered_with_13(version: Lines) -> None:
    error = _refusal(_request({"Sec-WebSocket-Version": version}))
    assert error.status == 426
    assert dict(error.headers) == {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}


@pytest.mark.row(16, 17, 65)
def test_version_there_twice_is_refused() -> None:
    error = _refusal(_request({"Sec-WebSocket-Version": ["13", "13"]}))
    assert (error.status, error.headers) == (400, (("Sec-WebSocket-Version", "13"),))


@pytest.mark.row(1, 12, 13, 65)
@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "=",
        [KEY, KEY],
        f"{KEY}, {KEY}",
        base64.b64encode(bytes(15)).decode(),
        base64.b64encode(bytes(17)).decode(),
        base64.b64encode(bytes(4096)).decode(),
        KEY.rstrip("="),
        KEY[:-1],
        f"{KEY}=",
        KEY.replace("d", "-", 1),
        KEY.replace("d", "_", 1),
        KEY.replace("d", " ", 1),
        KEY.replace("d", "\xe4", 1),
        f"{KEY[:8]}=={KEY[8:]}",
        "!" * 24,
    ],
)
def test_key_that_is_not_16_bytes_in_base64_is_refused(key: Lines) -> None:
    assert _refusal(_request({"Sec-WebSocket-Key": key})).status == 400


@pytest.mark.row(14, 43)
@pytest.mark.parametrize("key", [f" {KEY}", f"{KEY}\t", f" \t{KEY} \t "])
def test_key_is_taken_as_it_was_sent_without_whitespace_around_it(key: str) -> None:
    assert check_request(_request({"Sec-WebSocket-Key": key})) == KEY


@pytest.mark.row(14)
@pytest.mark.parametrize(
    ("key", "accept"),
    [
        ("x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="),
        ("AAAAAAAAAAAAAAAAAAAAAA==", "ICX+Yqv66kxgM0FcWaLWlFLwTAI="),
    ],
)
def test_answer_hashes_the_text_of_the_key(key: str, accept: str) -> None:
    assert accept_key(key) == accept


# --- bodies ---


@pytest.mark.row(37, 46)
@pytest.mark.parametrize(
    "changes",
    [
        {"Content-Length": "1"},
        {"Content-Length": "00"},
        {"Content-Length": "-0"},
        {"Content-Length": ""},
        {"Content-Length": ["0", "0"]},
        {"Transfer-Encoding": "chunked"},
        {"Transfer-Encoding": ""},
        {"Transfer-Encoding": "identity", "Content-Length": "0"},
    ],
)
def test_request_with_a_body_is_refused(changes: dict[str, Lines]) -> None:
    assert _refusal(_request(changes)).status == 400


def test_length_of_zero_is_no_body() -> None:
    assert check_request(_request({"Content-Length": "0"})) == KEY


# --- negotiation ---


@pytest.mark.row(22, 63, 65)
@pytest.mark.parametrize(
    ("lines", "offered"),
    [
        (None, []),
        ("chat", ["chat"]),
        ("chat, superchat", ["chat", "superchat"]),
        (["b", "a , c"], ["b", "a", "c"]),
        ("chat, CHAT", ["chat", "CHAT"]),
        (",,chat,", ["chat"]),
    ],
)
def test_subprotocols_are_listed_in_the_order_of_preference(
    lines: Lines, offered: list[str]
) -> None:
    head = _request({"Sec-WebSocket-Protocol": lines})
    assert check_request(head) == KEY
    assert offered_subprotocols(head.fields) == offered


@pytest.mark.row(22, 54, 57, 58, 63)
@pytest.mark.parametrize(
    "lines",
    ["a b", "a;b", "a/b", '"a"', "\xe4", "a\x0b", "a, a", ["a", "a"], "", ",", ["a", "b c"]],
)
def test_subprotocols_that_are_malformed_or_there_twice_are_refused(lines: Lines) -> None:
    assert _refusal(_request({"Sec-WebSocket-Protocol": lines})).status == 400


@pytest.mark.row(23, 55, 65)
@pytest.mark.parametrize(
    ("lines", "offered"),
    [
        (None, []),
        ("a; x, b", [("a", [("x", None)]), ("b", [])]),
        (["a; x", "b"], [("a", [("x", None)]), ("b", [])]),
        (["a", "", "b"], [("a", []), ("b", [])]),
    ],
)
def test_extensions_may_take_several_lines(lines: Lines, offered: list[object]) -> None:
    head = _request({"Sec-WebSocket-Extensions": lines})
    assert check_request(head) == KEY
    assert offered_extensions(head.fields) == offered


@pytest.mark.row(57, 58)
@pytest.mark.parametrize("lines", ["a b", "a;", "a; x=", 'a; x="', "", ",", ['a; x="b', 'c"']])
def test_malformed_extensions_are_refused(lines: Lines) -> None:
    error = _refusal(_request({"Sec-WebSocket-Extensions": lines}))
    assert error.status == 400
    assert error.reason.startswith("Sec-WebSocket-Extensions: ")


@pytest.mark.row(60)
def test_unknown_extensions_and_fields_are_no_error() -> None:
    changes: dict[str, Lines] = {"Sec-WebSocket-Extensions": "x-unknown; y=z", "X-Unknown": "\xe4"}
    assert check_request(_request(changes)) == KEY


@pytest.mark.row(31, 64)
@pytest.mark.parametrize(
    ("offered", "supported", "chosen"),
    [
        ([], ["a"], None),
        (["a"], [], None),
        (["a"], ["a"], "a"),
        (["a", "b"], ["b", "a"], "b"),
        (["b", "c"], ["a", "c", "b"], "c"),
        (["A"], ["a"], None),
        (["c"], ["a", "b"], None),
    ],
)
def test_server_chooses_among_the_offered_subprotocols(
    offered: list[str], supported: list[str], chosen: str | None
) -> None:
    assert choose_subprotocol(offered, supported) == chosen


# --- is it an attempt? ---


@pytest.mark.parametrize(
    "field",
    [
        ("Upgrade", "websocket"),
        ("UPGRADE", "h2c, WebSocket"),
        ("Sec-WebSocket-Key", ""),
        ("sec-websocket-anything", "x"),
    ],
)
def test_naming_the_protocol_is_an_attempt(field: tuple[str, str]) -> None:
    assert is_attempt(RequestHead("POST", "*", "1.0", [("Host", "a"), field]))


@pytest.mark.parametrize(
    "fields", [[], [("Upgrade", "h2c")], [("Connection", "Upgrade")], [("X", "websocket")]]
)
def test_other_requests_are_no_attempt(fields: list[tuple[str, str]]) -> None:
    assert not is_attempt(RequestHead("GET", "/", "1.1", fields))


# --- the response ---


@pytest.mark.row(27, 28, 29, 30, 31, 33, 35)
def test_fields_of_a_plain_101() -> None:
    assert upgrade_fields(KEY) == list(RESPONSE.items())


@pytest.mark.row(31, 32, 34, 61)
def test_fields_of_a_101_with_everything() -> None:
    offers = offered_extensions(
        [("Sec-WebSocket-Extensions", "permessage-deflate; x, a, permessage-deflate")]
    )
    agreements = accept_offers(offers, [PermessageDeflate(), DeflateFrame()])
    assert upgrade_fields(KEY, "chat", agreements) == [
        *RESPONSE.items(),
        ("Sec-WebSocket-Protocol", "chat"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; server_max_window_bits=12"),
    ]


@pytest.mark.row(26, 36)
def test_101_ends_with_its_empty_line() -> None:
    assert encode_response(101, [("Upgrade", "websocket"), ("X", "\xe4")]) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nX: \xe4\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("status", "line"),
    [(404, b"404 Not Found"), (421, b"421 Misdirected Request"), (599, b"599 ")],
)
def test_refusal_has_its_phrase_and_its_body(status: int, line: bytes) -> None:
    assert encode_response(status, [], b"no") == b"HTTP/1.1 " + line + b"\r\n\r\nno"


#: Fields that would end the head, or begin another field.
TORN = [
    ("X", "a\r\nY: b"),
    ("X", "a\rb"),
    ("X", "a\nb"),
    ("X", "a\0b"),
    ("", "a"),
    ("X Y", "a"),
    ("X:", "a"),
    ("X\r\n", "a"),
    ("\xe4", "a"),
]


@pytest.mark.row(54, 92)
@pytest.mark.parametrize("field", TORN)
def test_field_that_would_break_the_head_apart_is_refused(field: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="is not a header field"):
        encode_response(400, [field])
    with pytest.raises(ValueError, match="is not a header field"):
        encode_request("/", [field])


@pytest.mark.row(92)
def test_field_beyond_latin_1_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a header field"):
        encode_request("/", [("X", "\u20ac")])


# --- what a client sends ---


@pytest.mark.row(73, 74)
def test_request_is_a_get_of_the_resource() -> None:
    assert encode_request("/chat?room=1", [("Host", "a")]) == (
        b"GET /chat?room=1 HTTP/1.1\r\nHost: a\r\n\r\n"
    )


@pytest.mark.row(92)
@pytest.mark.parametrize(
    "target", ["", "chat", "*", "http://a/", "/a b", "/a\r\nX: y", "/\n", "/\0", "/\x7f", "/\xe4"]
)
def test_target_that_would_break_the_request_apart_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="is not a request target"):
        encode_request(target, [])


@pytest.mark.row(76, 79)
def test_request_of_a_client_is_what_a_server_accepts() -> None:
    raw = encode_request("/chat", REQUEST.items())
    first, *lines = raw.decode().removesuffix("\r\n\r\n").split("\r\n")
    method, target, version = first.split(" ")
    fields = [(line.partition(": ")[0], line.partition(": ")[2]) for line in lines]
    assert check_request(RequestHead(method, target, version.removeprefix("HTTP/"), fields)) == KEY


@pytest.mark.row(76, 77, 79, 80)
def test_fields_of_a_request_say_what_is_offered() -> None:
    usual = [
        ("Host", "a:1"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
    ]
    assert request_fields("a:1", KEY) == usual
    offer = PermessageDeflate(server_max_window_bits=15)
    assert request_fields("a:1", KEY, ["x", "y"], [offer, DeflateFrame(max_window_bits=15)])[
        5:
    ] == [
        ("Sec-WebSocket-Protocol", "x, y"),
        (
            "Sec-WebSocket-Extensions",
            "permessage-deflate; client_max_window_bits=12, deflate-frame",
        ),
    ]


@pytest.mark.row(71)
def test_proxy_is_asked_for_a_host_and_a_port() -> None:
    assert encode_connect("a:1", [("Host", "a:1")]) == b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"


# --- what a client accepts ---


def _failure(head: ResponseHead, offered: Iterable[str] = ("chat",)) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        check_response(head, KEY, list(offered), [PermessageDeflate()])
    return caught.value


@pytest.mark.row(83, 84, 85)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"Upgrade": "WebSocket"},
        {"Connection": "keep-alive, upgrade"},
        {"Sec-WebSocket-Accept": f" {ACCEPT}\t"},
        {"Content-Length": "0"},
        {"X-Other": "x"},
    ],
)
def test_right_response_is_accepted(changes: dict[str, Lines]) -> None:
    assert check_response(_response(changes), KEY) == (None, [])


@pytest.mark.row(82)
@pytest.mark.parametrize("status", [100, 102, 200, 301, 401, 404, 426, 500, 503])
def test_other_status_fails_with_this_status(status: int) -> None:
    error = _failure(_response(status=status))
    assert (error.status, error.reason) == (
        status,
        f"the server answered HTTP/1.1 {status} instead of HTTP/1.1 101",
    )


@pytest.mark.row(88)
@pytest.mark.parametrize("version", ["1.0", "0.9", "2"])
def test_other_version_fails(version: str) -> None:
    assert f"HTTP/{version} 101" in _failure(_response(version=version)).reason


@pytest.mark.row(83, 84, 85, 88)
@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": None},
        {"Upgrade": ""},
        {"Upgrade": "h2c"},
        {"Upgrade": "websocket, h2c"},
        {"Upgrade": ["websocket", "websocket"]},
        {"Upgrade": "websocket/13"},
        {"Upgrade": "web socket"},
        {"Connection": None},
        {"Connection": "close"},
        {"Connection": "Upgrade; x"},
        {"Sec-WebSocket-Accept": None},
        {"Sec-WebSocket-Accept": ""},
        {"Sec-WebSocket-Accept": ACCEPT.lower()},
        {"Sec-WebSocket-Accept": ACCEPT[:-1]},
        {"Sec-WebSocket-Accept": f'"{ACCEPT}"'},
        {"Sec-WebSocket-Accept": [ACCEPT, ACCEPT]},
        {"Content-Length": "5"},
        {"Transfer-Encoding": "chunked"},
        {"Sec-WebSocket-Protocol": ["chat", "chat"]},
        {"Sec-WebSocket-Extensions": ["permessage-deflate", "permessage-deflate"]},
    ],
)
def test_breach_in_the_response_fails_with_101(changes: dict[str, Lines]) -> None:
    assert _failure(_response(changes)).status == 101


@pytest.mark.row(87)
def test_client_gets_the_subprotocol_it_offered() -> None:
    head = _response({"Sec-WebSocket-Protocol": "b"})
    assert check_response(head, KEY, ["a", "b"]) == ("b", [])


@pytest.mark.row(87)
@pytest.mark.parametrize("chosen", ["", "b", "CHAT", "chat, chat", "chat,b"])
def test_client_refuses_a_subprotocol_it_did_not_offer(chosen: str) -> None:
    error = _failure(_response({"Sec-WebSocket-Protocol": chosen}))
    assert "subprotocol that was not offered" in error.reason


@pytest.mark.row(86)
def test_client_gets_the_extension_it_offered() -> None:
    response = "permessage-deflate; server_max_window_bits=10"
    head = _response({"Sec-WebSocket-Extensions": response})
    subprotocol, agreements = check_response(head, KEY, (), [PermessageDeflate()])
    assert subprotocol is None
    assert [str(agreement) for agreement in agreements] == [response]


@pytest.mark.row(86, 164)
@pytest.mark.parametrize(
    "response",
    [
        "",
        "x-other",
        "permessage-deflate; unknown",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate, permessage-deflate",
        "permessage-deflate;",
    ],
)
def test_client_refuses_an_extension_it_did_not_offer(response: str) -> None:
    error = _failure(_response({"Sec-WebSocket-Extensions": response}))
    assert error.status == 101
    assert error.reason


# --- the refusal ---


def test_refusal_is_a_whole_response() -> None:
    response = parse_response(encode_refusal(HandshakeError(403, "not for you")))
    assert response == (
        403,
        {
            "content-type": "text/plain; charset=utf-8",
            "content-length": "12",
            "connection": "close",
        },
        b"not for you\n",
    )


@pytest.mark.parametrize("name", ["Upgrade", "upgrade"])
def test_refusal_that_asks_to_upgrade_names_it_in_connection(name: str) -> None:
    error = HandshakeError(426, "upgrade", [(name, "websocket")])
    assert parse_response(encode_refusal(error)).fields["connection"] == "close, Upgrade"


def test_refusal_of_head_has_no_body() -> None:
    response = parse_response(encode_refusal(HandshakeError(405, "no"), "HEAD"))
    assert response.body == b""
    assert response.fields["content-length"] == "3"


def test_refusal_may_have_a_content_of_its_own_and_go_on() -> None:
    error = HandshakeError(403, "no", [("Content-Type", "text/html"), ("Content-Length", "99")])
    error.body = b"<p>no"
    response = parse_response(encode_refusal(error, goes_on=True))
    fields = {"content-type": "text/html", "content-length": "5"}
    assert response == (403, fields, b"<p>no")
