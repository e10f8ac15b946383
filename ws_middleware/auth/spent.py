"""What may be used once: a bounded memory of what was, until it expires.

Whatever is forgotten early counts as expired from then on, so nothing can be used twice.
"""

from __future__ import annotations

import abc
import heapq
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from ws_middleware.native import make_lock, renew_after_fork

__all__ = ["Spend", "Spent"]


class Spend(Protocol):
    """Be a memory of what was used, such as a `Spent`, or a function of yours.

    Called with a key and when it expires, in seconds since the epoch, it gives True for the
    first use, False for another one, and None when that is forgotten; at once or as an
    awaitable. One in a database that all processes ask keeps each key from being used once
    in each process; with Redis it is a SET with NX.
    """

    @abc.abstractmethod
    def __call__(self, key: str, expires: float, /) -> bool | Awaitable[bool | None] | None:
        """Use a key."""


class Spent:
    """Remember keys in this process, at most `capacity` of them (some 200 bytes each).

    >>> spend = Spent(clock=lambda: 0.0)
    >>> spend("a", 60.0), spend("a", 60.0)
    (True, False)
    """

    #: It answers at once.
    blocking = False

    def __init__(self, capacity: int = 65_536, *, clock: Callable[[], float] = time.time) -> None:
        if capacity < 1:
            raise ValueError(f"capacity={capacity} leaves no room for a single key")
        self._capacity = capacity
        self._clock = clock
        self._keys: set[str] = set()
        self._heap: list[tuple[float, str]] = []
        #: What expires until then may have been forgotten.
        self._forgotten = float("-inf")
        self._begin_anew()
        renew_after_fork(self, Spent._begin_anew)

    def _begin_anew(self) -> None:
        """Have a lock that nobody holds: another thread may have, in the moment of a fork."""
        self._lock = make_lock()

    def __len__(self) -> int:
        return len(self._keys)

    def __call__(self, key: str, expires: float) -> bool | None:
        """Use a key: True the first time, False from then on, None when that is forgotten."""
        with self._lock:
            if key in self._keys:
                return False
            if expires <= self._forgotten:
                return None
            self._keys.add(key)
            heapq.heappush(self._heap, (expires, key))
            self._forget()
            return True

    def _forget(self) -> None:
        now = self._clock()
        while self._heap and (self._heap[0][0] <= now or len(self._heap) > self._capacity):
            self._forgotten, key = heapq.heappop(self._heap)
            self._keys.discard(key)
