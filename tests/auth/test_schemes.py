"""The grammar of challenges and credentials: what it allows, what it does not, in linear time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_middleware.auth.schemes import (
    Challenge,
    format_challenge,
    parse_challenges,
    parse_credentials,
    quote,
)

TOKENS = st.text("abcxyzABCXYZ0189!#$%&'*+-.^_`|~", min_size=1, max_size=8)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)


# --- challenges ---


@pytest.mark.row(194, 198)
@pytest.mark.parametrize(
    ("values", "challenges"),
    [
        ([], []),
        ([""], []),
        ([" , ,"], []),
        (["Basic"], [("basic", {}, None)]),
        (["bASIC realm=x"], [("basic", {"realm": "x"}, None)]),
        (['Basic   REALM = "x"'], [("basic", {"realm": "x"}, None)]),
        (["Negotiate"], [("negotiate", {}, None)]),
        (["Negotiate oYG2=="], [("negotiate", {}, "oYG2==")]),
        (["Negotiate a="], [("negotiate", {}, "a=")]),
        (["NTLM, Basic realm=x"], [("ntlm", {}, None), ("basic", {"realm": "x"}, None)]),
        (["NTLM ab/+ , Basic realm=x"], [("ntlm", {}, "ab/+"), ("basic", {"realm": "x"}, None)]),
        (
            ['Digest realm="a, b=c", qop="auth", nonce=n, Basic realm=x, charset="UTF-8"'],
            [
                ("digest", {"realm": "a, b=c", "qop": "auth", "nonce": "n"}, None),
                ("basic", {"realm": "x", "charset": "UTF-8"}, None),
            ],
        ),
        (["A x=1,, y=2,, B", ", C"], [("a", {"x": "1", "y": "2"}, None), *"bc"]),
        (["A ,x=1"], [("a", {"x": "1"}, None)]),
        (['A x="q\\"\\\\\\a"'], [("a", {"x": 'q"\\a'}, None)]),
    ],
)
def test_challenges_are_read_from_one_line_or_many(
    values: list[str], challenges: list[tuple[str, dict[str, str], str | None] | str]
) -> None:
    expected = [
        Challenge(one, {}) if isinstance(one, str) else Challenge(*one) for one in challenges
    ]
    assert parse_challenges(values) == expected


@pytest.mark.row(210)
@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "no scheme"),
        ("=", "no scheme"),
        ("@", "no scheme"),
        ("Basic=", "not understood"),
        ('Basic"x"', "not understood"),
        ('Digest realm="a', "not understood"),
        ('Digest realm="a\\', "not understood"),
        ("Digest realm=@", "not understood"),
        ("Digest realm=a, @", "not understood"),
        ("Digest realm=a nonce=b", "not understood"),
        ("Digest realm=a;nonce=b", "not understood"),
        ("Digest realm=a, nonce", "not understood"),
        ("Digest realm=a, realm=b", "realm is there more than once"),
        ("Digest realm=a, REALM=b", "realm is there more than once"),
        ('Digest realm="a\x00"', "control character"),
        ('Digest realm="a\x7f"', "control character"),
        ("Basic abc def", "not understood"),
        ("Basic ab=c=", "not understood"),
        ("Basic abc =", "not understood"),
        ("Basic YTpi, Basic YTpi", "not understood"),
        ("Basic YTpi,Basic YTpi", "not understood"),
    ],
)
def test_malformed_credentials_are_refused(value: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_credentials(value)


@pytest.mark.parametrize("value", ["A x=1 y=2", "A b c", "A x=1; y=2", 'A x="', "A x=1, x=2", "@"])
def test_malformed_challenges_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_challenges([value])


@pytest.mark.row(200)
@pytest.mark.parametrize("text", ["Jäsøn", "\N{SNOWMAN}", "a\xa0b"])
def test_quoted_text_is_utf_8(text: str) -> None:
    assert parse_credentials(f"A x={quote(text)}").parameters == {"x": text}


def test_octets_that_are_not_utf_8_survive() -> None:
    text = parse_credentials('A x="J\xe4s\xf8n"').parameters["x"]
    assert quote(text) == '"J\xe4s\xf8n"'


@pytest.mark.fault(10)
@pytest.mark.parametrize(
    "value",
    [
        *("," * 50_000, "=" * 50_000, "a " * 25_000, "a, " * 17_000, "a x=1," * 9_000),
        *("a " + tail * 50_000 for tail in (",", "b", 'x="\\', 'x="\\"')),
    ],
)
def test_time_is_linear(value: str) -> None:
    began = time.process_time()
    for parse in (lambda: parse_challenges([value]), lambda: parse_credentials(value)):
        try:
            parse()
        except ValueError as error:
            assert len(str(error)) < 200  # noqa: PT017 - short, whatever came
    assert time.process_time() - began < 5


# --- what is written ---


@pytest.mark.row(192)
@given(TOKENS, st.dictionaries(TOKENS.map(str.lower), TEXTS, min_size=1, max_size=4))
def test_what_is_written_reads_the_same(scheme: str, parameters: dict[str, str]) -> None:
    written = format_challenge(scheme, {name: quote(text) for name, text in parameters.items()})
    assert parse_credentials(written) == Challenge(scheme.lower(), parameters)
    assert parse_challenges([f"{written}, B", "C"]) == [
        Challenge(scheme.lower(), parameters),
        Challenge("b", {}),
        Challenge("c", {}),
    ]


@given(st.text())
def test_any_text_is_read_or_refused(value: str) -> None:
    try:
        challenges = parse_challenges([value])
    except ValueError:
        return
    assert all(one.scheme for one in challenges)


@pytest.mark.parametrize("text", ["a\r\nb", "\0", "\x1b", "\x7f"])
def test_control_characters_are_not_written(text: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        quote(text)
    with pytest.raises(ValueError, match="control character"):
        format_challenge("Basic", {"realm": text})


@pytest.mark.parametrize(("scheme", "name"), [("Ba sic", "a"), ("", "a"), ("Basic", "a b")])
def test_names_that_are_no_tokens_are_not_written(scheme: str, name: str) -> None:
    with pytest.raises(ValueError, match="is not a token"):
        format_challenge(scheme, {name: "x"})
