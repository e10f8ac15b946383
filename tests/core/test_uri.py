"""WebSocket URIs: what is taken apart, and what is refused."""

from __future__ import annotations

import pytest

from ws_middleware.core.uri import URI, parse_uri


@pytest.mark.row(67)
@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "target"),
    [
        ("ws://example.org", "ws", "example.org", 80, "/"),
        ("wss://example.org", "wss", "example.org", 443, "/"),
        ("WSS://Example.ORG:8443/a/B?c=D", "wss", "example.org", 8443, "/a/B?c=D"),
        ("ws://example.org:/", "ws", "example.org", 80, "/"),
        ("ws://example.org?x", "ws", "example.org", 80, "/?x"),
        ("ws://example.org/%23%20?%2F=?/", "ws", "example.org", 80, "/%23%20?%2F=?/"),
        ("ws://127.0.0.1:9/", "ws", "127.0.0.1", 9, "/"),
        ("ws://[2001:DB8::1]:9/", "ws", "2001:db8::1", 9, "/"),
        ("ws://[fe80::1%25eth0]/", "ws", "fe80::1%eth0", 80, "/"),
        ("ws://b\u00fccher.example/", "ws", "xn--bcher-kva.example", 80, "/"),
        ("ws://example.org/\u00fc?\u00fc", "ws", "example.org", 80, "/%C3%BC?%C3%BC"),
    ],
)
def test_uri_is_taken_apart(text: str, scheme: str, host: str, port: int, target: str) -> None:
    uri = parse_uri(text)
    assert (uri.scheme, uri.host, uri.port, uri.target) == (scheme, host, port, target)
    assert uri.secure == (scheme == "wss")


@pytest.mark.row(67, 92)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "begins with ws"),
        ("example.org", "begins with ws"),
        ("http://example.org/", "begins with ws"),
        ("ws:example.org", "is not a host"),
        ("ws://", "is not a host"),
        ("ws:///chat", "is not a host"),
        ("ws://:80/", "is not a host"),
        ("ws://a..b/", "is not the name of a host"),
        (f"ws://{'a' * 64}.org/", "is not the name of a host"),
        ("ws://a^b/", "is not a host"),
        ("ws://[1::2/", "IPv6"),
        ("ws://[x:y]/", "(?i)address|host"),
        ("ws://a:0/", "port 0"),
        ("ws://a:65536/", "(?i)port"),
        ("ws://a:x/", "(?i)port"),
        ("ws://a/#", "%23"),
        ("ws://a/x#y", "%23"),
        ("ws://a/x y", "no spaces"),
        ("ws://a/\r\nX: y", "no control characters"),
        ("ws://a\0/", "no control characters"),
        ("ws://a/\x7f", "no control characters"),
    ],
)
def test_what_is_no_websocket_uri_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_uri(text)


@pytest.mark.row(75)
@pytest.mark.parametrize(
    ("text", "authority", "full"),
    [
        ("ws://a", "a", "a:80"),
        ("ws://a:80", "a", "a:80"),
        ("ws://a:443", "a:443", "a:443"),
        ("wss://a:443", "a", "a:443"),
        ("wss://a:80", "a:80", "a:80"),
        ("ws://[::1]", "[::1]", "[::1]:80"),
        ("ws://[fe80::1%25eth0]:9", "[fe80::1]:9", "[fe80::1]:9"),
    ],
)
def test_port_is_named_where_it_is_not_the_default_one(
    text: str, authority: str, full: str
) -> None:
    uri = parse_uri(text)
    assert uri.authority == authority
    assert uri.full_authority == full


@pytest.mark.row(68)
def test_user_and_password_are_kept_apart() -> None:
    uri = parse_uri("ws://us%40er:pass%3aword@a/b")
    assert (uri.user, uri.password) == ("us@er", "pass:word")
    assert str(uri) == "ws://a/b"
    assert "pass" not in repr(uri)
    assert "pass" not in f"{uri.authority}{uri.target}{uri.origin}"


@pytest.mark.row(68)
@pytest.mark.parametrize("text", ["http://user:secret@a/", "ws://user:secret@a/#x"])
def test_password_is_not_in_the_error(text: str) -> None:
    with pytest.raises(ValueError, match="a WebSocket URI") as caught:
        parse_uri(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "target"),
    [
        ("/c", "ws://a:9/c"),
        ("c?d", "ws://a:9/c?d"),
        ("//b/c", "ws://b/c"),
        ("http://b/c", "ws://b/c"),
        ("HTTPS://b/c#d", "wss://b/c"),
        ("wss://b/c", "wss://b/c"),
        ("", "ws://a:9/x?y"),
    ],
)
def test_reference_is_joined(reference: str, target: str) -> None:
    assert str(parse_uri("ws://a:9/x?y").join(reference)) == target


def test_origin_is_scheme_host_and_port() -> None:
    origins = {parse_uri(text).origin for text in ("ws://a", "ws://A:80/x", "wss://a", "ws://a:1")}
    assert len(origins) == 3
    assert isinstance(parse_uri("ws://a"), URI)
