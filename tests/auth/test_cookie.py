"""Sessions: a cookie says who it is, and that it was sent by a browser."""

from __future__ import annotations

from typing import Any

import pytest

from tests.auth.asking import ask, make_request, refusal
from ws_middleware.auth.cookie import Cookie
from ws_middleware.auth.identity import Admitted
from ws_middleware.errors import Unauthorized

SESSIONS = {"5e55": "alice", "": None, "no": False}


async def check_later(value: str) -> Any:
    return SESSIONS.get(value)


@pytest.mark.parametrize("check", [SESSIONS.get, check_later])
def test_cookie_says_who_it_is(check: Any) -> None:
    cookie = Cookie("session", check)
    for value in ("session=5e55", "a=b; session=5e55", "session=5e55; session=other"):
        found = ask(cookie, make_request(None, ("Cookie", value)))
        assert found == Admitted("alice", ambient=True)


@pytest.mark.row(198)
@pytest.mark.parametrize(
    "fields", [[], [("Cookie", "a=b")], *([("Cookie", f"session={v}")] for v in ("", "x", "no"))]
)
def test_others_are_refused(fields: list[tuple[str, str]]) -> None:
    error = refusal(Cookie("session", SESSIONS.get), make_request(None, *fields))
    assert isinstance(error, Unauthorized)
    assert error.challenges == ('Cookie realm="WebSocket", cookie-name="session"',)


def test_session_may_expire() -> None:
    cookie = Cookie("s", lambda value: Admitted(value, expires_at=9.0))
    found = ask(cookie, make_request(None, ("Cookie", "s=x")))
    assert found == Admitted("x", expires_at=9.0, ambient=True)
    assert cookie.blocking
