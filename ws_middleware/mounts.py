"""The one object users make: routes with their terms, and the ways to mount them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

from ws_middleware.asgi.adapting import adapt_wsgi, check_app, is_asgi
from ws_middleware.asgi.middleware import ASGIMiddleware
from ws_middleware.asgi.types import ASGIApp
from ws_middleware.core.endpoint import UNAUTHORIZED
from ws_middleware.core.frames import Close, encode_close
from ws_middleware.handler_threads import MAX_THREADS, MAX_WAITING
from ws_middleware.info import ConnectionInfo
from ws_middleware.listening import listening
from ws_middleware.options import Options
from ws_middleware.routing import Router
from ws_middleware.server import ServerConfig, check_no_loop, serve
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
        super().__init__(Options().replaced(**options))

    def close_where(
        self,
        predicate: Callable[[ConnectionInfo], object] | None = None,
        *,
        identity: object = None,
        code: int = UNAUTHORIZED,
        reason: str = "the access was revoked",
    ) -> int:
        """Close the connections of an identity, or those a predicate holds for, in all mounts.

        Any thread may call this, for the connections of its own process; `predicate` is called
        there with each connection. Gives how many were told to close, without waiting for
        them. Handshakes that are under way are closed as soon as they are open.

        >>> WebSockets().close_where(identity="mallory")
        0
        """
        if predicate is None and identity is None:
            raise TypeError("close_where() wants an identity, or a predicate")
        if predicate is not None and not callable(predicate):
            raise TypeError(f"a predicate is a function: write identity={predicate!r}")
        encode_close(Close(code, reason))

        def matches(connection: ConnectionInfo) -> object:
            if identity is not None and connection.identity != identity:
                return False
            return predicate is None or predicate(connection)

        return self.gate.close_where(matches, code, reason)

    def asgi(
        self,
        app: ASGIApp | WSGIApp | None = None,
        *,
        install: Literal["auto"] | bool = "auto",
        wsgi: bool | None = None,
        **settings: Any,
    ) -> ASGIMiddleware:
        """Mount on an ASGI app, or be one: other paths are then 404.

        Under uvicorn, hypercorn and gunicorn's asgi worker our classes are put in place when the
        app starts; with `install=False` not, and uvicorn's is then chosen by
        `--ws ws_middleware.asgi.uvicorn:WebSocketProtocol`. Other servers give ASGI events, and
        the same handlers run over those. A WSGI app answers its plain requests in threads;
        `wsgi` says that it is one, or is not, where its signature leaves that open. Other
        `settings` are those of `ASGIMiddleware`.
        """
        if app is not None:
            check_app(app)
            if not is_asgi(app) if wsgi is None else wsgi:
                app = adapt_wsgi(app)
        return ASGIMiddleware(self, cast(ASGIApp | None, app), install=install, **settings)

    def wsgi(self, app: WSGIApp | None = None, **settings: Any) -> WSGIMiddleware:
        """Mount on a WSGI app, or be one; `settings` are those of `WSGIMiddleware`.

        `app.wsgi_app = ws.wsgi(app.wsgi_app)` is all that a Flask app needs.
        """
        if app is not None:
            check_app(app)
            if is_asgi(app):
                raise TypeError(f"{app!r} is an ASGI app: mount the routes with ws.asgi(app)")
        return WSGIMiddleware(self, app, **settings)

    def run(
        self,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        uds: str | None = None,
        app: ASGIApp | None = None,
        max_threads: int = MAX_THREADS,
        max_waiting: int = MAX_WAITING,
        **settings: Any,
    ) -> None:
        """Serve alone, until SIGINT or SIGTERM; `settings` are uvicorn's.

        `app` answers the plain HTTP requests beside the routes; see `ASGIMiddleware` for the
        threads of `def` handlers.
        """
        check_no_loop()
        mounted = self.asgi(app, max_threads=max_threads, max_waiting=max_waiting)
        config = ServerConfig(mounted, options=self.options, **settings)
        with listening(host, port, uds) as sock:
            status = serve(config, sock)
        if status:
            raise SystemExit(status)
