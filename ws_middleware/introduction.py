"""Who the peer is, by its first message: asked behind the 101, before any handler.

A refusal, and silence, close with the code that scripts can read (4401, 4403, ...).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ws_middleware.admission import Admission
from ws_middleware.aio import AsyncConnection
from ws_middleware.asking import Ask, ask_on_loop, run_in_place
from ws_middleware.auth.first_message import FirstMessage
from ws_middleware.core.endpoint import UNAUTHORIZED
from ws_middleware.core.frames import truncate_reason
from ws_middleware.errors import HandshakeError
from ws_middleware.socket_connection import SocketConnection

__all__ = ["Introduction"]


class Introduction:
    """Wait for the first message of a connection, and have it checked."""

    def __init__(self, admission: Admission, first: FirstMessage) -> None:
        self._admission = admission
        self._first = first

    async def on_loop(self, connection: AsyncConnection) -> bool:
        """Hear the peer on the event loop; False where it was refused."""
        return await self._hear(connection, connection.recv, ask_on_loop)

    def in_place(self, connection: SocketConnection, ask: Ask) -> bool:
        """Hear the peer in the calling thread; False where it was refused."""

        async def receive(timeout: float) -> str | bytes:
            return connection.recv(timeout)

        return run_in_place(self._hear(connection, receive, ask))

    async def _hear(
        self,
        connection: AsyncConnection | SocketConnection,
        receive: Callable[[float], Awaitable[Any]],
        ask: Ask,
    ) -> bool:
        timeout = self._first.timeout
        try:
            message = await receive(timeout)
            admitted = await self._admission.by_message(self._first, message, ask)
        except TimeoutError:
            connection.start_closing(UNAUTHORIZED, f"no credentials came within {timeout:g} s")
            return False
        except HandshakeError as error:
            connection.start_closing(error.close_code, truncate_reason(error.reason))
            return False
        connection.identity = admitted.identity
        connection.renew(admitted.expires_at)
        return True
