"""The WSGI middleware: our routes leave the server's worker, everything else stays.

Whatever can be refused is refused through the server's own response; only then is the socket
taken. The call returns as soon as the connection is parked, or when an in-place handler ends.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from ws_middleware.asking import run_in_place
from ws_middleware.core.handshake import is_attempt, phrase_of, refusal_fields
from ws_middleware.errors import HandshakeError
from ws_middleware.handler_threads import MAX_THREADS, MAX_WAITING, HandlerThreads
from ws_middleware.handlers import is_blocking, needs_loop
from ws_middleware.logs import handshake_refused
from ws_middleware.pool import OutOfThreadsError
from ws_middleware.request import Address, Request, scrub_environ
from ws_middleware.routing import Route, Router
from ws_middleware.upgrade import Upgrade, decide, find_route
from ws_middleware.waiting import waiting_for
from ws_middleware.wsgi.asking import asking_within
from ws_middleware.wsgi.endings import watch, watch_worker
from ws_middleware.wsgi.environ import make_request, names_websocket
from ws_middleware.wsgi.hijack import Hijacker, can_park
from ws_middleware.wsgi.servers import find_hijacker
from ws_middleware.wsgi.serving import Serving
from ws_middleware.wsgi.types import Environ, StartResponse, WSGIApp

__all__ = ["WSGIMiddleware"]


class WSGIMiddleware:
    """Answer a router's WebSockets; pass everything else to `app`, if there is one.

    `park=False` serves every connection in the server's own thread. At most `max_threads`
    plain `def` handlers run at once, `max_waiting` more wait for their turn; beyond, 503.
    `hijackers` know further servers. With `signals`, SIGTERM and SIGHUP tell all peers before
    they do what they did.
    """

    def __init__(
        self,
        router: Router,
        app: WSGIApp | None = None,
        *,
        park: bool = True,
        max_threads: int = MAX_THREADS,
        max_waiting: int = MAX_WAITING,
        hijackers: Sequence[Hijacker] = (),
        signals: bool = True,
    ) -> None:
        self.router = router
        self.app = app
        self._park = park
        self._threads = HandlerThreads(max_threads, max_waiting)
        self._hijackers = tuple(hijackers)
        watch(signals=signals)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if self.app is not None and not names_websocket(environ):
            return self.app(environ, start_response)
        request = make_request(environ)
        route = find_route(self.router, request)
        if self.app is not None and (route is None or not is_attempt(request.head)):
            return self.app(environ, start_response)
        try:
            if route is not None and not is_attempt(request.head):
                raise HandshakeError(400, "this path is a WebSocket")
            hijacker = self._answer(environ, request, route)
        except HandshakeError as error:
            handshake_refused(request.remote_address, request.target, error)
            return _respond(error, start_response)
        finally:
            if request.has_withdrawn:
                scrub_environ(environ, request)  # which the server's access log reads
        return hijacker.finish(environ, start_response)

    def _answer(self, environ: Environ, request: Request, route: Route | None) -> Hijacker:
        """Decide; then take the socket, or give the place back."""
        options = self.router.options if route is None else route.options
        ask = asking_within(options.open_timeout)
        route, upgrade = run_in_place(decide(self.router, request, route, ask))
        try:
            return self._upgrade(environ, request, route, upgrade)
        except BaseException:
            upgrade.ended()
            raise

    def _upgrade(
        self, environ: Environ, request: Request, route: Route, upgrade: Upgrade
    ) -> Hijacker:
        """Take the socket and serve it, or see to it that it is served."""
        hijacker = find_hijacker(environ, self._hijackers)
        if is_blocking(route.handler):
            self._threads.reserve()
            try:
                serving = self._take(hijacker, environ, request, route, upgrade)
            except BaseException:
                self._threads.give_back()
                raise
            self._run_blocking(serving)
        else:
            serving = self._take(hijacker, environ, request, route, upgrade)
            if serving.parks or needs_loop(route.handler):
                serving.start_on_loop()
            else:
                serving.in_thread()
        return hijacker

    def _take(
        self,
        hijacker: Hijacker,
        environ: Environ,
        request: Request,
        route: Route,
        upgrade: Upgrade,
    ) -> Serving:
        """Take the socket, out of the server's hands where it can be parked."""
        try:
            taken = hijacker.take(environ)
            parks = self._park and can_park(taken.sock)
            request.remote_address = _with_port(request.remote_address, taken.sock)
            serving = Serving(request, route, upgrade, taken.parked() if parks else taken, parks)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise HandshakeError(503, _NO_DESCRIPTOR, [("Retry-After", "5")]) from None
            raise
        if not parks:
            watch_worker(waiting_for(taken.sock))
        return serving

    def _run_blocking(self, serving: Serving) -> None:
        """Run a plain `def` handler in a thread of ours, or in place where nothing is parked."""
        if not serving.parks:
            self._threads.give_back()
            serving.in_thread()
            return
        try:
            self._threads.run(serving.in_thread)
        except OutOfThreadsError as error:
            serving.taken.sock.close()  # which the server does not know any more
            raise HandshakeError(503, f"no thread is free: {error}") from None


_NO_DESCRIPTOR = "no file descriptor is free for this connection (ulimit -n)"


def _with_port(address: Address, sock: Any) -> Address:
    """Complete an address whose port the server did not tell of, if it is the socket's own."""
    with contextlib.suppress(OSError):
        own = sock.getpeername()
        if isinstance(address, tuple) and address[1] == 0 and own[:1] == address[:1]:
            return address[0], own[1]
    return address


def _respond(error: HandshakeError, start_response: StartResponse) -> Iterable[bytes]:
    """Refuse through the server; PEP 3333 leaves hop-by-hop fields such as Upgrade to it."""
    status = 400 if error.status == HTTPStatus.UPGRADE_REQUIRED else error.status
    fields = refusal_fields(error)
    ours = [field for field in fields if field[0].lower() not in ("upgrade", "connection")]
    start_response(f"{status} {phrase_of(status)}", ours)
    return [error.body]
