"""Who looks after connections whose handlers are busy elsewhere: one thread of a process.

Rule 1: there is an attendant while there are connections, and he keeps none of them alive.
Rule 2: greenlets have one of their own for each hub, since theirs run in its thread alone.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

from ws_middleware.waiting import Waiting

__all__ = ["ROUND_TIME", "look_after"]

#: How often the attendant looks after each connection, in seconds.
ROUND_TIME = 0.5


class Attended(Protocol):
    """Be somebody to look after."""

    @property
    def is_over(self) -> bool:
        """Tell whether there is nothing to do any more."""

    def attend(self) -> None:
        """Do what is due, and wait for nothing."""


def look_after(one: Attended, waiting: Waiting) -> None:
    """Let the attendant of this process come by; `RuntimeError` where no thread is left for one."""
    # Nothing of an attendant survives a fork.
    key = (os.getpid(), threading.get_ident() if waiting.is_cooperative else None)
    _attendants.setdefault(key, _Attendant()).add(one, waiting)


class _Attendant:
    """Come by every now and then."""

    def __init__(self) -> None:
        self._attended: weakref.WeakSet[Attended] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._started = False

    def add(self, one: Attended, waiting: Waiting) -> None:
        with self._lock:
            self._attended.add(one)
            starts, self._started = not self._started, True
        if starts:
            try:
                waiting.spawn(lambda: self._work(waiting), "ws_middleware attendant")
            except BaseException:  # no more threads: whoever comes next tries again
                self._started = False
                raise

    def _work(self, waiting: Waiting) -> None:
        while self._has_work():
            waiting.make_event().wait(ROUND_TIME)
            with self._lock:
                attended = list(self._attended)
            for one in attended:
                one.attend()
                if one.is_over:
                    self._attended.discard(one)

    def _has_work(self) -> bool:
        with self._lock:
            self._started = bool(self._attended)
            return self._started


_attendants: dict[object, _Attendant] = {}
