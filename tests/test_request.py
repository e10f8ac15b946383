"""What a request tells of itself, whatever form its target has."""

from __future__ import annotations

from typing import Any

import pytest

from ws_middleware.core.handshake import RequestHead
from ws_middleware.request import Request, shared_name


def make(target: str = "/", *fields: tuple[str, str], **settings: Any) -> Request:
    return Request(RequestHead("GET", target, "1.1", [("Host", "test"), *fields]), **settings)


@pytest.mark.parametrize(
    ("target", "raw_path", "path"),
    [
        ("/", "/", "/"),
        ("/a/b", "/a/b", "/a/b"),
        ("/a?b=/c", "/a", "/a"),
        ("/a%20b", "/a%20b", "/a b"),
        ("/a+b", "/a+b", "/a+b"),
        ("/%C3%B6", "/%C3%B6", "/ö"),
        ("/%2541", "/%2541", "/%41"),
        ("/a%2Fb", "/a%2Fb", "/a/b"),
        ("/%ff", "/%ff", "/\ufffd"),
        ("/%", "/%", "/%"),
        ("//a", "//a", "//a"),
        ("http://test/a/b?c", "/a/b", "/a/b"),
        ("http://test", "/", "/"),
        ("http://test?a=/b", "/", "/"),
        ("ws://test:8000/a%20b", "/a%20b", "/a b"),
    ],
)
def test_path(target: str, raw_path: str, path: str) -> None:
    request = make(target)
    assert (request.raw_path, request.path, request.target) == (raw_path, path, target)


@pytest.mark.parametrize(
    ("root_path", "target", "path"),
    [
        ("", "/a/b", "/a/b"),
        ("/a", "/a/b", "/b"),
        ("/a", "/a/", "/"),
        ("/a", "/ab", "/ab"),
        ("/a", "/b", "/b"),
        ("/a", "/%61/b", "/b"),
        ("/a/b", "/a/b/c", "/c"),
    ],
)
def test_root_path_is_left_out(root_path: str, target: str, path: str) -> None:
    assert make(target, root_path=root_path).path == path


@pytest.mark.parametrize(
    ("target", "query_string", "query"),
    [
        ("/", "", []),
        ("/?", "", []),
        ("/?a=1", "a=1", [("a", "1")]),
        ("/?a=1&b=2&a=3", "a=1&b=2&a=3", [("a", "1"), ("b", "2"), ("a", "3")]),
        ("/?a", "a", [("a", "")]),
        ("/?a=&&b", "a=&&b", [("a", ""), ("b", "")]),
        ("/?a=b=c", "a=b=c", [("a", "b=c")]),
        ("/?a+b=c%20d%2B", "a+b=c%20d%2B", [("a b", "c d+")]),
        ("/?%C3%B6=%ff", "%C3%B6=%ff", [("ö", "\ufffd")]),
        ("/?a=1;b=2", "a=1;b=2", [("a", "1;b=2")]),
        ("/?a=/?b", "a=/?b", [("a", "/?b")]),
        ("http://test/?a=1", "a=1", [("a", "1")]),
    ],
)
def test_query(target: str, query_string: str, query: list[tuple[str, str]]) -> None:
    request = make(target)
    assert request.query_string == query_string
    assert sorted(request.query.items(multi=True)) == sorted(query)


def test_headers_are_found_whatever_their_case() -> None:
    request = make("/", ("X-Name", "1"), ("x-name", "2"))
    assert request.headers["X-NAME"] == "1"
    assert request.headers.getlist("x-Name") == ["1", "2"]
    assert list(request.headers) == [("Host", "test"), ("X-Name", "1"), ("x-name", "2")]


def test_cookies_of_all_fields_are_put_together() -> None:
    request = make("/", ("Cookie", "a=1; b=2"), ("cookie", 'c="3 4"'))
    assert request.cookies.to_dict() == {"a": "1", "b": "2", "c": "3 4"}
    assert make().cookies.to_dict() == {}


def test_origin_is_none_where_there_is_none() -> None:
    assert make().origin is None
    assert make("/", ("ORIGIN", "http://a")).origin == "http://a"
    assert make("/", ("Origin", "null")).origin == "null"


def test_host_is_empty_where_there_is_none() -> None:
    assert make().host == "test"
    assert Request(RequestHead("GET", "/", "1.1", [])).host == ""


@pytest.mark.parametrize(
    ("target", "secure", "url"),
    [
        ("/a?b=c", False, "ws://test/a?b=c"),
        ("/", True, "wss://test/"),
        ("/%C3%B6?%C3%B6", False, "ws://test/ö?ö"),
        ("/a%2Fb%20c", False, "ws://test/a%2Fb%20c"),
        ("http://test/a?b", False, "ws://test/a?b"),
    ],
)
def test_url_is_for_people(target: str, secure: bool, url: str) -> None:
    assert make(target, secure=secure).url == url


def test_what_was_given_is_kept() -> None:
    scope: dict[str, Any] = {"type": "websocket"}
    request = make("/", scope=scope, remote_address=("::1", 8, 0, 0))
    assert request.scope is scope
    assert request.environ is None
    assert request.method == "GET"
    assert request.remote_address == ("::1", 8, 0, 0)
    assert request.path_params == {}


def test_what_costs_time_is_made_once() -> None:
    request = make("/?a=1")
    assert request.query is request.query
    assert request.headers is request.headers
    assert request.cookies is request.cookies


@pytest.mark.parametrize("value", ["a", "what another server\nlets through"])
def test_packed_request_shows_the_same(value: str) -> None:
    fields = [("Host", "h"), ("X", value), ("X", "b")]
    request = Request(RequestHead("GET", "/", "1.1", fields))
    request.pack()
    assert list(request.head.fields) == fields
    assert request.host == "h"


def test_repr_shows_nothing_of_the_peers_unescaped() -> None:
    assert repr(make("/\x1b[31mö")) == r"<Request GET '/\x1b[31m\xf6'>"


def test_names_are_shared_but_not_kept_for_ever() -> None:
    assert shared_name("".join(["X-", "Name"])) is shared_name("".join(["X", "-Name"]))
    for number in range(10_000):
        shared_name(f"x-{number}")
    assert shared_name.cache_info().currsize <= 256


# --- secrets that are taken out ---


def make_with_views() -> Request:
    """Make a request with a ticket in it that is seen in every way there is."""
    target = "/a?ticket=s3cret&x=1&ticket=more"
    offer = "chat, bearer.s3cret"
    fields = [("Sec-WebSocket-Protocol", offer)]
    return make(
        target,
        *fields,
        scope={
            "query_string": target[3:].encode(),
            "headers": [(b"sec-websocket-protocol", offer.encode())],
            "subprotocols": ["chat", "bearer.s3cret"],
        },
        environ={
            "RAW_URI": target,
            "REQUEST_URI": target,
            "QUERY_STRING": target[3:],
            "HTTP_SEC_WEBSOCKET_PROTOCOL": offer,
        },
    )


def views(request: Request) -> str:
    """Give all that can be seen of a request."""
    return repr(
        [
            *(request, request.head, request.target, request.query_string, request.url),
            *(request.query, request.headers, request.scope, request.environ),
        ]
    )


def test_query_parameter_is_taken_out_of_every_view() -> None:
    request = make_with_views()
    assert request.query["ticket"] == "s3cret"
    request.withdraw_query("ticket")
    assert request.target == "/a?x=1"
    assert "ticket" not in views(request)
    assert request.scope is not None
    assert request.scope["query_string"] == b"x=1"
    assert request.environ is not None
    assert request.environ["QUERY_STRING"] == "x=1"
    assert request.has_withdrawn


def test_subprotocol_is_taken_out_of_every_view() -> None:
    request = make_with_views()
    assert "s3cret" in request.headers["sec-websocket-protocol"]
    request.withdraw_query("ticket")
    request.withdraw_subprotocol("bearer.s3cret")
    assert request.headers["sec-websocket-protocol"] == "chat"
    assert "s3cret" not in views(request)
    assert request.scope is not None
    assert request.scope["subprotocols"] == ["chat"]


def test_nothing_is_left_where_there_was_nothing_else() -> None:
    request = make_with_views()
    for token in ("bearer.s3cret", "chat"):
        request.withdraw_subprotocol(token)
    for name in ("ticket", "x"):
        request.withdraw_query(name)
    assert request.target == "/a"
    assert "sec-websocket-protocol" not in request.headers
    assert request.environ == {"RAW_URI": "/a", "REQUEST_URI": "/a", "QUERY_STRING": ""}


@pytest.mark.parametrize("target", ["/?a=b", "/", "/?", "/?ticket"])
def test_taking_out_what_is_not_there_says_so(target: str) -> None:
    request = make(target)
    request.withdraw_query("other")
    request.withdraw_subprotocol("other")
    assert not request.has_withdrawn
    assert request.target == target


def test_parameter_is_found_however_it_is_spelled() -> None:
    request = make("/?%74icket=1&tick+et=2")
    request.withdraw_query("ticket")
    assert request.target == "/?tick+et=2"


def test_scope_that_is_made_later_has_no_secret() -> None:
    request = make("/?ticket=s3cret&x=1")
    request._scope = lambda: {"query_string": b"ticket=s3cret&x=1"}
    request.withdraw_query("ticket")
    assert request.scope is not None
    assert request.scope["query_string"] == b"x=1"


# --- whom proxies speak for ---


def test_what_a_proxy_tells_replaces_what_the_socket_knows() -> None:
    request = make("/a", remote_address=("10.0.0.1", 5))
    request.come_from(("192.0.2.7", 0), True, "chat.example")
    assert request.remote_address == ("192.0.2.7", 0)
    assert (request.secure, request.host) == (True, "chat.example")
    assert request.url == "wss://chat.example/a"


def test_what_a_proxy_does_not_tell_stays() -> None:
    request = make("/a", secure=True)
    request.come_from(("192.0.2.7", 0), None, None)
    assert (request.secure, request.host) == (True, "test")
