"""Basic authentication (RFC 7617): who gets in, and what everybody else gets."""

from __future__ import annotations

import base64
import logging
from typing import Any

import pytest

from tests.auth.asking import ask, make_request, refusal
from ws_middleware.auth.answers import basic_credentials
from ws_middleware.auth.basic import Basic
from ws_middleware.errors import Unauthorized

USERS = {"Aladdin": "open sesame", "test": "123\xa3", "a": "b:c:", "empty": "", "long": "x" * 1024}
BASIC = Basic(USERS, realm="attic")
CHALLENGE = 'Basic realm="attic", charset="UTF-8"'


def encode(pair: bytes) -> str:
    return "Basic " + base64.b64encode(pair).decode()


@pytest.mark.row(192, 193, 198)
def test_challenge_has_realm_and_charset() -> None:
    assert BASIC.challenges() == [CHALLENGE]
    assert Basic({}, realm='a "b" \\').challenges() == [
        'Basic realm="a \\"b\\" \\\\", charset="UTF-8"'
    ]
    with pytest.raises(ValueError, match="control character"):
        Basic({}, realm="a\r\nb")


@pytest.mark.row(195)
@pytest.mark.parametrize(
    "value",
    ["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ=="],
)
def test_example_of_the_rfc(value: str) -> None:
    assert ask(BASIC, make_request(value)) == "Aladdin"


@pytest.mark.row(195, 200)
@pytest.mark.fault(36)
@pytest.mark.parametrize("user", sorted(USERS))
def test_right_password(user: str) -> None:
    assert ask(BASIC, make_request(basic_credentials(user, USERS[user]))) == user


@pytest.mark.row(200)
@pytest.mark.fault(36)
def test_either_normal_form_is_the_same_password() -> None:
    basic = Basic({"J\xe4s": "p\xe4ss"})
    for pair in ("J\xe4s:p\xe4ss", "Ja\u0308s:pa\u0308ss"):
        assert ask(basic, make_request(encode(pair.encode()))) == "J\xe4s"


@pytest.mark.row(195, 196, 197, 198)
@pytest.mark.fault(18, 35)
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "authentication is required"),
        ("", "authentication is required"),
        ("Bearer abc", "authentication is required"),
        ('Digest username="Aladdin"', "authentication is required"),
        (basic_credentials("Aladdin", "open"), "wrong"),
        (basic_credentials("Aladdin", "open sesame!"), "wrong"),
        (basic_credentials("Aladdin", "Open sesame"), "wrong"),
        (basic_credentials("Aladdin", ""), "wrong"),
        (basic_credentials("aladdin", "open sesame"), "wrong"),
        (basic_credentials("", ""), "wrong"),
        (basic_credentials("nobody", "open sesame"), "wrong"),
        (basic_credentials("Aladdin", "x" * 6000), "wrong"),
        ("Basic", "malformed"),
        ("Basic =", "malformed"),
        ("Basic abc=abc", "malformed"),
        ("Basic abc", "malformed"),
        ("Basic QWxhZGRpbg==", "malformed"),
        ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", "malformed"),
        ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ== x", "malformed"),
        ('Basic realm="x"', "malformed"),
        ("Basic \xe4\xf6", "malformed"),
        (encode(b"Aladdin:open sesame\0"), "malformed"),
        (encode(b"Aladdin\n:open sesame"), "malformed"),
        (encode(b"t\xebst:123"), "malformed"),
        (encode(b"\xff:\xff"), "malformed"),
    ],
)
def test_everybody_else_is_challenged(value: str | None, reason: str) -> None:
    error = refusal(BASIC, make_request(value))
    assert isinstance(error, Unauthorized)
    assert error.headers == (("WWW-Authenticate", CHALLENGE),)
    assert reason in error.reason


@pytest.mark.row(201)
@pytest.mark.fault(38)
def test_users_cannot_be_guessed_from_the_answer() -> None:
    requests = [make_request(basic_credentials(user, "x")) for user in ("Aladdin", "nobody")]
    known, unknown = (refusal(BASIC, request) for request in requests)
    assert vars(known) == vars(unknown)


@pytest.mark.row(201)
def test_nothing_secret_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for value in (basic_credentials("Aladdin", "hush"), encode(b"Aladdin:hush\0")):
            error = refusal(BASIC, make_request(value, remote_address=("192.0.2.1", 1)))
            assert "hush" not in f"{error!r} {error.headers}"
            assert value.split()[1] not in f"{error!r} {error.headers}"
    assert "hush" not in caplog.text


# --- a check of one's own ---


@pytest.mark.parametrize(
    ("answer", "identity"), [(True, "a"), ({"id": 7}, {"id": 7}), (0, 0), ("", "")]
)
def test_check_says_who_it_is(answer: Any, identity: Any) -> None:
    async def check_later(user: str, password: str) -> Any:
        return answer

    asked = make_request(basic_credentials("a", "b"))
    assert ask(Basic(lambda user, password: answer), asked) == identity
    assert ask(Basic(check_later), asked) == identity


@pytest.mark.parametrize("answer", [None, False])
def test_check_refuses(answer: Any) -> None:
    async def check_later(user: str, password: str) -> Any:
        return answer

    asked = make_request(basic_credentials("a", "b"))
    for check in (lambda user, password: answer, check_later):
        assert refusal(Basic(check), asked).status == 401


def test_only_a_mapping_is_known_to_answer_at_once() -> None:
    assert not Basic(USERS).blocking
    assert Basic(lambda user, password: True).blocking
