"""Several ways in: the first that admits decides, all challenge together."""

from __future__ import annotations

from typing import Any

import pytest

from tests.auth.asking import answer, ask, make_request, refusal
from ws_middleware.auth.answers import basic_credentials
from ws_middleware.auth.any_of import AnyOf
from ws_middleware.auth.basic import Basic
from ws_middleware.auth.bearer import Bearer
from ws_middleware.auth.digest import Digest
from ws_middleware.auth.first_message import FirstMessage
from ws_middleware.errors import Forbidden, Unauthorized
from ws_middleware.request import Request

USERS = {"alice": "secret"}
BEARER, BASIC, DIGEST = Bearer({"t0ken": "bob"}), Basic(USERS), Digest(USERS)


async def check_later(user: str, password: str) -> bool:
    return USERS.get(user) == password


@pytest.mark.parametrize("basic", [BASIC, Basic(check_later)])
def test_whoever_shows_one_is_admitted(basic: Basic) -> None:
    any_of = AnyOf(BEARER, basic, DIGEST)
    assert ask(any_of, make_request(basic_credentials("alice", "secret"))) == "alice"
    assert ask(any_of, make_request("Bearer t0ken")) == "bob"
    assert ask(any_of, make_request(answer(DIGEST, "alice", "secret"))).identity == "alice"


@pytest.mark.row(198)
def test_challenges_come_the_strongest_first_one_a_line() -> None:
    def own(request: Request) -> Any:
        raise Unauthorized(["Own x=1"], "no")

    any_of = AnyOf(BEARER, own, BASIC, DIGEST)
    error = refusal(any_of, make_request())
    assert [value.split()[0] for name, value in error.headers] == [
        "Digest",
        "Basic",
        "Own",
        "Bearer",
    ]
    assert error.reason == "authentication is required; no"
    schemes = [value.split()[0] for value in any_of.challenges(make_request())]
    assert schemes == ["Digest", "Basic", "Bearer"]


def test_other_refusals_are_final() -> None:
    def forbid(request: Request) -> Any:
        raise Forbidden("not you")

    request = make_request(basic_credentials("alice", "secret"))
    assert refusal(AnyOf(forbid, BASIC), request).status == 403
    assert refusal(AnyOf(BEARER, BASIC), make_request("Bearer")).status == 400


@pytest.mark.parametrize("nobody", [None, False])
@pytest.mark.parametrize("others", [(), (BASIC,)])
def test_nobody_is_passed_on(others: tuple[Any, ...], nobody: object) -> None:
    any_of = AnyOf(lambda request: nobody, *others)
    if others:
        assert refusal(any_of, make_request()).status == 401
    else:
        assert ask(any_of, make_request()) is None


def test_first_message_comes_last() -> None:
    later = FirstMessage(print)
    assert ask(AnyOf(BASIC, later), make_request()) is later


def test_it_may_take_long_where_one_of_them_may() -> None:
    assert not AnyOf(BASIC, BEARER, DIGEST).blocking
    assert AnyOf(BASIC, lambda request: None).blocking
    with pytest.raises(ValueError, match="at least one"):
        AnyOf()
