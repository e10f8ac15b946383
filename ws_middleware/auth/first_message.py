"""Authentication by the first message: the handshake passes, the handler has to wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ws_middleware.options import check_asked

__all__ = ["FirstMessage"]


class FirstMessage:
    """Let the peer prove who it is in its first message, within `timeout` seconds.

    `check(message, request)`, sync or async, gives the identity, or raises `Unauthorized` or
    `Forbidden`. Until then no handler sees anything; a refusal closes with 4401 or 4403.
    """

    blocking = False

    def __init__(self, check: Callable[..., Any], timeout: float = 10.0) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout={timeout!r} is not a positive number")
        check_asked(check, "check is a function of the message and the request")
        self.check = check
        self.timeout = timeout

    def __call__(self, request: Any) -> FirstMessage:
        """Put the question off: whoever returns this is asked again by the first message."""
        return self
