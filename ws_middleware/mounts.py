"""The one object users make: routes with their terms, and the ways to mount them."""

from __future__ import annotations

from typing import Any, Literal

from ws_middleware.asgi.middleware import ASGIMiddleware
from ws_middleware.asgi.types import ASGIApp
from ws_middleware.options import Options
from ws_middleware.routing import Router
from ws_middleware.server import ServerConfig, listening, serve
from ws_middleware.wsgi.middleware import WSGIMiddleware
from ws_middleware.wsgi.types import WSGIApp

__all__ = ["WebSockets"]


class WebSockets(Router):
    """Collect routes, tied to no server; keywords are fields of `Options`.

    >>> ws = WebSockets(max_message_size=65536)
    >>> @ws.route("/echo")
    ... async def echo(connection):
    ...     async for message in connection:
    ...         await connection.send(message)
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(Options(**options))

    def asgi(
        self, app: ASGIApp | None = None, *, install: Literal["auto"] | bool = "auto"
    ) -> ASGIMiddleware:
        """Mount on an ASGI app, or be one: other paths are then 404.

        Under uvicorn our protocol class is put in place when the app starts; with `install=False`
        that is left to `--ws ws_middleware.asgi.uvicorn:WebSocketProtocol`. Other servers give
        ASGI events, and the same handlers run over those.
        """
        return ASGIMiddleware(self, app, install=install)

    def wsgi(self, app: WSGIApp | None = None, **settings: Any) -> WSGIMiddleware:
        """Mount on a WSGI app, or be one; `settings` are those of `WSGIMiddleware`.

        `app.wsgi_app = ws.wsgi(app.wsgi_app)` is all that a Flask app needs.
        """
        return WSGIMiddleware(self, app, **settings)

    def run(
        self,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        uds: str | None = None,
        app: ASGIApp | None = None,
        **settings: Any,
    ) -> None:
        """Serve alone, until SIGINT or SIGTERM; `settings` are uvicorn's.

        `app` answers the plain HTTP requests beside the routes.
        """
        config = ServerConfig(self.asgi(app), options=self.options, **settings)
        with listening(host, port, uds) as sock:
            status = serve(config, sock)
        if status:
            raise SystemExit(status)
