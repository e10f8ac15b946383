"""Which origins may connect: read as triples, compared exactly."""

from __future__ import annotations

import pytest

from ws_middleware.core.origins import Triple, make_origin_policy, parse_origin


@pytest.mark.row(21)
@pytest.mark.parametrize(
    ("text", "triple"),
    [
        ("http://a.example", ("http", "a.example", 80)),
        ("https://a.example", ("https", "a.example", 443)),
        ("ws://a.example", ("ws", "a.example", 80)),
        ("wss://a.example", ("wss", "a.example", 443)),
        ("HTTPS://A.Example", ("https", "a.example", 443)),
        ("https://a.example:443", ("https", "a.example", 443)),
        ("https://a.example:", ("https", "a.example", 443)),
        ("http://a.example:8000", ("http", "a.example", 8000)),
        ("http://a.example:0", ("http", "a.example", 0)),
        ("http://127.0.0.1", ("http", "127.0.0.1", 80)),
        ("http://[::1]:8000", ("http", "[::1]", 8000)),
        ("custom://a.example:1", ("custom", "a.example", 1)),
        ("chrome-extension://abcdef", ("chrome-extension", "abcdef", -1)),
        ("https://a.example.", ("https", "a.example.", 443)),
        ("https://b\xfccher.example", ("https", "xn--bcher-kva.example", 443)),
        ("https://B\xdcCHER.example:8443", ("https", "xn--bcher-kva.example", 8443)),
        ("https://xn--bcher-kva.example", ("https", "xn--bcher-kva.example", 443)),
    ],
)
def test_origin_is_scheme_host_and_port(text: str, triple: Triple) -> None:
    assert parse_origin(text) == triple


@pytest.mark.row(21, 51)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "a.example",
        "//a.example",
        "://a.example",
        "https:a.example",
        "https:/a.example",
        "https://",
        "https://:443",
        "https://a.example/",
        "https://a.example/path",
        "https://a.example?x",
        "https://a.example#x",
        "https://user@a.example",
        "https://a.example https://b.example",
        "https://a.example, https://b.example",
        "https://a.example\r\nX: y",
        "https://a.example\x00",
        "https://a.example:x",
        "https://a.example:65536",
        "1http://a.example:1",
        "h_t://a.example:1",
        "ht\xe4p://a.example:1",
        "https://\xfc..example",
        "https://" + "\xfc" * 64 + ".example",
        "https://\u2100.example",
    ],
)
def test_what_is_no_origin(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a|there is no port"):
        parse_origin(text)


# --- the default: pages of the same origin ---


def _is_same(origin: str | None, host: str, *, encrypted: bool = False) -> bool:
    triple = None if origin is None else parse_origin(origin)
    return make_origin_policy("same-origin")(triple, host, encrypted)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://a.example", "a.example"),
        ("http://a.example", "A.EXAMPLE"),
        ("http://a.example:80", "a.example"),
        ("http://a.example", "a.example:80"),
        ("http://a.example:8000", "a.example:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
        # Behind a proxy that ends TLS the connection looks plain, and the page is not.
        ("https://a.example", "a.example"),
        ("https://a.example", "a.example:443"),
    ],
)
def test_page_of_the_same_origin_may_connect(origin: str, host: str) -> None:
    assert _is_same(origin, host)


@pytest.mark.row(20, 21)
@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "a.example"),
        ("http://b.example", "a.example"),
        ("http://a.example:8000", "a.example"),
        ("http://a.example", "a.example:8000"),
        ("http://a.example", "a.example:443"),
        ("https://a.example", "a.example:80"),
        ("http://a.example", "a.example:0"),
        ("http://a.example.evil.example", "a.example"),
        ("http://evil-a.example", "a.example"),
        ("http://www.a.example", "a.example"),
        ("http://a.example.", "a.example"),
        ("ws://a.example", "a.example"),
        ("custom://a.example:80", "a.example"),
    ],
)
def test_page_of_another_origin_may_not_connect(origin: str | None, host: str) -> None:
    assert not _is_same(origin, host)


def test_encrypted_connection_wants_an_encrypted_page() -> None:
    assert _is_same("https://a.example", "a.example", encrypted=True)
    assert not _is_same("http://a.example", "a.example", encrypted=True)
    assert not _is_same("http://a.example:443", "a.example:443", encrypted=True)


# --- other policies ---


@pytest.mark.row(20, 21)
def test_list_allows_exactly_what_it_names() -> None:
    policy = make_origin_policy(["https://a.example", "http://b.example:8000"])
    allowed = ["https://a.example", "https://A.example:443", "http://b.example:8000"]
    refused = ["http://a.example", "https://a.example:444", "http://b.example", "https://c.example"]
    assert all(policy(parse_origin(origin), "other.example", False) for origin in allowed)
    assert not any(policy(parse_origin(origin), "a.example", True) for origin in refused)


def test_list_names_an_international_host_in_either_spelling() -> None:
    policy = make_origin_policy(["https://b\xfccher.example"])
    assert policy(parse_origin("https://xn--bcher-kva.example"), "", False)
    assert not policy(parse_origin("https://bucher.example"), "", False)


@pytest.mark.row(21)
def test_null_is_allowed_only_where_it_is_listed() -> None:
    assert make_origin_policy(["null"])(None, "a.example", False)
    assert not make_origin_policy(["https://a.example"])(None, "a.example", False)
    assert not make_origin_policy([])(None, "a.example", False)


def test_star_allows_every_origin() -> None:
    policy = make_origin_policy("*")
    assert policy(None, "a.example", False)
    assert policy(("https", "b.example", 443), "a.example", False)


@pytest.mark.parametrize("origins", ["https://a.example", "", "null", "same_origin"])
def test_one_origin_alone_is_no_policy(origins: str) -> None:
    with pytest.raises(ValueError, match="is not a policy: use"):
        make_origin_policy(origins)


@pytest.mark.parametrize("origin", ["a.example", "*", "https://*.example/", "https://a.example/"])
def test_listed_origin_has_to_be_one(origin: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        make_origin_policy(["https://good.example", origin])
