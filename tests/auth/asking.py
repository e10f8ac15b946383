"""Ask authenticators as a mount would, about requests made of a few fields."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from ws_middleware.auth.answers import digest_credentials
from ws_middleware.auth.schemes import Challenge, parse_challenges
from ws_middleware.core.handshake import RequestHead
from ws_middleware.errors import HandshakeError, Unauthorized
from ws_middleware.request import Address, Request

__all__ = ["LOCAL", "answer", "ask", "make_request", "refusal"]

LOCAL = ("127.0.0.1", 50_000)


def make_request(
    authorization: str | None = None,
    *fields: tuple[str, str],
    target: str = "/chat",
    method: str = "GET",
    remote_address: Address = LOCAL,
    secure: bool = False,
) -> Request:
    """Make a request; `authorization` is the value of its Authorization field."""
    lines = [("Host", "a.example"), *fields]
    if authorization is not None:
        lines.append(("Authorization", authorization))
    head = RequestHead(method, target, "1.1", lines)
    return Request(head, remote_address=remote_address, secure=secure)


def ask(authenticator: Callable[[Request], Any], request: Request) -> Any:
    """Give what an authenticator says, at once or later."""
    found = authenticator(request)
    return asyncio.run(_wait(found)) if inspect.isawaitable(found) else found


async def _wait(awaitable: Any) -> Any:
    return await awaitable


def refusal(authenticator: Callable[[Request], Any], request: Request) -> HandshakeError:
    """Give the refusal of an authenticator, which has to refuse."""
    try:
        found = ask(authenticator, request)
    except HandshakeError as error:
        return error
    raise AssertionError(f"{found!r} was admitted")


def answer(challenges: Any, user: str, password: str, number: int = 0, **terms: Any) -> str:
    """Answer one of the Digest challenges of an authenticator or of a refusal."""
    values = challenges.challenges
    offered: list[Challenge] = parse_challenges(
        values if isinstance(challenges, Unauthorized) else values()
    )
    terms = {"uri": "/chat", "cnonce": "c0ffee", **terms}
    return digest_credentials(offered[number], user, password, **terms)
