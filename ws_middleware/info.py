"""What every connection can tell of itself, blocking or asyncio.

Nothing here waits; everything is derived from the endpoint or was fixed by the handshake.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ws_middleware.core.endpoint import Endpoint, State
from ws_middleware.core.extensions import Agreement
from ws_middleware.core.frame_tap import FrameTap
from ws_middleware.core.handshake import ResponseHead
from ws_middleware.request import Address, Request

__all__ = ["ConnectionInfo", "to_deadline"]


class ConnectionInfo:
    """Tell about one connection."""

    __slots__ = (
        "_endpoint",
        "_expires_at",
        "agreements",
        "identity",
        "request",
        "response",
        "subprotocol",
        "tap",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        request: Request,
        subprotocol: str | None = None,
        agreements: Sequence[Agreement] = (),
        identity: Any = None,
    ) -> None:
        self._endpoint = endpoint
        self._expires_at: float | None = None
        #: The request that opened the connection.
        self.request: Request = request
        #: The head of the response that opened the connection; None for servers.
        self.response: ResponseHead | None = None
        #: What `recv_frame` takes from; None where frames are not observed.
        self.tap: FrameTap | None = None
        #: The subprotocol agreed on, None for none (RFC 6455 §1.9).
        self.subprotocol: str | None = subprotocol
        #: The extensions agreed on, in the order of their application.
        self.agreements: tuple[Agreement, ...] = tuple(agreements)
        #: Whom the authentication found the peer to be.
        self.identity: Any = identity

    def _find_tap(self) -> FrameTap:
        if self.tap is None:
            raise RuntimeError("frames are seen by connections opened with observe_frames=True")
        return self.tap

    @property
    def endpoint(self) -> Endpoint:
        """Give the endpoint, for those who drive connections by themselves."""
        return self._endpoint

    @property
    def extensions(self) -> tuple[str, ...]:
        """Give the extensions agreed on as they stand in the response."""
        return tuple(map(str, self.agreements))

    @property
    def remote_address(self) -> Address:
        """Give the peer's address, or what a proxy of `trusted_proxies` says that it is."""
        return self.request.remote_address

    @property
    def expires_at(self) -> float | None:
        """Give when the credentials expire, in seconds since the epoch; None for never."""
        return self._expires_at

    @property
    def state(self) -> State:
        """Give the state: OPEN, CLOSING or CLOSED."""
        return self._endpoint.state

    @property
    def close_code(self) -> int | None:
        """Give the close code received, 1005 or 1006 (§7.1.5); None while it is open."""
        return self._endpoint.close_code

    @property
    def close_reason(self) -> str | None:
        """Give the peer's close reason; None while the connection is open."""
        return self._endpoint.close_reason

    @property
    def latency(self) -> float | None:
        """Give how long the last answered ping took, in seconds."""
        return self._endpoint.latency

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.request.target!a} {self.state.value}>"


def to_deadline(expires_at: float | None, now: float) -> float | None:
    """Give a moment of the wall clock as one of the clock that says `now`."""
    return None if expires_at is None else now + expires_at - time.time()
