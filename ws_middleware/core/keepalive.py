"""When to ask a silent peer for a sign of life, and when to give it up. Times only.

Any byte received is a sign of life; a ping is due after `interval` seconds without one, and
the peer is lost when `timeout` further seconds bring none.
"""

from __future__ import annotations

from math import inf

__all__ = ["Keepalive"]

_NEVER = -inf


class Keepalive:
    """Follow the silence of one peer; `interval` None never pings, `timeout` None waits on.

    Whoever hears of the peer says so before anything is asked.
    """

    __slots__ = ("_asked_at", "_heard_at", "_interval", "_timeout")

    def __init__(self, interval: float | None, timeout: float | None, now: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self._heard_at = now
        self._asked_at = _NEVER  # what came before the last sign of life was answered by it

    def heard(self, at: float) -> None:
        """Note a sign of life; the last one counts."""
        self._heard_at = max(self._heard_at, at)

    def asked(self, now: float) -> None:
        """Note that the peer was asked, or would have been if it took anything."""
        self._asked_at = now

    def next_deadline(self) -> float | None:
        """Tell when to look again."""
        if self._interval is None:
            return None
        if not self._is_waiting:
            return self._heard_at + self._interval
        return self._asked_at + (self._interval if self._timeout is None else self._timeout)

    def is_due(self, now: float) -> bool:
        """Tell whether the peer should be asked."""
        deadline = self.next_deadline()
        asking = not self._is_waiting or self._timeout is None
        return asking and deadline is not None and now >= deadline

    def is_lost(self, now: float) -> bool:
        """Tell whether the peer was asked and stayed silent."""
        if not self._is_waiting or self._timeout is None:
            return False
        return now >= self._asked_at + self._timeout

    @property
    def _is_waiting(self) -> bool:
        """Tell whether the peer was asked and has been silent since."""
        return self._asked_at > self._heard_at
