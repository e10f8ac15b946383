"""The computations of Basic and Digest, against the examples of their RFCs."""

from __future__ import annotations

import pytest

from ws_middleware.auth.answers import (
    basic_credentials,
    digest_credentials,
    digest_response,
    digest_secret,
    hash_text,
)
from ws_middleware.auth.schemes import Challenge, parse_credentials

# --- Basic ---


@pytest.mark.row(195, 200)
@pytest.mark.parametrize(
    ("user", "password", "value"),
    [
        ("Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),  # RFC 7617 §2
        ("test", "123\xa3", "Basic dGVzdDoxMjPCow=="),  # RFC 7617 §2.1
        ("test", "123\xa3:", "Basic dGVzdDoxMjPCozo="),
        ("A\u0308", "", "Basic w4Q6"),
    ],
)
def test_basic_credentials_are_those_of_the_rfc(user: str, password: str, value: str) -> None:
    assert basic_credentials(user, password) == value


@pytest.mark.row(196)
@pytest.mark.parametrize(
    ("user", "password", "why"),
    [("a:b", "c", "colon"), ("a\0", "c", "control"), ("a", "\r\n", "control")],
)
def test_what_basic_cannot_send(user: str, password: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        basic_credentials(user, password)


# --- Digest: RFC 7616 §3.9.1 and, as errata 4897 corrects it, §3.9.2 ---

MUFASA = {
    "realm": "http-auth@example.org",
    "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    "qop": "auth, auth-int",
    "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
}
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
JASON = {
    "realm": "api@example.org",
    "nonce": "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
    "qop": "auth",
    "algorithm": "SHA-512-256",
    "opaque": "HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS",
    "charset": "UTF-8",
}


def answer(asked: dict[str, str], user: str = "Mufasa", **changed: str) -> dict[str, str]:
    parameters = {"uri": "/dir/index.html", "cnonce": CNONCE, **changed}
    password = parameters.pop("password", "Circle of Life")
    written = digest_credentials(Challenge("digest", asked), user, password, **parameters)  # type: ignore[arg-type]
    credentials = parse_credentials(written)
    assert credentials.scheme == "digest"
    return dict(credentials.parameters)


@pytest.mark.row(215)
@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_answer_is_that_of_the_first_example(algorithm: str, response: str) -> None:
    assert answer({**MUFASA, "algorithm": algorithm}) == {
        **MUFASA,
        "username": "Mufasa",
        "uri": "/dir/index.html",
        "algorithm": algorithm,
        "nc": "00000001",
        "cnonce": CNONCE,
        "qop": "auth",
        "response": response,
    }


@pytest.mark.row(200, 215, 218)
def test_answer_is_that_of_the_second_example() -> None:
    found = answer(
        {**JASON, "userhash": "true"},
        "J\xe4s\xf8n Doe",
        password="Secret, or not?",
        uri="/doe.json",
        cnonce="NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
    )
    assert found["userhash"] == "true"
    assert found["username"] == "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"
    assert found["response"] == "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"


@pytest.mark.row(219)
def test_names_beyond_ascii_are_extended_values() -> None:
    found = answer(JASON, "J\xe4s\xf8n Doe")
    assert found["username*"] == "UTF-8''J%C3%A4s%C3%B8n%20Doe"
    assert "username" not in found


@pytest.mark.row(210)
def test_quotes_and_backslashes_of_a_name_are_escaped() -> None:
    assert answer(JASON, 'a"b\\c')["username"] == 'a"b\\c'


def test_challenge_without_algorithm_and_qop_is_answered_as_rfc_2069() -> None:
    found = answer({"realm": "testrealm@host.com", "nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093"})
    assert found.keys() == {"username", "realm", "nonce", "uri", "response"}
    a1 = hash_text("MD5", "Mufasa", "testrealm@host.com", "Circle of Life")
    a2 = hash_text("MD5", "GET", "/dir/index.html")
    assert found["response"] == hash_text("MD5", a1, "dcd98b7102dd2f0e8b11d0f600bfb0c093", a2)


@pytest.mark.row(216)
def test_session_variant_hashes_nonce_and_cnonce_into_the_secret() -> None:
    found = answer({**MUFASA, "algorithm": "SHA-256-sess"})
    secret = hash_text("SHA-256", "Mufasa", MUFASA["realm"], "Circle of Life")
    secret = hash_text("SHA-256", secret, MUFASA["nonce"], CNONCE)
    request = hash_text("SHA-256", "GET", "/dir/index.html")
    middle = (MUFASA["nonce"], "00000001", CNONCE, "auth")
    assert found["response"] == hash_text("SHA-256", secret, *middle, request)


@pytest.mark.row(217)
def test_response_depends_on_the_method() -> None:
    asked = {**MUFASA, "algorithm": "SHA-256"}
    assert answer(asked)["response"] != answer(asked, method="POST")["response"]


@pytest.mark.row(222)
def test_rspauth_has_no_method() -> None:
    found = digest_response(
        "secret", algorithm="MD5", method="", uri="/", nonce="n", nc="1", cnonce="c"
    )
    request = hash_text("MD5", "", "/")
    assert found == hash_text("MD5", "secret", "n", "1", "c", "auth", request)


@pytest.mark.row(221)
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"algorithm": "SHA-1"}, "'SHA-1' is not an algorithm"),
        ({"qop": "auth-int"}, "quality of protection"),
        ({"qop": ""}, "quality of protection"),
    ],
)
def test_challenge_that_is_not_understood_is_not_answered(change: dict[str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        answer({**MUFASA, **change})


@pytest.mark.parametrize(
    "challenge",
    [Challenge("basic", MUFASA), Challenge("digest", {"realm": "r"}), Challenge("digest", {}, "x")],
)
def test_other_challenges_are_not_answered(challenge: Challenge) -> None:
    with pytest.raises(ValueError, match="not a challenge of Digest"):
        digest_credentials(challenge, "u", "p", uri="/", cnonce="c")


def test_secret_is_the_hash_that_htdigest_stores() -> None:
    assert digest_secret("MD5", "Mufasa", "http-auth@example.org", "Circle of Life") == (
        "3d78807defe7de2157e2b0b6573a855f"
    )
