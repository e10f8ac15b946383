"""How often something may happen for each key, such as an address, in bounded memory.

Rule 1: times come in as `now`. Rule 2: a key costs one number, the time at which all it took is
made up for (a token bucket, seen from its other side). Rule 3: of too many keys the one that
took nothing for longest is forgotten.
"""

from __future__ import annotations

from collections.abc import Hashable

__all__ = ["Throttle"]


class Throttle:
    """Let each key take `rate` tokens per second, and `burst` of them at once.

    >>> throttle = Throttle()
    >>> [throttle.take("a", 0.0, rate=0.5, burst=2) for _ in range(3)]
    [0.0, 0.0, 2.0]
    """

    def __init__(self, max_keys: int = 10_000) -> None:
        self._max_keys = max_keys
        self._settled: dict[Hashable, float] = {}  # in the order of their last use

    def wait(self, key: Hashable, now: float, *, rate: float, burst: float) -> float:
        """Tell how many seconds it takes until there is a token; 0 where there is one."""
        debt = self._settled.get(key, now) - now
        return max(0.0, debt - (burst - 1) / rate)

    def take(self, key: Hashable, now: float, *, rate: float, burst: float) -> float:
        """Take a token where there is one; gives what `wait` does."""
        pause = self.wait(key, now, rate=rate, burst=burst)
        if not pause:
            settled = max(self._settled.pop(key, now), now)
            self._settled[key] = settled + 1 / rate
            if len(self._settled) > self._max_keys:
                del self._settled[next(iter(self._settled))]
        return pause

    def __len__(self) -> int:
        """Count the keys that are remembered."""
        return len(self._settled)
