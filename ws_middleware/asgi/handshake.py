"""One opening handshake on a transport, and what comes of it.

Our middleware finds it in the scope and takes the connection; any other application gets
ordinary ASGI events over it. Rule 1: nothing is written before the handshake is decided, and it
is decided once. Rule 2: how a server reads a request, and refuses one, is a subclass's business.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import functools
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from uvicorn.server import ServerState

from ws_middleware.aio import AsyncConnection
from ws_middleware.asgi.pending import PendingRequest
from ws_middleware.asgi.session import Session
from ws_middleware.asgi.takeover import take_over
from ws_middleware.asgi.types import ASGIApp
from ws_middleware.core.closing import SHUTDOWN, State
from ws_middleware.core.extensions import accept_offers
from ws_middleware.core.frames import CloseCode
from ws_middleware.core.handshake import (
    RequestHead,
    check_request,
    encode_response,
    offered_extensions,
    upgrade_fields,
)
from ws_middleware.core.headers import field_values
from ws_middleware.driver import StreamDriver
from ws_middleware.errors import HandshakeError, UnsupportedError
from ws_middleware.gate import Place
from ws_middleware.logs import connection_finished
from ws_middleware.options import Options
from ws_middleware.request import Request
from ws_middleware.socket_connection import SocketConnection
from ws_middleware.upgrade import Upgrade

__all__ = ["EXTENSION", "Handshake"]

#: The entry of `scope["extensions"]` under which our middleware finds the handshake.
EXTENSION = "ws_middleware"


class Handshake(PendingRequest):
    """Answer one opening handshake, and tell its server when the connection ends.

    `server_state` is the server's as uvicorn keeps it: open connections, tasks, default fields.
    """

    __slots__ = (
        "_app",
        "_connection",
        "_opened_at",
        "_place",
        "_prepared",
        "_session",
        "_stopping",
        "_task",
        "_timer",
    )

    def __init__(
        self,
        app: ASGIApp,
        options: Options,
        server_state: ServerState,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(options, server_state, loop)
        self._app = app
        self._stopping = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._connection: AsyncConnection | SocketConnection | None = None
        self._place: Place | None = None
        self._opened_at = 0.0
        self._session: Session | None = None
        #: What `direct` has given before the handshake was accepted.
        self._prepared: tuple[StreamDriver, AsyncConnection] | None = None

    # --- what the server and the transport call ---

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; whoever works for it is told."""
        # The timer goes on: an application that does not heed it is cancelled then.
        super().connection_lost(exc)
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
                self._connection.start_closing(self._farewell, SHUTDOWN.reason)
        elif self._lingering is not None:
            self._lingering.shutdown()
        elif self._task is not None:
            self.refuse(HandshakeError(503, SHUTDOWN.reason))

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

    # --- from the request to the answer ---

    def begin(
        self,
        head: RequestHead,
        leftover: bytes = b"",
        *,
        deadline: float | None = None,
        refusal: HandshakeError | None = None,
    ) -> None:
        """Answer a request: check it, then ask the application."""
        self._early = leftover + self._early
        self.request: Request = self._make_request(head)
        try:
            if refusal is not None:
                raise refusal
            if self._stopping:
                raise HandshakeError(503, SHUTDOWN.reason)
            self._check_room()
            work = self._find_work(deadline)
        except HandshakeError as error:
            self.refuse(error)
            return
        self._task = self._loop.create_task(work)
        self._server_state.tasks.add(self._task)
        self._task.add_done_callback(self._forget_task)

    @abc.abstractmethod
    def _make_request(self, head: RequestHead) -> Request:
        """Make the request of its head and of what the server knows of the peer."""

    def _check_room(self) -> None:
        """Refuse what the server has no room for, where it has not counted already."""

    def _find_work(self, deadline: float | None) -> Coroutine[Any, Any, None]:
        """Ask our middleware directly where it is the whole app, or let the app run."""
        answer = getattr(self._app, "answer_handshake", None)
        work: Coroutine[Any, Any, None] | None = None if answer is None else answer(self)
        if work is None:
            check_request(self.request.head)
            self._start_timer(deadline)
            self._session = Session(self)
            work = self._session.run(self._app)
        elif not self.is_decided:
            self._start_timer(deadline)  # somebody is asked first
        return work

    def _forget_task(self, task: asyncio.Task[None]) -> None:
        self._server_state.tasks.discard(task)
        self._cancel_timer()
        if not task.cancelled():
            task.exception()  # has been told already: it ends the loop

    def _start_timer(self, deadline: float | None) -> None:
        if deadline is None and self._options.open_timeout is not None:
            deadline = self._loop.time() + self._options.open_timeout
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._on_open_timeout)

    def _on_open_timeout(self) -> None:
        limit = self._options.open_timeout
        self.refuse(
            HandshakeError(503, f"the application did not answer within open_timeout={limit} s")
        )
        if self._task is not None:
            self._task.cancel()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _scope_extensions(self) -> dict[str, Any]:
        return {"websocket.http.response": {}, EXTENSION: {"handshake": self}}

    def _decide(self) -> None:
        super()._decide()
        self._cancel_timer()

    # --- accepting ---

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
            functools.partial(upgrade.make_endpoint, options),
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
        (key,) = field_values(head.fields, "sec-websocket-key")  # all was checked before
        fields = upgrade_fields(key, subprotocol, agreements)
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
        endpoint = upgrade.make_endpoint(
            options, self._loop.time(), observe_control=observe_control
        )
        driver = StreamDriver(endpoint, self.transport, options, self.connection_lost)
        return driver, AsyncConnection(
            driver, self.request, upgrade.subprotocol, upgrade.agreements
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

    @property
    def is_over(self) -> bool:
        """Tell whether there is no connection any more, nor will there be one."""
        if self._connection is None:
            return self.is_decided
        return self._connection.state is not State.OPEN
