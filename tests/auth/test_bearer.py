"""Bearer tokens (RFC 6750): three places, one at a time, and the error codes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.auth.asking import ask, make_request, refusal
from ws_middleware.auth.bearer import Bearer, Tokens, insufficient_scope
from ws_middleware.auth.identity import Admitted
from ws_middleware.auth.signing import encode_base64url
from ws_middleware.errors import Reject, Unauthorized

TOKENS = {"mF_9.B5f-4.1JqM": "alice", "t/+~=": "bob"}
BEARER = Bearer(TOKENS, realm="attic")
EVERYWHERE = Bearer(TOKENS, realm="attic", subprotocol="bearer.", query="access_token")
IN_HEADER = "Bearer mF_9.B5f-4.1JqM"
IN_QUERY = "/chat?x=1&access_token=mF_9.B5f-4.1JqM"


def offer(*tokens: str) -> tuple[str, str]:
    return "Sec-WebSocket-Protocol", ", ".join(tokens)


IN_SUBPROTOCOL = offer("chat", "bearer." + encode_base64url(b"mF_9.B5f-4.1JqM"))


@pytest.mark.row(228)
@pytest.mark.parametrize("value", [IN_HEADER, "bearer  mF_9.B5f-4.1JqM"])
def test_token_in_the_header(value: str) -> None:
    assert ask(BEARER, make_request(value)) == "alice"
    assert ask(EVERYWHERE, make_request(value)) == "alice"
    assert ask(BEARER, make_request("Bearer t/+~=")) == "bob"


@pytest.mark.row(198, 231, 232)
@pytest.mark.fault(46)
@pytest.mark.parametrize(
    ("value", "status", "error"),
    [
        (None, 401, ""),
        ("Basic YTpi", 401, ""),
        ("Bearer mF_9.B5f-4.1Jq", 401, "invalid_token"),
        ("Bearer mF_9.B5f-4.1JqM0", 401, "invalid_token"),
        ("Bearer mf_9.b5f-4.1jqm", 401, "invalid_token"),
        ("Bearer " + "x" * 6000, 401, "invalid_token"),
        ("Bearer", 400, "invalid_request"),
        ('Bearer "mF_9.B5f-4.1JqM"', 400, "invalid_request"),
        ("Bearer mF_9.B5f-4.1JqM x", 400, "invalid_request"),
        ("Bearer token=mF_9", 400, "invalid_request"),
        ("Bearer \xe4", 400, "invalid_request"),
    ],
)
def test_error_codes(value: str | None, status: int, error: str) -> None:
    found = refusal(BEARER, make_request(value))
    code = f', error="{error}"' if error else ""
    assert found.status == status
    assert found.headers == (("WWW-Authenticate", f'Bearer realm="attic"{code}'),)
    assert isinstance(found, Unauthorized) == (status == 401)
    assert "mF_9" not in f"{found!r}"


@pytest.mark.row(199)
@pytest.mark.fault(46)
def test_two_fields_are_refused() -> None:
    assert refusal(BEARER, make_request(IN_HEADER, ("Authorization", IN_HEADER))).status == 400


@pytest.mark.row(232)
def test_scope_that_is_missing_is_403() -> None:
    def check(token: str) -> str:
        raise insufficient_scope("chat admin")

    error = refusal(Bearer(check), make_request(IN_HEADER))
    assert isinstance(error, Reject)
    assert (error.status, error.close_code) == (403, 4403)
    assert error.headers == (
        ("WWW-Authenticate", 'Bearer error="insufficient_scope", scope="chat admin"'),
    )


# --- other places ---


@pytest.mark.row(229)
def test_query_is_read_only_where_it_is_switched_on() -> None:
    request = make_request(target=IN_QUERY)
    assert refusal(BEARER, request).status == 401
    assert "access_token" in request.target
    found = ask(EVERYWHERE, request)
    assert found == Admitted("alice", headers=[("Cache-Control", "no-store")])
    assert request.target == "/chat?x=1"


def test_subprotocol_is_read_only_where_it_is_switched_on() -> None:
    request = make_request(None, IN_SUBPROTOCOL)
    assert refusal(BEARER, request).status == 401
    assert ask(EVERYWHERE, request) == "alice"
    assert dict(request.head.fields)["Sec-WebSocket-Protocol"] == "chat"


@pytest.mark.row(229)
def test_refused_tokens_are_withdrawn_too() -> None:
    bad = offer("chat", "bearer." + encode_base64url(b"wrong"))
    request = make_request(None, bad)
    assert refusal(EVERYWHERE, request).status == 401
    assert "bearer" not in str(request.head)
    request = make_request(target="/chat?access_token=wrong")
    assert refusal(EVERYWHERE, request).status == 401
    assert request.target == "/chat"


@pytest.mark.parametrize("encoded", ["", "a", "YQ!", "_w", "mF_9.B5f-4.1JqM"])
def test_subprotocol_that_is_not_base64url_of_text(encoded: str) -> None:
    error = refusal(EVERYWHERE, make_request(None, offer(f"bearer.{encoded}")))
    assert error.status == (400 if encoded else 401)


@pytest.mark.row(230)
@pytest.mark.fault(46)
@pytest.mark.parametrize(
    ("value", "fields", "target"),
    [
        (IN_HEADER, [IN_SUBPROTOCOL], "/"),
        (IN_HEADER, [], IN_QUERY),
        (None, [IN_SUBPROTOCOL], IN_QUERY),
        (None, [], f"{IN_QUERY}&access_token=x"),
        (None, [offer("bearer.YQ", "bearer.Yg")], "/"),
    ],
)
def test_one_token_in_one_place(
    value: str | None, fields: list[tuple[str, str]], target: str
) -> None:
    error = refusal(EVERYWHERE, make_request(value, *fields, target=target))
    assert (error.status, error.reason) == (400, "there is more than one Bearer token")
    assert 'error="invalid_request"' in error.headers[0][1]


@pytest.mark.parametrize("prefix", ["", "a b", "a,"])
def test_prefix_has_to_be_a_token(prefix: str) -> None:
    with pytest.raises(ValueError, match="subprotocol"):
        Bearer(TOKENS, subprotocol=prefix)


# --- a check of one's own ---


def test_check_may_answer_later_and_say_when_the_token_expires() -> None:
    async def check(token: str) -> Any:
        terms: dict[str, Any] = {"expires_at": 1.5, "headers": [("X", "y")]}
        return Admitted(token, **terms) if token == "yes" else None

    found = ask(Bearer(check), make_request("Bearer yes"))
    assert found == Admitted("yes", expires_at=1.5, headers=[("X", "y")])
    assert refusal(Bearer(check), make_request("Bearer no")).status == 401
    found = ask(Bearer(check, query="t"), make_request(target="/?t=yes"))
    assert found.headers == [("X", "y"), ("Cache-Control", "no-store")]


def test_only_a_mapping_is_known_to_answer_at_once() -> None:
    assert not BEARER.blocking
    assert Bearer(print).blocking
    assert Tokens(TOKENS)("unknown") is None
