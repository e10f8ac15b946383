"""The same route in apps that wrap or mount our middleware in every way there is."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount

from ws_middleware import AsyncConnection, UnsupportedError, WebSockets

ws = WebSockets()


@ws.route("/ping")
async def ping(connection: AsyncConnection) -> None:
    try:
        await connection.ping()
    except UnsupportedError:
        await connection.send("events")
    else:
        await connection.send("frames")


whole = ws.asgi()

added = Starlette()
added.add_middleware(ws.asgi)  # type: ignore[arg-type]

stacked = Starlette(
    middleware=[
        Middleware(TrustedHostMiddleware, allowed_hosts=["*"]),
        Middleware(CORSMiddleware, allow_origins=["*"]),
        Middleware(GZipMiddleware),
        Middleware(BaseHTTPMiddleware, dispatch=lambda request, proceed: proceed(request)),
        Middleware(ws.asgi),  # type: ignore[arg-type]
    ]
)

#: Starlette gives what it mounts no lifespan scope.
mounted = Starlette(routes=[Mount("/below", app=ws.asgi())])
