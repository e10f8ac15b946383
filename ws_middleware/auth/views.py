"""Views that issue tickets: `POST` with the WebSocket's path in the query, JSON comes back.

A ticket is bound to the Origin of the page that asks: scripts of other pages cannot read the
answer, and could not use what it holds.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qs

from ws_middleware.auth.identity import is_nobody

__all__ = ["AsgiView", "Issue", "WsgiView"]


class Issue(Protocol):
    """Be what issues a ticket."""

    def __call__(self, identity: Any, *, path: str, origin: str | None) -> str:
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


def wanted_path(method: str, query: str) -> str | Answer:
    """Give the path that a ticket is wanted for, or what is wrong with the request."""
    if method != "POST":
        error = {"error": "a ticket is asked for with POST"}
        return Answer(HTTPStatus.METHOD_NOT_ALLOWED, error, (("Allow", "POST"),))
    paths = parse_qs(query).get("path", [])
    if len(paths) != 1:
        error = {"error": "the query has to name one path: ?path=/chat"}
        return Answer(HTTPStatus.BAD_REQUEST, error)
    return paths[0]


class _View:
    """Decide who gets a ticket: whoever `identify` knows."""

    def __init__(self, issue: Issue, lifetime: float, identify: Callable[[Any], Any]) -> None:
        self._issue = issue
        self._lifetime = lifetime
        self._identify = identify

    def _answer(self, identity: Any, path: str, origin: str | None) -> Answer:
        if is_nobody(identity):
            return Answer(HTTPStatus.FORBIDDEN, {"error": "log in first"})
        try:
            ticket = self._issue(identity, path=path, origin=origin)
        except ValueError as error:
            return Answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        return Answer(HTTPStatus.OK, {"ticket": ticket, "expires_in": self._lifetime})


class WsgiView(_View):
    """Be the WSGI app."""

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer a request."""
        wanted = wanted_path(environ["REQUEST_METHOD"], environ.get("QUERY_STRING", ""))
        if isinstance(wanted, str):
            identity = self._identify(environ)
            wanted = self._answer(identity, wanted, environ.get("HTTP_ORIGIN"))
        fields, body = wanted.encode()
        start_response(f"{wanted.status.value} {wanted.status.phrase}", fields)
        return [body]


class AsgiView(_View):
    """Be the ASGI app."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        wanted = wanted_path(scope["method"], scope["query_string"].decode("latin-1"))
        if isinstance(wanted, str):
            identity = self._identify(scope)
            if inspect.isawaitable(identity):
                identity = await identity
            origins = [
                value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"
            ]
            wanted = self._answer(identity, wanted, origins[0] if origins else None)
        fields, body = wanted.encode()
        headers = [(name.lower().encode(), value.encode()) for name, value in fields]
        status = wanted.status.value
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
