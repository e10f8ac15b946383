"""The standalone server: uvicorn, with our guard on its sockets and our protocol in it.

HTTP and WebSocket share one port. `Server` is for code that has a loop running, `run` blocks
and obeys signals.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import math
import signal
import socket
import ssl
import warnings
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Any, Self

import uvicorn

from ws_middleware.asgi.adapting import check_app, takes
from ws_middleware.asgi.guard import HTTPGuard
from ws_middleware.asgi.uvicorn import WebSocketProtocol
from ws_middleware.certificate import check_authorities, check_certificate
from ws_middleware.listening import listening
from ws_middleware.logs import format_address
from ws_middleware.options import Options

__all__ = [
    "GRACE_TIME",
    "Server",
    "ServerConfig",
    "check_no_loop",
    "serve",
]

logger: logging.Logger = logging.getLogger("ws_middleware")

#: How long connections may take to close when the server stops, in seconds.
GRACE_TIME = 10


class ServerConfig(uvicorn.Config):
    """Be uvicorn's configuration, with our guard, our options and our way to TLS."""

    def __init__(self, app: Any, *, options: Options, **settings: Any) -> None:
        self.options = options
        self.tls: ssl.SSLContext | None = None
        for name in settings:
            if name in Options.__dataclass_fields__:
                raise TypeError(f"{name} is no setting of the server: write WebSockets({name}=...)")
        super().__init__(app, **{**_SETTINGS, **settings})
        if self.use_subprocess:
            raise ValueError("workers and reload are options of the command line alone")
        self._check_certificates()

    def _check_certificates(self) -> None:
        if self.ssl_certfile:
            check_certificate(self.ssl_certfile, self.ssl_keyfile, self.ssl_keyfile_password)
        elif self.ssl_keyfile:
            raise ValueError("ssl_keyfile needs ssl_certfile")
        if self.ssl_ca_certs:
            check_authorities("ssl_ca_certs", self.ssl_ca_certs)

    def load(self) -> None:
        """Load as uvicorn does; the guard speaks TLS, so that one deadline counts for all."""
        super().load()
        self.tls = self.ssl
        setattr(self, "ssl", None)  # noqa: B010 - uvicorn declares it, not we


_SETTINGS: dict[str, Any] = {
    "http": HTTPGuard,
    "ws": WebSocketProtocol,
    "proxy_headers": False,
    "server_header": False,
    "timeout_graceful_shutdown": GRACE_TIME,
    "workers": 1,
    "log_config": None,
}


class _Server(uvicorn.Server):
    """Be uvicorn's server, which leaves nothing open, whatever ends it."""

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve; afterwards every peer was told 1001, and no socket is open."""
        try:
            with _calm_accepting(asyncio.get_running_loop()):
                await super().serve(sockets)
        finally:
            if asyncio._get_running_loop() is not None:  # else it was closed under us
                self._release()
            for sock in sockets or ():
                sock.close()

    def _release(self) -> None:
        for server in getattr(self, "servers", ()):
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
            getattr(connection, "abort", connection.transport.abort)()
        for task in list(self.server_state.tasks):
            task.cancel()


@contextlib.contextmanager
def _calm_accepting(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Tell in one line that there are no descriptors left: asyncio tells it thousands of times."""
    former = loop.get_exception_handler()
    told_at = -math.inf

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal told_at
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _EXHAUSTED:
            if loop.time() >= told_at + 1.0:
                told_at = loop.time()
                logger.error("new connections have to wait: %s (ulimit -n)", error.strerror)
        elif former is None:
            loop.default_exception_handler(context)
        else:
            former(loop, context)

    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        loop.set_exception_handler(former)


#: What the system says when it has no descriptor, or no memory, for another connection.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class _StandaloneServer(_Server):
    """Be uvicorn's server; a signal to stop is a good end."""

    def __init__(self, config: ServerConfig, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on SIGINT and SIGTERM, a second SIGINT stops at once."""
        with _ignored_afterwards(), super().capture_signals():
            yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say goodbye to every peer, then wait for them within the grace time."""
        count = len(self.server_state.connections)
        if count:
            logger.info(
                "stopping: closing %d connections within %s s; Ctrl+C again stops at once",
                count,
                self.config.timeout_graceful_shutdown,
            )
        await super().shutdown(sockets)


@contextlib.contextmanager
def _ignored_afterwards() -> Iterator[None]:
    # uvicorn raises the signals that stopped it again, for whoever handled them before.
    signals = (signal.SIGINT, signal.SIGTERM)
    try:
        former = {number: signal.signal(number, lambda *_: None) for number in signals}
    except ValueError:  # not the main thread, where signals are nobody's business
        yield
        return
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class _EmbeddedServer(_Server):
    """Be a server inside a program that has its own idea of signals and of its end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            raise RuntimeError("the application failed to start; the log says why") from None


class Server:
    """Run an ASGI app, or `WebSockets` alone, on the running event loop.

    >>> async def main():
    ...     ws = WebSockets()
    ...     async with Server(ws, port=0) as server:
    ...         return server.url.startswith("ws://127.0.0.1:")
    >>> from ws_middleware import WebSockets
    >>> asyncio.run(main())
    True
    """

    def __init__(
        self,
        app: Any,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        uds: str | None = None,
        options: Options | None = None,
        **settings: Any,
    ) -> None:
        router_options = getattr(app, "options", None)
        options = options or (router_options if isinstance(router_options, Options) else Options())
        asgi = app.asgi() if callable(getattr(app, "asgi", None)) else app
        if not (isinstance(asgi, str) or settings.get("factory")):  # uvicorn makes the app of these
            check_app(asgi)
            if not takes(asgi, 3) and "interface" not in settings:
                raise TypeError(f"{asgi!r} is a WSGI app: serve it as Server(ws.asgi(app))")
        self._server = _EmbeddedServer(ServerConfig(asgi, options=options, **settings))
        self._listening = contextlib.ExitStack()
        self._socket = self._listening.enter_context(listening(host, port, uds))
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Give the port that is listened on; there is none on a Unix socket."""
        address = self._socket.getsockname()
        if isinstance(address, str):
            raise ValueError(f"the server listens on the Unix socket {address!r}, not on a port")
        port: int = address[1]
        return port

    @property
    def url(self) -> str:
        """Give the URL of the server's root."""
        scheme = "wss" if self._server.config.is_ssl else "ws"
        return f"{scheme}://{format_address(self._socket.getsockname())}/"

    async def __aenter__(self) -> Self:
        """Start to listen."""
        if self._task is not None:
            raise RuntimeError("a Server serves once: make another one")
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        stop_listening = self._listening.close  # not of `self`, which may be forgotten
        self._task.add_done_callback(lambda _: stop_listening())
        try:
            while not self._server.started:
                done, _ = await asyncio.wait([self._task], timeout=0.01)
                if done:
                    self._task.result()
                    raise RuntimeError("the server stopped before it had started")
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection with 1001, and stop."""
        await self.stop()

    async def stop(self) -> None:
        """Close every connection with 1001, within the grace time, and stop."""
        self._server.should_exit = True
        if self._task is None:
            self._listening.close()
        else:
            await self._task

    def __del__(self) -> None:
        """Stop a server that was forgotten."""
        task: asyncio.Task[None] | None = getattr(self, "_task", None)
        if task is not None and not task.done():
            warnings.warn(f"{self!r} was not stopped", ResourceWarning, source=self, stacklevel=1)
            self._server.should_exit = True


def check_no_loop() -> None:
    """Refuse, with `RuntimeError`, to block the event loop that runs in this thread."""
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("an event loop runs here: serve on it with `async with Server(ws):`")


def serve(
    config: ServerConfig, sock: socket.socket, on_started: Callable[[], None] = lambda: None
) -> int:
    """Serve until a signal comes; returns the exit status."""
    server = _StandaloneServer(config, on_started)
    try:
        server.run(sockets=[sock])
    except SystemExit:
        if server.started:
            raise  # by a handler
    return 0 if server.started else 1
