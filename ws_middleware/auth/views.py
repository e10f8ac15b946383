"""Views that issue tickets: `POST` with the WebSocket's path in the query, JSON comes back.

A ticket is bound to the Origin of the page that asks: scripts of other pages cannot read the
answer, and could not use what it holds.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qs

__all__ = ["AsgiView", "Issue", "WsgiView", "make_asgi_view", "make_wsgi_view"]

WsgiView = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
AsgiView = Callable[[Any, Any, Any], Awaitable[None]]


class Issue(Protocol):
    """Be what issues a ticket."""

    def __call__(self, identity: Any, *, path: str | None, origin: str | None) -> str:
        """Issue it."""


class Answer(NamedTuple):
    """Hold a response."""

    status: HTTPStatus
    content: dict[str, Any]
    fields: tuple[tuple[str, str], ...] = ()

    def encode(self) -> tuple[list[tuple[str, str]], bytes]:
        """Give its fields and its body."""
        body = json.dumps(self.content).encode()
        fields = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            *self.fields,
        ]
        return fields, body


class Desk:
    """Decide who gets a ticket."""

    def __init__(self, issue: Issue, lifetime: float) -> None:
        self._issue = issue
        self._lifetime = lifetime

    def check(self, method: str, query: str) -> str | Answer:
        """Give the path that a ticket is wanted for, or what is wrong."""
        if method != "POST":
            error = {"error": "a ticket is asked for with POST"}
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, error, (("Allow", "POST"),))
        paths = parse_qs(query).get("path", [])
        if len(paths) != 1 or not paths[0].startswith("/"):
            error = {"error": "the query names no path: ?path=/chat"}
            return Answer(HTTPStatus.BAD_REQUEST, error)
        return paths[0]

    def answer(self, identity: Any, path: str, origin: str | None) -> Answer:
        """Give the ticket, or the refusal."""
        if identity is None:
            return Answer(HTTPStatus.FORBIDDEN, {"error": "log in first"})
        ticket = self._issue(identity, path=path, origin=origin)
        return Answer(HTTPStatus.OK, {"ticket": ticket, "expires_in": self._lifetime})


def make_wsgi_view(
    issue: Issue, lifetime: float, identify: Callable[[dict[str, Any]], Any]
) -> WsgiView:
    """Make a WSGI app of it; `identify(environ)` tells who asks."""
    desk = Desk(issue, lifetime)

    def view(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = desk.check(environ["REQUEST_METHOD"], environ.get("QUERY_STRING", ""))
        if isinstance(path, Answer):
            answer = path
        else:
            answer = desk.answer(identify(environ), path, environ.get("HTTP_ORIGIN"))
        fields, body = answer.encode()
        start_response(f"{answer.status.value} {answer.status.phrase}", fields)
        return [body]

    return view


def make_asgi_view(issue: Issue, lifetime: float, identify: Callable[[Any], Any]) -> AsgiView:
    """Make an ASGI app of it; `identify(scope)`, plain or async, tells who asks."""
    desk = Desk(issue, lifetime)

    async def view(scope: Any, receive: Any, send: Any) -> None:
        path = desk.check(scope["method"], scope["query_string"].decode("latin-1"))
        if isinstance(path, Answer):
            answer = path
        else:
            identity = identify(scope)
            if inspect.isawaitable(identity):
                identity = await identity
            origins = [value for name, value in scope["headers"] if name == b"origin"]
            origin = origins[0].decode("latin-1") if origins else None
            answer = desk.answer(identity, path, origin)
        fields, body = answer.encode()
        headers = [(name.lower().encode(), value.encode()) for name, value in fields]
        start = {"type": "http.response.start", "status": answer.status.value, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": body})

    return view
