"""Log in on a page, fetch a ticket with the session, open a WebSocket with the ticket.

python -m ws_middleware examples.ticket:app
"""

from __future__ import annotations

import secrets
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from ws_middleware import AsyncConnection, WebSockets
from ws_middleware.auth import Ticket

#: Who has which session; a real app keeps them in its database.
SESSIONS: dict[str, str] = {}

PAGE = """<!doctype html>
<title>Ticket</title>
<form method="post" action="/login"><input name="user"><button>Log in</button></form>
<p>
<script>
const say = text => { document.querySelector("p").textContent = text }
async function enter() {
    const answer = await fetch("/tickets?path=/private", { method: "POST" })
    const { ticket, error } = await answer.json()
    if (error) return say(error)
    const url = location.origin.replace("http", "ws")
    const socket = new WebSocket(`${url}/private?ticket=${ticket}`)
    socket.onmessage = event => say(event.data)
    socket.onclose = event => { if (event.code != 1000) say(`closed with ${event.code}`) }
}
enter()
</script>
"""


def identify(scope: Any) -> str | None:
    """Give the user of a session."""
    return SESSIONS.get(Request(scope).cookies.get("session", ""))


async def page(request: Request) -> Response:
    return HTMLResponse(PAGE)


async def log_in(request: Request) -> Response:
    """Believe whoever comes; a real app asks for a password."""
    user = (await request.body()).decode().partition("user=")[2]
    session = secrets.token_urlsafe()
    SESSIONS[session] = user
    response = RedirectResponse("/", 303)
    response.set_cookie("session", session, httponly=True, samesite="strict")
    return response


ticket = Ticket()
ws = WebSockets()


@ws.route("/private", authenticate=ticket)
async def private(connection: AsyncConnection) -> None:
    await connection.send(f"Welcome, {connection.identity}!")


routes = [
    Route("/", page),
    Route("/login", log_in, methods=["POST"]),
    Route("/tickets", ticket.asgi(identify)),
]
app = ws.asgi(Starlette(routes=routes))
