"""How long to wait before connecting again, and whether it is worth it: no I/O and no clock.

The first wait is a random part of `first` seconds, each further one is twice as long at most
(RFC 6455 §7.2.3). What a server asks for comes on top, up to an hour.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

from ws_middleware.core.frames import CloseCode
from ws_middleware.core.headers import field_values
from ws_middleware.errors import HandshakeError, HandshakeRefused

__all__ = ["Backoff", "asked_by_close", "asked_by_refusal", "is_worth_retrying"]

#: The longest time that a server can ask for, in seconds.
MAX_ASKED = 3600.0
#: What a server asks for that restarts, or that has too much to do, in seconds.
AFTER_RESTART = 5.0
AFTER_OVERLOAD = 15.0

#: The statuses beside 5xx that may be others the next time.
_PASSING = frozenset({0, 408, 425, 429})


class Backoff:
    """Give one delay after the other, in seconds; `random` gives numbers from 0 to 1.

    >>> backoff = Backoff(1, 60, lambda: 0.5)
    >>> [backoff.next_delay() for _ in range(4)], backoff.next_delay(asked=10)
    ([0.5, 1.0, 2.0, 4.0], 18.0)
    """

    def __init__(self, first: float, most: float, random: Callable[[], float]) -> None:
        if not 0 < first <= most:
            raise ValueError(f"delays from {first} to {most} s: they are positive, and increase")
        self._first = first
        self._most = most
        self._random = random
        self._ceiling = first

    def next_delay(self, asked: float = 0.0) -> float:
        """Give the delay before the next attempt; `asked` is what the server wants."""
        delay = self._ceiling * self._random()
        self._ceiling = min(self._most, self._ceiling * 2)
        return asked + delay

    def reset(self) -> None:
        """Begin anew, as a connection proved to be stable."""
        self._ceiling = self._first


def is_worth_retrying(error: Exception) -> bool:
    """Tell whether what failed may work the next time."""
    if isinstance(error, HandshakeRefused):
        return error.status in _PASSING or error.status >= 500
    # Whoever breaks the rules, or cannot prove who he is, will do so again.
    return isinstance(error, OSError) and not isinstance(error, ssl.SSLCertVerificationError)


def asked_by_refusal(error: Exception, now: float) -> float:
    """Read the Retry-After field of a refusal (RFC 9110 §10.2.3); `now` counts from 1970."""
    values = field_values(error.headers, "retry-after") if isinstance(error, HandshakeError) else []
    return min(max(_seconds(values[0], now), 0.0), MAX_ASKED) if values else 0.0


def _seconds(value: str, now: float) -> float:
    if value.isascii() and value.isdigit():
        return float(value[:10])
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now


def asked_by_close(code: int | None) -> float:
    """Tell what a close code asks for (the registry of RFC 6455 §11.7)."""
    if code == CloseCode.SERVICE_RESTART:
        return AFTER_RESTART
    return AFTER_OVERLOAD if code == CloseCode.TRY_AGAIN_LATER else 0.0
