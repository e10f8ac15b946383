"""What a client sends for Digest: what has to be there, and has to be equal."""

from __future__ import annotations

from typing import Any

import pytest

from ws_middleware.auth.answers import hash_text
from ws_middleware.auth.proof import read_proof, split_uri

OFFERED = {"realm": "r", "opaque": "o", "qop": "auth"}
ALGORITHMS = {"SHA-256": "SHA-256", "SHA-256-SESS": "SHA-256-sess"}
GIVEN = {
    **OFFERED,
    "username": "alice",
    "nonce": "n",
    "uri": "/",
    "response": "0" * 64,
    "algorithm": "SHA-256",
    "nc": "00000001",
    "cnonce": "c",
}


def read(given: dict[str, str], reveal: Any = None, algorithms: Any = ALGORITHMS) -> Any:
    return read_proof(given, OFFERED, algorithms, reveal)


@pytest.mark.row(215, 217)
def test_response_is_computed_of_all_that_was_sent() -> None:
    request = hash_text("SHA-256", "GET", "/")
    expected = hash_text("SHA-256", "secret", "n", "00000001", "c", "auth", request)
    assert read(GIVEN).compute("secret", "GET") == expected


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in GIVEN.items() if key != name}


@pytest.mark.row(208)
def test_unknown_parameters_are_ignored() -> None:
    assert read(GIVEN) == read({**GIVEN, "x-new": "1", "auth-param": "2"})
    assert read(GIVEN)[:3] == ("alice", "SHA-256", "/")


@pytest.mark.row(209, 214)
@pytest.mark.fault(41)
@pytest.mark.parametrize("name", sorted(GIVEN))
def test_all_parameters_are_there(name: str) -> None:
    for given in (without(name), {**GIVEN, name: ""}):
        with pytest.raises(ValueError, match=name):
            read(given)


@pytest.mark.row(211)
@pytest.mark.fault(41, 42)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("realm", "R"),
        ("opaque", "x"),
        ("qop", "auth-int"),
        ("qop", "Auth"),
        ("algorithm", "MD5"),
        ("algorithm", "SHA-512-256"),
        ("algorithm", "rot13"),
        ("userhash", "true"),
    ],
)
def test_parameters_are_those_of_the_challenge(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is not that of the challenge"):
        read({**GIVEN, name: value})


@pytest.mark.parametrize(("value", "algorithm"), [("sha-256", 0), ("SHA-256-sess", 1)])
def test_algorithm_counts_in_any_case(value: str, algorithm: int) -> None:
    assert read({**GIVEN, "algorithm": value}).algorithm == [*ALGORITHMS.values()][algorithm]


@pytest.mark.row(211)
@pytest.mark.fault(42)
def test_algorithm_left_out_is_md5() -> None:
    assert read(without("algorithm"), algorithms={"MD5": "MD5"}).algorithm == "MD5"


@pytest.mark.row(212)
@pytest.mark.parametrize(
    "nc", ["1", "0000001", "000000001", "0000000g", "00000000", "+0000001", "0x000001", " 0000001"]
)
def test_count_is_8_hexadecimal_digits(nc: str) -> None:
    with pytest.raises(ValueError, match="nc is not a count"):
        read({**GIVEN, "nc": nc})


# --- the user ---


@pytest.mark.row(218)
def test_userhash_is_revealed() -> None:
    given = {**GIVEN, "userhash": "TRUE", "username": "hash"}
    assert read(given, lambda hashed, algorithm: f"{hashed} {algorithm}").user == "hash SHA-256"
    assert read(given, lambda hashed, algorithm: None).user == "hash"


@pytest.mark.row(219)
def test_extended_name_is_utf_8() -> None:
    given = {**without("username"), "username*": "utf-8'de'J%C3%A4s%c3%b8n"}
    assert read(given).user == "J\xe4s\xf8n"


@pytest.mark.row(219)
@pytest.mark.fault(43)
@pytest.mark.parametrize(
    "change",
    [
        {"username": "alice", "username*": "UTF-8''alice"},
        {"username*": "UTF-8''alice", "userhash": "true"},
        {"username*": "alice"},
        {"username*": "UTF-8'alice"},
        {"username*": "UTF-8''"},
        {"username*": "ISO-8859-1''alice"},
        {"username*": "UTF-8''%FF"},
        {"username*": "UTF-8''a%00"},
        {"username": "a\udcff"},
    ],
)
def test_names_that_are_none(change: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="username") as caught:
        read({**without("username"), **change}, lambda hashed, algorithm: None)
    assert "alice" not in str(caught.value)


# --- the resource ---


@pytest.mark.row(220)
@pytest.mark.parametrize(
    ("uri", "resource"),
    [
        ("/chat?x=1", ("/chat", "x=1")),
        ("/ch%61t?x=%31?", ("/chat", "x=%31?")),
        ("http://a.example/chat?x", ("/chat", "x")),
        ("http://a.example", ("/", "")),
        ("http://a.example?x", ("/", "x")),
        ("*", ("/", "")),
    ],
)
def test_uri_has_path_and_query(uri: str, resource: tuple[str, str]) -> None:
    assert split_uri(uri) == resource
