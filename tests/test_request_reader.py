"""Request heads from raw bytes: limits to the byte, and nothing that parsers disagree about."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.core.wire import chopped
from ws_middleware import request_reader as module
from ws_middleware.errors import HandshakeError
from ws_middleware.options import Options
from ws_middleware.request_reader import HeadReader, parse_head

HEAD = b"GET /chat HTTP/1.1\r\nHost: test\r\nX-Name:  a b \r\n\r\n"


def status_of(data: bytes, **options: int) -> int:
    """Give the status that refuses these bytes."""
    reader = HeadReader(Options(**options))  # type: ignore[arg-type]
    with pytest.raises(HandshakeError) as error:
        reader.feed(data)
    return error.value.status


def fits(data: bytes, **options: int) -> bool:
    reader = HeadReader(Options(**options))  # type: ignore[arg-type]
    try:
        reader.feed(data)
    except HandshakeError:
        return False
    return True


# --- collecting ---


@pytest.mark.parametrize("chunk", [0, 1, 2, 3, 5])
def test_head_is_given_once_it_is_whole(chunk: int) -> None:
    reader = HeadReader(Options())
    assert reader.is_empty
    *parts, last = chopped(HEAD, chunk)
    for part in parts:
        assert reader.feed(part) is None
        assert not reader.is_empty
    assert reader.feed(last) == (HEAD, b"")


def test_what_is_behind_the_head_is_given_too() -> None:
    assert HeadReader(Options()).feed(HEAD + b"\r\n\n\0rest") == (HEAD, b"\r\n\n\0rest")


def test_limits_count_for_the_head_alone() -> None:
    behind = b"x" * 100_000 + b"\r\n" * 1000
    read = HeadReader(Options(max_head_size=len(HEAD), max_head_fields=2)).feed(HEAD + behind)
    assert read == (HEAD, behind)


@pytest.mark.parametrize("chunk", [0, 1])
def test_size_is_limited_to_the_byte(chunk: int) -> None:
    def collect(limit: int) -> bool:
        reader = HeadReader(Options(max_head_size=limit))
        return any(reader.feed(part) for part in chopped(HEAD, chunk))

    assert collect(len(HEAD))
    with pytest.raises(HandshakeError, match=f"max_head_size={len(HEAD) - 1}") as error:
        collect(len(HEAD) - 1)
    assert error.value.status == 431


def test_size_is_limited_where_there_is_no_end() -> None:
    assert fits(b"GET / HTTP/1.1\r\nX: " + b"x" * 81, max_head_size=100)
    assert status_of(b"GET / HTTP/1.1\r\nX: " + b"x" * 82, max_head_size=100) == 431


def test_number_of_fields_is_limited() -> None:
    assert fits(HEAD, max_head_fields=2)
    assert status_of(HEAD, max_head_fields=1) == 431
    assert status_of(b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 102) == 431


@pytest.mark.parametrize("end", [b"", b" HTTP/1.1", b" HTTP/1.1\r\n", b" HTTP/1.1\r\n\r\n"])
def test_target_is_limited(end: bytes) -> None:
    assert fits(b"GET /" + b"x" * 99 + end, max_target_size=100)
    assert status_of(b"GET /" + b"x" * 150 + end, max_target_size=100) == 414


@pytest.mark.parametrize("data", [b"\r\n" + HEAD, b"\n", b" " + HEAD, b"\x16\x03\x01", b"\xff"])
def test_what_begins_no_request_is_refused_at_once(data: bytes) -> None:
    assert status_of(data) == 400
    assert status_of(data[:1]) == 400


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nHost: test\n\n"])
def test_bare_line_feed_is_refused_at_once(data: bytes) -> None:
    assert status_of(data) == 400


# --- parsing ---


def test_parsed_head() -> None:
    head = parse_head(HEAD)
    assert (head.method, head.target, head.version) == ("GET", "/chat", "1.1")
    assert head.fields == [("Host", "test"), ("X-Name", "a b")]


def test_text_is_latin_1() -> None:
    head = parse_head(b"GET /a HTTP/1.1\r\nHost: test\r\nX: \xe9\r\n\r\n")
    assert head.fields[-1] == ("X", "\xe9")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400),
        (b"GET / HTTP/1.1\r\nHost: test\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\tfolded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /\r\nHost: a\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ],
)
def test_what_is_no_request(data: bytes, status: int) -> None:
    with pytest.raises(HandshakeError) as error:
        parse_head(data)
    assert error.value.status == status


# --- the short way ---

starts = st.sampled_from(
    [b"GET / HTTP/1.1"] * 5
    + [b"GET /a?b=%20 HTTP/1.1", b"GET http://a/ HTTP/1.1", b"GET * HTTP/1.1", b"GET / HTTP/1.0"]
    + [b"GET /a b HTTP/1.1", b"GET  HTTP/1.1", b"POST / HTTP/1.1", b"get / HTTP/1.1", b"GET / HTTP"]
    + [b"GET /\xe9 HTTP/1.1", b"GET /\t HTTP/1.1", b"", b"GET /\x7f HTTP/1.1"]
)
names = st.one_of(
    st.sampled_from([b"Upgrade", b"X-Y", b"content-length", b"Transfer-Encoding", b"HOST"]),
    st.sampled_from([b"", b" X", b"X ", b"X Y", b"X\xe9", b"x" * 300, b"X\t", b"Cookie"]),
)
values = st.one_of(
    st.sampled_from([b"", b" a", b"a\tb  ", b"\xe9", b"\x01", b"\x7f", b"0", b"chunked", b"a:b"]),
    st.binary(max_size=3),
)
heads = st.tuples(starts, st.lists(st.tuples(names, values), max_size=4), st.integers(0, 4))


@given(heads)
@example((b"GET / HTTP/1.1", [(b"Cookie", b"c" * 300), (b"Upgrade", b"u" * 300)], 1))
@settings(max_examples=300, derandomize=True, database=None, deadline=None)
def test_short_way_leads_where_h11_does(head: tuple[bytes, list[tuple[bytes, bytes]], int]) -> None:
    start, fields, place = head
    fields.insert(place, (b"Host", b"test"))
    lines = [start, *(name + b":" + value for name, value in fields), b"", b""]
    plain = module._parse_plain(lines)
    if plain is not None:
        assert plain == module._parse_any(b"\r\n".join(lines))


@pytest.mark.parametrize(
    "name", ["Host", "Origin", "Upgrade", "Cookie", "Authorization", "Sec-WebSocket-Key"]
)
def test_values_that_are_no_secrets_are_kept_once(name: str) -> None:
    first, second = (
        dict(parse_head(f"GET / HTTP/1.1\r\n{name}: same\r\nHost: same\r\n\r\n".encode()).fields)
        if name != "Host"
        else dict(parse_head(HEAD).fields)
        for _ in range(2)
    )
    is_shared = first[name] is second[name]
    assert is_shared == (name in ("Host", "Origin", "Upgrade"))
