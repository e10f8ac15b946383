"""Saying goodbye: no process ends without having told its peers 1001.

When a signal comes peers are told at once, and then whoever handled the signal before; so they
are when a worker of gunicorn's ends by itself. When the interpreter exits, they get a bounded
time to answer.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from ws_middleware.core.closing import SHUTDOWN
from ws_middleware.native import start_thread
from ws_middleware.waiting import Waiting
from ws_middleware.wsgi.parking import open_parking

__all__ = ["GRACE_TIME", "close_all", "tell_when", "watch", "watch_signal", "watch_worker"]

#: How long peers may take to say goodbye when the process ends, in seconds.
GRACE_TIME = 5.0

#: How often is looked whether a worker means to end, in seconds.
ROUND_TIME = 0.5
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
_former: dict[int, Any] = {}
_watches_exit = False
_watches_signals = False
_watched_worker: object = None


def close_all(
    code: int = SHUTDOWN.code, reason: str = SHUTDOWN.reason, grace: float = GRACE_TIME
) -> None:
    """Close every connection of this process, and wait for them up to `grace` seconds."""
    parking = open_parking()
    if parking is not None:
        parking.dismiss(lambda connection: connection.start_closing(code, reason), grace)
        parking.tell_all(lambda connection: connection.abort())


def _tell_all() -> None:
    parking = open_parking()
    if parking is not None:
        parking.tell_all(lambda connection: connection.start_closing(*SHUTDOWN))


def watch(*, signals: bool) -> None:
    """See to it that peers are told before this process ends.

    Signals are watched where this is called in the main thread, and where nobody ignores
    them; their handlers go on to be called.
    """
    global _watches_exit, _watches_signals
    if not _watches_exit:
        _watches_exit = True
        # The interpreter joins the threads of executors before `atexit`, and a worker's thread
        # that runs a handler would not end: where it can be, this comes before.
        getattr(threading, "_register_atexit", atexit.register)(_on_exit)
    _watches_signals = _watches_signals or signals
    for number in _SIGNALS:
        watch_signal(number)


def watch_signal(number: int) -> bool:
    """Watch one more signal, where that is allowed and possible; tells whether it is."""
    if not _watches_signals or threading.current_thread() is not threading.main_thread():
        return False
    _chain(number)
    return True


def watch_worker(waiting: Waiting) -> None:
    """Tell the peers as soon as gunicorn's worker means to end, where it waits for handlers.

    Such a worker runs out of requests, or its code has changed; no signal comes.
    """
    global _watched_worker
    handler = signal.getsignal(signal.SIGTERM)
    worker: Any = getattr(_former.get(signal.SIGTERM, handler), "__self__", None)
    if worker is not _watched_worker and hasattr(worker, "alive"):
        _watched_worker = worker
        waiting.spawn(lambda: tell_when(lambda: not worker.alive, waiting), "ws_middleware watch")


def tell_when(ends: Callable[[], object], waiting: Waiting) -> None:
    """Look now and then whether the process means to end, and tell the peers when it does."""
    while not ends():
        waiting.make_event().wait(ROUND_TIME)
    _tell_all()


def _chain(number: int) -> None:
    former = signal.getsignal(number)
    # None: a handler that is not Python's, and cannot be called.
    if former not in (signal.SIG_IGN, None, _on_signal):
        _former[number] = former
        signal.signal(number, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:
    former = _former[number]
    if former is signal.SIG_DFL:
        # It would end the process at once: that comes after the goodbyes, and not in here,
        # since this thread may hold any lock just now.
        signal.signal(number, signal.SIG_DFL)
        start_thread(lambda: _leave(number))
        return
    _tell_all()
    former(number, frame)


def _leave(number: int) -> None:
    close_all()
    os.kill(os.getpid(), number)


def _on_exit() -> None:
    close_all()
    if (parking := open_parking()) is not None:
        parking.stop()
