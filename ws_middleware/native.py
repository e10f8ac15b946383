"""The standard library's own threads, locks, sockets and selectors, whatever greenlets replaced.

gevent and eventlet patch the library for the whole process. What runs beside their hub, in a
real thread, needs what was there before. Rule: threads of this package begin here.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

__all__ = [
    "call_after_fork",
    "make_lock",
    "make_selector",
    "make_socket",
    "renew_after_fork",
    "share_logging",
    "start_named_thread",
    "start_thread",
]


def _original(module: str, name: str) -> Any:
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched(module):
        return gevent.get_original(module, name)
    eventlet = sys.modules.get("eventlet.patcher")
    # eventlet calls `_thread` by its older name.
    if eventlet is not None and eventlet.is_monkey_patched(module.lstrip("_")):
        return getattr(eventlet.original(module), name)
    return getattr(importlib.import_module(module), name)


_Object = TypeVar("_Object")
_renewals: weakref.WeakKeyDictionary[Any, Callable[[Any], object]] = weakref.WeakKeyDictionary()


def renew_after_fork(one: _Object, renew: Callable[[_Object], object]) -> None:
    """Renew an object in each child process, for as long as it is there.

    The threads that use it are the parent's, and its lock may be held by one of them.
    """
    _renewals[one] = renew


def call_after_fork(call: Callable[[], object]) -> None:
    """Call something in each child process, before anything else there; not every system forks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)


def _renew_all() -> None:
    for one, renew in list(_renewals.items()):
        renew(one)


call_after_fork(_renew_all)


def make_lock() -> AbstractContextManager[object]:
    """Make a lock between real threads, which signal handlers may take again."""
    lock: AbstractContextManager[object] = _original("_thread", "RLock")()
    return lock


def make_selector() -> Any:
    """Make a selector that blocks its thread, as an event loop beside a hub has to."""
    return _original("selectors", "DefaultSelector")()


def make_socket(number: int) -> Any:
    """Make a real socket of a file descriptor."""
    return _original("socket", "socket")(fileno=number)


def start_thread(work: Callable[[], object]) -> None:
    """Run `work` in a real thread, which does not keep the process alive."""
    with _shielded():
        _original("_thread", "start_new_thread")(work, ())


def start_named_thread(work: Callable[[], object], name: str) -> None:
    """Do the same in a greenlet where these have replaced threads; `RuntimeError` for no more."""
    with _shielded():
        threading.Thread(target=work, name=name, daemon=True).start()


@contextmanager
def _shielded() -> Iterator[None]:
    """Let threads that start in this block get none of the signals that end an Apache.

    A process of its prefork module ends inside of the signal's handler, in whichever thread that
    runs: two at once would free everything twice.
    """
    if getattr(sys.modules.get("apache"), "mpm_name", "") != "prefork":  # mod_wsgi's module
        yield
        return
    former = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH}
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def share_logging() -> None:
    """Let real threads and greenlets log at the same time; call it before the first such thread.

    gevent's and eventlet's locks never wake a greenlet that waited for a real thread to let go:
    one line that the two log at once would stop the hub for good.
    """
    if isinstance(threading.RLock(), type(make_lock())):
        return  # nothing is patched
    for logger in [logging.root, *logging.root.manager.loggerDict.values()]:
        for handler in getattr(logger, "handlers", ()):
            if handler.lock is not None:
                handler.lock = make_lock()
