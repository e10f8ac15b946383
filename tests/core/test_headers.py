"""The grammar of header fields: what it allows, what it does not, and in linear time."""

from __future__ import annotations

import contextlib
import string
import time
from collections.abc import Callable

import pytest

from ws_middleware.core.headers import (
    Fields,
    IndexedFields,
    Parameter,
    check_fields,
    field_values,
    format_extension,
    is_token,
    pack_fields,
    parse_extensions,
    parse_host,
    parse_token_list,
    safe_text,
)

#: RFC 9110 §5.6.2, spelled out once more.
TCHAR = "!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters


# --- fields ---


def test_fields_that_can_be_sent_pass() -> None:
    check_fields([("X-Why", "trial"), ("x", ""), ("X", "\xe4\t;")])


@pytest.mark.row(54, 92)
@pytest.mark.parametrize(
    "field", [("X", "a\r"), ("X", "a\nb"), ("X", "\0"), ("X", "\u20ac"), ("", "a"), ("X Y", "a")]
)
def test_fields_that_would_break_a_head_apart_do_not(field: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="is not a header field"):
        check_fields([("X", "good"), field])


@pytest.mark.parametrize(
    "fields", [[], [("X", "")], [("Host", "a"), ("X", "b"), ("x", "c d")], [("", ""), ("", "")]]
)
def test_packed_fields_are_the_same_fields(fields: list[tuple[str, str]]) -> None:
    packed = pack_fields(fields)
    assert (list(packed), len(packed)) == (fields, len(fields))
    assert packed[1:] == fields[1:]
    assert field_values(packed, "x") == field_values(fields, "x")


def test_field_that_holds_a_line_end_is_not_packed() -> None:
    fields = [("X", "a\nHost"), ("Y", "b")]
    assert pack_fields(fields) is fields


#: Fields as they are, and with an index.
kinds = pytest.mark.parametrize("make", [list, IndexedFields])
Make = Callable[[Fields], Fields]


@pytest.mark.row(44)
@kinds
@pytest.mark.parametrize("name", ["Upgrade", "upgrade", "UPGRADE", "uPgRaDe"])
def test_field_is_found_in_any_case(make: Make, name: str) -> None:
    assert field_values(make([("X", "1"), (name, "2")]), "upgrade") == ["2"]


@pytest.mark.row(43)
@kinds
@pytest.mark.parametrize("value", ["a", " a", "a ", "\ta\t", " \t a \t "])
def test_spaces_and_tabs_around_a_value_are_no_part_of_it(make: Make, value: str) -> None:
    assert field_values(make([("X", value)]), "x") == ["a"]


@kinds
def test_other_whitespace_is_part_of_the_value(make: Make) -> None:
    assert field_values(make([("X", "\x0ba\xa0")]), "x") == ["\x0ba\xa0"]


@kinds
def test_all_lines_of_a_field_are_listed_in_order(make: Make) -> None:
    fields = make([("X", "1"), ("Y", "2"), ("x", "3")])
    assert list(fields) == [("X", "1"), ("Y", "2"), ("x", "3")]
    assert field_values(fields, "x") == ["1", "3"]
    assert field_values(fields, "z") == []


def test_index_is_taken_from_whoever_made_it() -> None:
    fields = IndexedFields([("X", "1")], {"x": ["1"]})
    assert list(fields) == [("X", "1")]
    assert field_values(fields, "x") == ["1"]


# --- tokens ---


@pytest.mark.row(63)
@pytest.mark.parametrize("code", range(0x180))
def test_token_characters_are_those_of_the_rfc(code: int) -> None:
    assert is_token(f"a{chr(code)}") == (chr(code) in TCHAR)


def test_empty_text_is_no_token() -> None:
    assert not is_token("")


@pytest.mark.row(11, 58, 65)
@pytest.mark.parametrize(
    ("lines", "tokens"),
    [
        ([], []),
        (["a"], ["a"]),
        (["", "a"], ["a"]),
        (["a,b"], ["a", "b"]),
        ([" a\t,\t b "], ["a", "b"]),
        ([",, a ,"], ["a"]),
        (["a , , b"], ["a", "b"]),
        (["a", "b, c"], ["a", "b", "c"]),
        (["a, a"], ["a", "a"]),
        (["keep-alive, Upgrade"], ["keep-alive", "Upgrade"]),
    ],
)
def test_token_list(lines: list[str], tokens: list[str]) -> None:
    assert parse_token_list(lines) == tokens


@pytest.mark.parametrize("value", ["a b", "a;b", '"a"', "a/b", "a, b=c", "\xe4", "a\x00", "a\x0b"])
def test_what_is_no_token_makes_no_token_list(value: str) -> None:
    with pytest.raises(ValueError, match="is not a token"):
        parse_token_list(["good", value])


@pytest.mark.row(58)
@pytest.mark.parametrize("lines", [[""], [" \t"], [","], [" , ,"], ["", ""]])
def test_list_needs_an_element(lines: list[str]) -> None:
    with pytest.raises(ValueError, match="no element"):
        parse_token_list(lines)
    with pytest.raises(ValueError, match="no element"):
        parse_extensions(",".join(lines))


# --- extensions ---


@pytest.mark.row(55, 56, 58, 59)
@pytest.mark.parametrize(
    ("value", "extensions"),
    [
        ("a", [("a", [])]),
        (" a ", [("a", [])]),
        ("a,b", [("a", []), ("b", [])]),
        (",, a ,\t, b ,", [("a", []), ("b", [])]),
        ("a;x", [("a", [("x", None)])]),
        ("a;x=1", [("a", [("x", "1")])]),
        ("a ; x = 1 ; y", [("a", [("x", "1"), ("y", None)])]),
        ("a; x; x", [("a", [("x", None), ("x", None)])]),
        ('a; x="1"', [("a", [("x", "1")])]),
        ('a; x="1" ; y="2", b', [("a", [("x", "1"), ("y", "2")]), ("b", [])]),
        (r'a; x="\1\2"', [("a", [("x", "12")])]),
        (r'a; x="\b\c"', [("a", [("x", "bc")])]),
        (
            "permessage-deflate; client_max_window_bits, deflate-frame",
            [("permessage-deflate", [("client_max_window_bits", None)]), ("deflate-frame", [])],
        ),
    ],
)
def test_extensions(value: str, extensions: list[tuple[str, list[Parameter]]]) -> None:
    assert parse_extensions(value) == extensions


@pytest.mark.row(57)
@pytest.mark.parametrize(
    "value",
    [
        ";",
        "=",
        "a b",
        "a;",
        "a; ;",
        "a;,b",
        "a; =1",
        "a; x=",
        "a; x=,",
        "a; x=;",
        "a; x=1 2",
        "a; x==1",
        "a=1",
        "a; x=1=2",
        '"a"',
        'a; "x"',
        "\xe4",
        "a\x00",
        "a/b",
        "a; x=\x7f",
    ],
)
def test_malformed_extensions(value: str) -> None:
    with pytest.raises(ValueError, match="expected at"):
        parse_extensions(value)


@pytest.mark.row(56, 57, 59)
@pytest.mark.parametrize(
    ("value", "why"),
    [
        ('a; x=""', "not a token"),
        ('a; x="1 2"', "not a token"),
        ('a; x="1,2"', "not a token"),
        ('a; x="1;2"', "not a token"),
        (r'a; x="\""', "not a token"),
        (r'a; x="\\"', "not a token"),
        ('a; x="', "without its end"),
        ('a; x="1', "without its end"),
        (r'a; x="1\"', "without its end"),
        ('a; x="\\', "without its end"),
        ('a; x="1"2', "expected at"),
        ('a; x="1""2"', "expected at"),
        ('a; x=1"2"', "expected at"),
    ],
)
def test_malformed_quoted_strings(value: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_extensions(value)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ([], "a"),
        ([("x", None)], "a; x"),
        ([("x", "1")], "a; x=1"),
        ([("x", "1"), ("y", None)], "a; x=1; y"),
    ],
)
def test_format_extension_and_back(parameters: list[Parameter], text: str) -> None:
    assert format_extension("a", parameters) == text
    assert parse_extensions(text) == [("a", parameters)]


# --- hosts ---


@pytest.mark.row(9)
@pytest.mark.parametrize(
    ("value", "host", "port"),
    [
        ("a", "a", None),
        ("Example.ORG", "example.org", None),
        ("a:", "a", None),
        ("a:0", "a", 0),
        ("a:80", "a", 80),
        ("a:00080", "a", 80),
        ("a:65535", "a", 65535),
        ("127.0.0.1:8000", "127.0.0.1", 8000),
        ("[::1]", "[::1]", None),
        ("[FE80::A]:443", "[fe80::a]", 443),
        ("[::ffff:127.0.0.1]:", "[::ffff:127.0.0.1]", None),
        ("a%20b", "a%20b", None),
        ("a_b-c~d!$&'()*+,;=", "a_b-c~d!$&'()*+,;=", None),
        ("a.", "a.", None),
    ],
)
def test_host(value: str, host: str, port: int | None) -> None:
    assert parse_host(value) == (host, port)


@pytest.mark.row(9)
@pytest.mark.parametrize(
    "value",
    [
        "",
        ":",
        ":80",
        "a b",
        "a/b",
        "a@b",
        "a#b",
        "a?b",
        "a\\b",
        "a\x00",
        "a\x7f",
        "\xe4",
        "a:b",
        "a:-1",
        "a:+1",
        "a: 1",
        "a:1 ",
        "a:\xb2",
        "a:65536",
        "a:000080",
        "a:1:2",
        "::1",
        "[",
        "[]",
        "[::1",
        "[a]",
        "[127.0.0.1]",
        "[::1%25eth0]",
        "[::g]",
        "[::1]80",
        "[::1]]",
        "[::1]:x",
    ],
)
def test_what_is_no_host(value: str) -> None:
    with pytest.raises(ValueError, match=r"is not a (host|port)|there is no port"):
        parse_host(value)


# --- text for logs ---


@pytest.mark.row(54)
@pytest.mark.parametrize(
    "text", ["\r\n", "\x00", "\x1b[31m", "\x85", "\u202e", "\xe4", "\N{SNOWMAN}", "'"]
)
def test_safe_text_is_visible_ascii(text: str) -> None:
    safe = safe_text(text)
    assert safe.isascii()
    assert safe.isprintable()


def test_safe_text_is_short() -> None:
    assert safe_text("a" * 80) == repr("a" * 80)
    assert safe_text("a" * 81) == repr("a" * 80 + "...")
    assert safe_text("a" * 10**6, most=3) == repr("aaa...")


# --- time ---

#: What makes a parser slow that tries again, or copies the rest: as long as wanted.
LONG: dict[str, Callable[[int], str]] = {
    "commas": lambda n: "," * n,
    "spaces": lambda n: " " * n,
    "spaces behind": lambda n: "a" + " " * n + "!(",
    "elements": lambda n: "abcdefg," * (n // 8),
    "spaced elements": lambda n: "abcde , " * (n // 8),
    "one token": lambda n: "a" * n,
    "parameters": lambda n: "a" + ";bcdefgh" * (n // 8),
    "values": lambda n: "a" + ";bcd=efg" * (n // 8),
    "escapes": lambda n: 'a;b="' + "\\a" * (n // 2) + '"',
    "open quote": lambda n: 'a;b="' + "a" * n,
    "open escapes": lambda n: 'a;b="' + "\\" * n,
    "quotes": lambda n: '"' * n,
    "semicolons": lambda n: "a" + ";" * n,
    "equals": lambda n: "a;b" + "=" * n,
    "brackets": lambda n: "[" * n,
    "colons": lambda n: "[" + ":" * n + "]",
    "port": lambda n: "a:" + "0" * n,
}
#: What a parser of linear time needs for a megabyte is less than a second of processor time.
#: One of quadratic time needs hours.
ENOUGH = 10.0


@pytest.mark.row(66)
@pytest.mark.parametrize("shape", LONG)
@pytest.mark.parametrize(
    "parse", [parse_extensions, lambda text: parse_token_list([text]), parse_host]
)
def test_a_megabyte_is_parsed_in_linear_time(shape: str, parse: Callable[[str], object]) -> None:
    text = LONG[shape](1_000_000)
    before = time.process_time()
    with contextlib.suppress(ValueError):
        parse(text)
    assert time.process_time() - before < ENOUGH
