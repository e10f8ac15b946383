"""The protocol class for uvicorn: `uvicorn --ws ws_middleware.asgi.uvicorn:WebSocketProtocol`.

It does our handshake on the raw transport. Our middleware finds it in the scope and takes
the connection; any other application gets ordinary ASGI events over it.
Rule: nothing is written before the handshake is decided, and it is decided once.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator
from http import HTTPStatus
from typing import Any, Self, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from ws_middleware.aio import AsyncConnection
from ws_middleware.asgi.handover import Handover, look_behind
from ws_middleware.asgi.lingering import LingeringClose
from ws_middleware.asgi.scopes import scope_of
from ws_middleware.asgi.session import ClientDisconnected, Session
from ws_middleware.asgi.takeover import take_over
from ws_middleware.asgi.types import Scope
from ws_middleware.core.endpoint import Endpoint, State
from ws_middleware.core.extensions import accept_offers
from ws_middleware.core.frames import CloseCode
from ws_middleware.core.handshake import (
    RequestHead,
    check_request,
    encode_refusal,
    encode_response,
    offered_extensions,
    upgrade_fields,
)
from ws_middleware.core.headers import field_values
from ws_middleware.driver import BLOCK, StreamDriver
from ws_middleware.errors import ConnectionClosed, HandshakeError, UnsupportedError
from ws_middleware.gate import Place
from ws_middleware.logs import connection_finished, handshake_refused
from ws_middleware.options import Options
from ws_middleware.request import Request
from ws_middleware.request_reader import parse_head
from ws_middleware.socket_connection import SocketConnection
from ws_middleware.upgrade import Upgrade

__all__ = ["EXTENSION", "WebSocketProtocol", "options_of"]

#: The entry of `scope["extensions"]` under which our middleware finds the handshake.
EXTENSION = "ws_middleware"

logger: logging.Logger = logging.getLogger("ws_middleware")

#: How many challenges one TCP connection gets before it is closed: browsers may loop.
MAX_ATTEMPTS = 5

_STOPPING = "the server is shutting down"


class WebSocketProtocol(asyncio.Protocol):
    """Be one WebSocket connection of a uvicorn server, from its request to its end."""

    __slots__ = (
        "_app_state",
        "_begun",
        "_config",
        "_connection",
        "_early",
        "_lingering",
        "_loop",
        "_opened_at",
        "_options",
        "_outcome",
        "_place",
        "_prepared",
        "_refusals",
        "_server_state",
        "_session",
        "_stopping",
        "_task",
        "_timer",
        "is_decided",
        "request",
        "transport",
    )

    request: Request
    transport: asyncio.Transport

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any] | None = None,  # uvicorn's keyword arguments
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        refusals: int = 0,
    ) -> None:
        if not config.loaded:
            config.load()
        self._config = config
        self._server_state = server_state
        self._app_state = {} if app_state is None else app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._options = options_of(config)
        self._refusals = refusals  # of earlier handshakes on this TCP connection
        self._begun = False
        self._stopping = False
        self._early = b""  # what the client sends before it was answered
        #: Whether the handshake was accepted or refused, or the peer is gone.
        self.is_decided: bool = False
        self._outcome: asyncio.Future[None] | None = None  # for those who wait for that
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._lingering: LingeringClose | None = None
        self._connection: AsyncConnection | SocketConnection | None = None
        self._place: Place | None = None
        self._opened_at = 0.0
        self._session: Session | None = None
        #: What `direct` has given before the handshake was accepted.
        self._prepared: tuple[StreamDriver, AsyncConnection] | None = None

    def __deepcopy__(self, memo: object) -> Self:
        """Stay the same connection in a copied scope."""
        return self

    # --- what uvicorn and the transport call ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not one by class
        self._server_state.connections.add(self)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Take the request's head as uvicorn rebuilt it, and what comes before the answer."""
        if not self._begun:
            self._begun = True
            handover = look_behind(self.transport.get_protocol())
            # uvicorn sets the transport's protocol after this call: begin behind that.
            self._loop.call_soon(self._begin_rebuilt, data, handover)
            return
        self._early += data
        if len(self._early) > BLOCK:
            self.transport.pause_reading()

    def _begin_rebuilt(self, data: bytes, handover: Handover) -> None:
        try:
            head = parse_head(data)
        except HandshakeError as error:
            head = RequestHead("GET", "/", "1.1", ())
            self.begin(head, refusal=error)
        else:
            self.begin(head, handover.early, refusal=handover.breach)

    def eof_received(self) -> None:
        """Let the transport close: nobody waits for an answer."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; whoever works for it is told."""
        self._server_state.connections.discard(self)
        # The timer goes on: an application that does not heed it is cancelled then.
        self._note_outcome()
        if self._place is not None:
            self._place.leave()
        if self._connection is None and self._prepared is not None:
            driver, self._prepared = self._prepared[0], None
            driver.connection_lost(exc)
        if self._connection is not None:
            connection_finished(
                self._connection,
                self._connection.endpoint,
                self._loop.time() - self._opened_at,
            )

    def shutdown(self) -> None:
        """Say goodbye: the server stops."""
        self._stopping = True
        if self._connection is not None:
            if self._connection.state is State.OPEN:
                self._connection.start_closing(self._farewell, _STOPPING)
        elif self._lingering is not None:
            self._lingering.shutdown()
        elif self._task is not None:
            self.refuse(HandshakeError(503, _STOPPING))

    @property
    def _farewell(self) -> CloseCode:
        # Peers of an application's own endpoints hear what uvicorn has always told them.
        is_apps = self._session is not None and self._session.has_accepted
        return CloseCode.SERVICE_RESTART if is_apps else CloseCode.GOING_AWAY

    def abort(self) -> None:
        """Drop the connection: the server does not wait any longer."""
        if isinstance(self._connection, SocketConnection):
            self._connection.abort()
        else:
            self.transport.abort()

    # --- the handshake ---

    def begin(
        self,
        head: RequestHead,
        leftover: bytes = b"",
        *,
        deadline: float | None = None,
        refusal: HandshakeError | None = None,
    ) -> None:
        """Answer a request: check it, then ask the application."""
        self._begun = True
        self._early = leftover + self._early
        self.request = self._make_request(head)
        try:
            if refusal is not None:
                raise refusal
            if self._stopping:
                raise HandshakeError(503, _STOPPING)
            self._check_capacity()
            work = self._find_work(deadline)
        except HandshakeError as error:
            self.refuse(error)
            return
        self._task = self._loop.create_task(work)
        self._server_state.tasks.add(self._task)
        self._task.add_done_callback(self._forget_task)

    def _make_request(self, head: RequestHead) -> Request:
        return Request(
            head,
            remote_address=self.transport.get_extra_info("peername"),
            secure=self.transport.get_extra_info("sslcontext") is not None,
            root_path=self._config.root_path,
            scope=self._make_scope,
        )

    def _find_work(self, deadline: float | None) -> Coroutine[Any, Any, None]:
        """Ask our middleware directly where it is the whole app, or let the app run."""
        answer = getattr(self._config.loaded_app, "answer_handshake", None)
        work: Coroutine[Any, Any, None] | None = None if answer is None else answer(self)
        if work is None:
            check_request(self.request.head)
            self._start_timer(deadline)
            work = self._run_app()
        elif not self.is_decided:
            self._start_timer(deadline)  # somebody is asked first
        return work

    def _start_timer(self, deadline: float | None) -> None:
        if deadline is None and self._options.open_timeout is not None:
            deadline = self._loop.time() + self._options.open_timeout
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._on_open_timeout)

    def _forget_task(self, task: asyncio.Task[None]) -> None:
        self._server_state.tasks.discard(task)
        self._cancel_timer()
        if not task.cancelled():
            task.exception()  # has been told already: it ends the loop

    def _check_capacity(self) -> None:
        limit = self._config.limit_concurrency
        state = self._server_state
        if limit is not None and max(len(state.connections), len(state.tasks)) > limit:
            raise HandshakeError(
                503,
                f"there are limit_concurrency={limit} connections already",
                [("Retry-After", "5")],
            )

    def _make_scope(self) -> Scope:
        version, server = self._config.asgi_version, self.transport.get_extra_info("sockname")
        return {
            **scope_of(self.request, server, version),
            "state": self._app_state.copy(),
            "extensions": self._scope_extensions(),
        }

    def _scope_extensions(self) -> dict[str, Any]:
        return {"websocket.http.response": {}, EXTENSION: {"handshake": self}}

    async def _run_app(self) -> None:
        session = self._session = Session(self)
        try:
            scope = cast(Scope, self.request.scope)
            await self._config.loaded_app(scope, session.receive, session.send)
        except Exception as error:
            if not self._is_end(error):
                logger.exception("the application failed for %a", self.request.path)
            session.finish(error)
        except BaseException as error:
            session.finish(error)
            raise
        else:
            session.finish(None)

    def _is_end(self, error: Exception) -> bool:
        """Tell whether an exception only says that the peer left while the app was at work."""
        connection = self._connection
        ended = connection is not None and connection.state is not State.OPEN
        return ended and isinstance(error, (ClientDisconnected, ConnectionClosed))

    def _on_open_timeout(self) -> None:
        limit = self._options.open_timeout
        self.refuse(
            HandshakeError(503, f"the application did not answer within open_timeout={limit} s")
        )
        if self._task is not None:
            self._task.cancel()

    async def wait_decided(self) -> None:
        """Wait until the handshake is decided."""
        await asyncio.shield(self._expect_outcome())

    def _expect_outcome(self) -> asyncio.Future[None]:
        if self._outcome is None:
            self._outcome = self._loop.create_future()
            if self.is_decided:
                self._outcome.set_result(None)
        return self._outcome

    def _note_outcome(self) -> None:
        self.is_decided = True
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(None)

    @contextlib.contextmanager
    def given_up_when_over(self) -> Iterator[None]:
        """Cancel the block's task where the peer leaves meanwhile, or the server stops."""
        task = asyncio.current_task()
        assert task is not None

        def give_up(_: asyncio.Future[None]) -> None:
            task.cancel()

        outcome = self._expect_outcome()
        outcome.add_done_callback(give_up)
        try:
            yield
        finally:
            outcome.remove_done_callback(give_up)

    def _decide(self) -> None:
        self._note_outcome()
        self._cancel_timer()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def accept(
        self, upgrade: Upgrade, options: Options, *, observe_control: bool = False
    ) -> AsyncConnection:
        """Send the 101 and give the open connection."""
        return self._open(upgrade, upgrade.fields, options, observe_control)[1]

    def accept_blocking(self, upgrade: Upgrade, options: Options) -> SocketConnection | None:
        """Take the socket from the loop, send the 101 over it, and give the open connection.

        None where it cannot be taken, and nothing has happened.
        """
        if self._prepared is not None:
            return None
        _ = self.request.scope  # the transport can be asked for the last time
        driver = take_over(
            self.transport,
            functools.partial(self._make_endpoint, upgrade, options),
            options,
            preface=self._encode_acceptance(upgrade.fields),
            leftover=self._early,
            on_over=functools.partial(self._on_over, upgrade),
        )
        if driver is None:
            return None
        connection = SocketConnection(driver, self.request, upgrade.subprotocol, upgrade.agreements)
        self._note_open(upgrade, connection)
        # Whatever is said to it from elsewhere waits for nothing.
        upgrade.opened(connection, lambda call: call())
        return connection

    def _on_over(self, upgrade: Upgrade) -> None:
        upgrade.ended()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self.connection_lost, None)

    def accept_for_app(
        self, subprotocol: str | None, fields: Iterable[tuple[str, str]]
    ) -> tuple[StreamDriver, AsyncConnection]:
        """Accept with what an application says in its `websocket.accept`."""
        upgrade = self._upgrade_for_app(subprotocol)
        return self._open(upgrade, [*upgrade.fields, *fields], self._options, False)

    def _upgrade_for_app(self, subprotocol: str | None) -> Upgrade:
        head = self.request.head
        agreements = accept_offers(offered_extensions(head.fields), self._options.extensions)
        fields = upgrade_fields(check_request(head), subprotocol, agreements)
        return Upgrade(subprotocol, agreements, fields)

    def _open(
        self,
        upgrade: Upgrade,
        fields: Iterable[tuple[str, str]],
        options: Options,
        observe_control: bool,
    ) -> tuple[StreamDriver, AsyncConnection]:
        if self.is_decided:
            raise HandshakeError(500, "the handshake is over: the peer is gone")
        respond = self._response_of(fields)
        driver, connection = self._prepared or self._prepare(upgrade, options, observe_control)
        connection.subprotocol = upgrade.subprotocol
        early = self._early
        self._note_open(upgrade, connection)
        respond()
        driver.start(early)
        if self._prepared is not None:
            driver.resume_writing()
        upgrade.opened(connection, self._loop.call_soon_threadsafe)
        return driver, connection

    def _note_open(self, upgrade: Upgrade, connection: AsyncConnection | SocketConnection) -> None:
        self._connection = connection
        self._place = upgrade.place
        self._opened_at = self._loop.time()
        self._early = b""
        self._decide()

    def _response_of(self, fields: Iterable[tuple[str, str]]) -> Callable[[], None]:
        """Make the response that accepts, and give what sends it; `ValueError` for a bad field."""
        return functools.partial(self.transport.write, self._encode_acceptance(fields))

    def _encode_acceptance(self, fields: Iterable[tuple[str, str]]) -> bytes:
        return encode_response(101, [*self._default_fields(), *fields])

    def _prepare(
        self, upgrade: Upgrade, options: Options, observe_control: bool
    ) -> tuple[StreamDriver, AsyncConnection]:
        endpoint = self._make_endpoint(upgrade, options, self._loop.time(), observe_control)
        driver = StreamDriver(endpoint, self.transport, options, self.connection_lost)
        return driver, AsyncConnection(
            driver, self.request, upgrade.subprotocol, upgrade.agreements
        )

    def _make_endpoint(
        self, upgrade: Upgrade, options: Options, now: float, observe_control: bool = False
    ) -> Endpoint:
        return Endpoint(
            "server",
            options,
            tuple(agreement.activate("server") for agreement in upgrade.agreements),
            now=now,
            observe_control=observe_control,
        )

    def direct(self) -> AsyncConnection:
        """Give the connection past the application's events; see `ws_middleware.direct`."""
        if isinstance(self._connection, SocketConnection):
            raise UnsupportedError("this connection is with its `def` handler, in another thread")
        if self._session is not None:
            self._session.detach()
        if self._connection is not None:
            return self._connection
        if self._prepared is None:
            self._prepared = self._prepare(self._upgrade_for_app(None), self._options, False)
            self._prepared[0].pause_writing()  # until the handshake is accepted
        return self._prepared[1]

    def refuse(self, error: HandshakeError) -> None:
        """Answer with the HTTP response that refuses the handshake."""
        if self.is_decided:
            return
        handshake_refused(self.request.remote_address, self.request.target, error)
        if self._may_try_again(error):
            self._await_next_request(encode_refusal(error, goes_on=True))
        else:
            self._send_refusal(error)

    def _send_refusal(self, error: HandshakeError) -> None:
        self._send_last(encode_refusal(error, self.request.method))

    def _may_try_again(self, error: HandshakeError) -> bool:
        """Tell whether the peer may answer a challenge on the same TCP connection."""
        if error.status != HTTPStatus.UNAUTHORIZED or self._stopping:
            return False
        tokens = ",".join(field_values(self.request.head.fields, "connection")).lower().split(",")
        return self._refusals + 1 < MAX_ATTEMPTS and "close" not in map(str.strip, tokens)

    def _await_next_request(self, response: bytes) -> None:
        """Answer, and give the transport back to uvicorn's HTTP protocol."""
        self._decide()
        self._server_state.connections.discard(self)
        self.transport.write(response)
        make: Callable[..., Any] = self._config.http_protocol_class
        http = make(config=self._config, server_state=self._server_state, app_state=self._app_state)
        # Some browsers answer for ever: whoever comes next knows how often that was.
        http.ws_protocol_class = functools.partial(type(self), refusals=self._refusals + 1)
        self.transport.set_protocol(http)
        http.connection_made(self.transport)
        self.transport.resume_reading()
        early, self._early = self._early, b""
        if early:
            http.data_received(early)

    def deny(
        self, status: int, fields: Iterable[tuple[str, str]], body: bytes, *, more: bool
    ) -> None:
        """Answer with an application's own response; its end is the end of the stream."""
        if self._lingering is not None:
            self._lingering.send(body, last=not more)
        if self.is_decided:
            return
        reason = HandshakeError(status, "denied by the application")
        handshake_refused(self.request.remote_address, self.request.target, reason)
        kept = [field for field in fields if field[0].lower() not in _HOP_BY_HOP]
        if not more:
            kept.append(("Content-Length", str(len(body))))
        kept.append(("Connection", "close"))
        self._send_denial(status, kept, body, last=not more)

    def _send_denial(
        self, status: int, fields: list[tuple[str, str]], body: bytes, *, last: bool
    ) -> None:
        fields = [*self._default_fields(), *fields]
        self._send_last(encode_response(status, fields, body), last=last)

    def _send_last(self, response: bytes, *, last: bool = True) -> None:
        self._decide()
        self._lingering = LingeringClose(
            self.transport, self._options.close_timeout, self.connection_lost
        )
        self._lingering.send(response, last=last)

    def _default_fields(self) -> list[tuple[str, str]]:
        return [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in self._server_state.default_headers
        ]


_HOP_BY_HOP = frozenset({"connection", "content-length", "transfer-encoding", "upgrade"})


def options_of(config: Config) -> Options:
    """Give the options of our own server, or what uvicorn's settings say of WebSockets."""
    own = getattr(config, "options", None)
    if isinstance(own, Options):
        return own
    return _options_for(
        config.ws_max_size,
        config.ws_ping_interval or None,
        config.ws_ping_timeout or None,
        bool(config.ws_per_message_deflate),
    )


@functools.lru_cache(maxsize=8)  # making them anew for each connection would take a while
def _options_for(
    max_size: int, ping_interval: float | None, ping_timeout: float | None, compression: bool
) -> Options:
    options = Options(
        max_message_size=max_size,
        max_fragments=max(65_536, max_size // 64),  # uvicorn itself has no limit
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        origins="*",  # a policy is the application's here
    )
    return options if compression else dataclasses.replace(options, extensions=())
