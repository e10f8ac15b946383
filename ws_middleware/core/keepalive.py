"""When to ask a silent peer for a sign of life, and when to give it up. Times only.

Any byte received is a sign of life; a ping is due after `interval` seconds without one, and
the peer is lost when `timeout` further seconds bring none.
"""

from __future__ import annotations

__all__ = ["Keepalive"]


class Keepalive:
    """Follow the silence of one peer; `interval` None never pings, `timeout` None waits on."""

    __slots__ = ("_asked_at", "_heard_at", "_interval", "_timeout")

    def __init__(self, interval: float | None, timeout: float | None, now: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self._heard_at = now
        self._asked_at: float | None = None

    def heard(self, now: float) -> None:
        """Note a sign of life."""
        self._heard_at = now
        self._asked_at = None

    def asked(self, now: float) -> None:
        """Note that the peer was asked, or would have been if it took anything."""
        self._asked_at = now

    def next_deadline(self) -> float | None:
        """Tell when to look again."""
        if self._interval is None:
            return None
        if self._asked_at is None:
            return self._heard_at + self._interval
        return self._asked_at + (self._interval if self._timeout is None else self._timeout)

    def is_due(self, now: float) -> bool:
        """Tell whether the peer should be asked."""
        deadline = self.next_deadline()
        asking = self._asked_at is None or self._timeout is None
        return asking and deadline is not None and now >= deadline

    def is_lost(self, now: float) -> bool:
        """Tell whether the peer was asked and stayed silent."""
        if self._asked_at is None or self._timeout is None:
            return False
        return now >= self._asked_at + self._timeout
