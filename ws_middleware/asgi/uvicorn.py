"""The protocol class for uvicorn: `uvicorn --ws ws_middleware.asgi.uvicorn:WebSocketProtocol`.

uvicorn's HTTP protocols read a request, see that it means to open a WebSocket, and give its
transport to an object of this class. Rule: a client that answers a challenge does so on the same
TCP connection, which goes back to uvicorn's HTTP protocol for that.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from ws_middleware.asgi.handover import Handover, look_behind
from ws_middleware.asgi.handshake import Handshake
from ws_middleware.asgi.scopes import scope_of
from ws_middleware.asgi.types import Scope
from ws_middleware.asgi.uvicorn_options import options_of
from ws_middleware.core.handshake import RequestHead, encode_refusal
from ws_middleware.core.headers import field_values
from ws_middleware.errors import HandshakeError
from ws_middleware.request import Request
from ws_middleware.request_reader import parse_head

__all__ = ["WebSocketProtocol"]

#: How many challenges one TCP connection gets before it is closed: browsers may loop.
MAX_ATTEMPTS = 5


class WebSocketProtocol(Handshake):
    """Be one WebSocket connection of a uvicorn server, from its request to its end."""

    __slots__ = ("_app_state", "_begun", "_config", "_refusals")

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
        super().__init__(config.loaded_app, options_of(config), server_state, _loop)
        self._config = config
        self._app_state = {} if app_state is None else app_state
        self._refusals = refusals  # of earlier handshakes on this TCP connection
        self._begun = False

    # --- the request ---

    def data_received(self, data: bytes) -> None:
        """Take the request's head as uvicorn rebuilt it, and what comes before the answer."""
        if self._begun:
            super().data_received(data)
            return
        self._begun = True
        handover = look_behind(self.transport.get_protocol())
        # uvicorn sets the transport's protocol after this call: begin behind that.
        self._loop.call_soon(self._begin_rebuilt, data, handover)

    def _begin_rebuilt(self, data: bytes, handover: Handover) -> None:
        try:
            head = parse_head(data)
        except HandshakeError as error:
            head = RequestHead("GET", "/", "1.1", ())
            self.begin(head, refusal=error)
        else:
            self.begin(head, handover.early, refusal=handover.breach)

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
        super().begin(head, leftover, deadline=deadline, refusal=refusal)

    def _make_request(self, head: RequestHead) -> Request:
        return Request(
            head,
            remote_address=self.transport.get_extra_info("peername"),
            secure=self.transport.get_extra_info("sslcontext") is not None,
            root_path=self._config.root_path,
            scope=self._make_scope,
        )

    def _make_scope(self) -> Scope:
        version, server = self._config.asgi_version, self.transport.get_extra_info("sockname")
        return {
            **scope_of(self.request, server, version),
            "state": self._app_state.copy(),
            "extensions": self._scope_extensions(),
        }

    def _check_room(self) -> None:
        limit = self._config.limit_concurrency
        state = self._server_state
        if limit is not None and max(len(state.connections), len(state.tasks)) > limit:
            raise HandshakeError(
                503,
                f"there are limit_concurrency={limit} connections already",
                [("Retry-After", "5")],
            )

    # --- a challenge, and its answer ---

    def _send_refusal(self, error: HandshakeError) -> None:
        if self._may_try_again(error):
            self._await_next_request(encode_refusal(error, goes_on=True))
        else:
            super()._send_refusal(error)

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
