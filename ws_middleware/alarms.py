"""Deadlines of many connections over few timers of their event loop.

uvloop takes 700 bytes for a timer, an alarm takes a tenth. What is due far ahead may ring a
little late, so that those who were set at about the same time ring together.
"""

from __future__ import annotations

import asyncio
import math
from typing import Protocol
from weakref import WeakKeyDictionary

__all__ = ["Alarms", "alarms_of"]

#: What is due in more than FAR seconds may ring up to GRAIN seconds late.
FAR = 2.0
GRAIN = 0.125


class Sleeper(Protocol):
    """Be somebody with an alarm."""

    def on_alarm(self, moment: float) -> None:
        """Be told that it is `moment`; another one than `Alarms.set` gave last is out of date."""


class Alarms:
    """Ring for many sleepers, each of whom takes back what he does not wait for any more."""

    def __init__(self) -> None:
        self._sleepers: dict[float, set[Sleeper]] = {}

    def set(self, loop: asyncio.AbstractEventLoop, sleeper: Sleeper, deadline: float) -> float:
        """Set an alarm; gives the moment at which it will ring."""
        moment = deadline
        if deadline > loop.time() + FAR:
            moment = math.ceil(deadline / GRAIN) * GRAIN
        sleepers = self._sleepers.get(moment)
        if sleepers is None:
            sleepers = self._sleepers[moment] = set()
            loop.call_at(moment, self._ring, loop, moment)
        sleepers.add(sleeper)
        return moment

    def cancel(self, sleeper: Sleeper, moment: float) -> None:
        """Take an alarm back."""
        if moment in self._sleepers:
            self._sleepers[moment].discard(sleeper)

    def _ring(self, loop: asyncio.AbstractEventLoop, moment: float) -> None:
        for sleeper in self._sleepers.pop(moment):
            loop.call_soon(sleeper.on_alarm, moment)


_alarms: WeakKeyDictionary[asyncio.AbstractEventLoop, Alarms] = WeakKeyDictionary()


def alarms_of(loop: asyncio.AbstractEventLoop) -> Alarms:
    """Give the alarms of an event loop."""
    if loop not in _alarms:
        _alarms[loop] = Alarms()
    return _alarms[loop]
