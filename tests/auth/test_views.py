"""The views that issue tickets: for whom, for which path, to which origin."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from ws_middleware.auth.views import AsgiView, WsgiView

ORIGIN = "https://a.example"


def issue(identity: Any, *, path: str, origin: str | None) -> str:
    if not path.startswith("/"):
        raise ValueError("no slash")
    return f"{identity} {path} {origin}"


def ask_wsgi(method: str, query: str, origin: str | None, user: Any) -> Any:
    environ = {"REQUEST_METHOD": method, "QUERY_STRING": query, "user": user}
    if origin is not None:
        environ["HTTP_ORIGIN"] = origin
    started: list[Any] = []
    view = WsgiView(issue, 30.0, lambda environ: environ["user"])
    body = b"".join(view(environ, lambda *given: started.append(given)))
    [(status, headers)] = started
    return int(status.split()[0]), dict(headers), json.loads(body)


def ask_asgi(method: str, query: str, origin: str | None, user: Any) -> Any:
    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    async def identify_later(scope: Any) -> Any:
        return scope["user"]

    scope = {"method": method, "query_string": query.encode(), "headers": [], "user": user}
    if origin is not None:
        scope["headers"] = [(b"origin", origin.encode())]
    answers = []
    for identify in (lambda scope: scope["user"], identify_later):
        sent.clear()
        asyncio.run(AsgiView(issue, 30.0, identify)(scope, None, send))
        start, body = sent
        headers = {name.decode().title(): value.decode() for name, value in start["headers"]}
        answers.append((start["status"], headers, json.loads(body["body"])))
    assert answers[0] == answers[1]
    return answers[0]


ASKING = pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])


@ASKING
@pytest.mark.parametrize("origin", [ORIGIN, None])
def test_ticket_is_bound_to_path_and_origin(ask: Any, origin: str | None) -> None:
    status, headers, content = ask("POST", "path=/a%20b", origin, "alice")
    assert status == 200
    assert content == {"ticket": f"alice /a b {origin}", "expires_in": 30.0}
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Type"] == "application/json"
    assert int(headers["Content-Length"]) > 20


@ASKING
@pytest.mark.parametrize(
    ("method", "query", "user", "expected"),
    [
        ("GET", "path=/", "alice", 405),
        ("POST", "", "alice", 400),
        ("POST", "path=", "alice", 400),
        ("POST", "path=chat", "alice", 400),
        ("POST", "path=/a&path=/b", "alice", 400),
        ("POST", "path=/", None, 403),
        ("POST", "path=/", False, 403),
    ],
)
def test_others_are_told_what_is_wrong(
    ask: Any, method: str, query: str, user: Any, expected: int
) -> None:
    status, headers, content = ask(method, query, ORIGIN, user)
    assert status == expected
    assert content.keys() == {"error"}
    assert headers.get("Allow") == ("POST" if status == 405 else None)
