"""How a thread or a greenlet waits: for a socket, and for another one's word.

Rule 1: nothing else in this package blocks. Rule 2: a socket of gevent or eventlet gets its
own way of waiting, whether anything was patched or not. Times are durations in seconds.
"""

from __future__ import annotations

import importlib
import select
import selectors
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from ws_middleware.native import start_named_thread

__all__ = ["Event", "Interest", "Spawner", "Waiting", "waiting_for", "waiting_here"]


class Interest(NamedTuple):
    """Say what is waited for at a socket."""

    sock: socket.socket
    read: bool
    write: bool


class Event(Protocol):
    """Be something one can wait for, once."""

    def set(self) -> object:
        """Let those who wait go on."""

    def wait(self, timeout: float | None = None) -> object:
        """Wait for it."""


class Waiting(Protocol):
    """Be one way of waiting."""

    #: Whether others run on while one waits, in the same thread.
    is_cooperative: bool

    def wait_for(self, *interests: Interest, timeout: float | None) -> None:
        """Wait until one of the sockets can be read or written as wanted, or has failed."""

    def make_event(self) -> Event:
        """Make an event that waits in this way."""

    def identify(self) -> object:
        """Tell the caller from others that may run meanwhile."""

    def spawn(self, work: Callable[[], None], name: str) -> None:
        """Run `work` beside the caller, until it returns or the process ends."""

    def spawner(self) -> Spawner:
        """Give what runs work beside the caller, when any other thread asks for it later."""


#: What runs work somewhere else.
Spawner = Callable[[Callable[[], None]], object]


class ThreadWaiting:
    """Wait as a thread does."""

    is_cooperative = False

    def wait_for(self, *interests: Interest, timeout: float | None) -> None:
        """Wait in the kernel."""
        if _poll is not None:
            _wait_in_poll(_poll(), interests, timeout)
            return
        with selectors.DefaultSelector() as selector:
            for interest in interests:
                selector.register(interest.sock, _select_events(interest))
            selector.select(timeout)

    def make_event(self) -> Event:
        """Make an event for threads."""
        return threading.Event()

    def identify(self) -> object:
        """Give the thread's number."""
        return threading.get_ident()

    def spawn(self, work: Callable[[], None], name: str) -> None:
        """Run `work` in a thread that does not keep the process alive."""
        start_named_thread(work, name)

    def spawner(self) -> Spawner:
        """Run work in a thread: it need not be a certain one."""
        return lambda work: self.spawn(work, "ws_middleware helper")


# Where there is none, as on Windows, a selector does it.
_poll: Callable[[], Any] | None = getattr(select, "poll", None)
#: The values that `select.POLLIN` and `select.POLLOUT` have everywhere.
_IN, _OUT = 1, 4


def _wait_in_poll(poller: Any, interests: Iterable[Interest], timeout: float | None) -> None:
    for sock, read, write in interests:
        poller.register(sock.fileno(), (_IN if read else 0) | (_OUT if write else 0))
    poller.poll(None if timeout is None else timeout * 1000)


def _select_events(interest: Interest) -> int:
    return (selectors.EVENT_READ if interest.read else 0) | (
        selectors.EVENT_WRITE if interest.write else 0
    )


class GeventWaiting:
    """Wait as a greenlet of gevent does."""

    is_cooperative = True

    def __init__(self) -> None:
        self._gevent = importlib.import_module("gevent")
        self._select = importlib.import_module("gevent.select")
        self._event = importlib.import_module("gevent.event")

    def wait_for(self, *interests: Interest, timeout: float | None) -> None:
        """Wait in gevent's hub."""
        _wait_in_poll(self._select.poll(), interests, timeout)

    def make_event(self) -> Event:
        """Make an event for greenlets."""
        event: Event = self._event.Event()
        return event

    def identify(self) -> object:
        """Give the greenlet."""
        return self._gevent.getcurrent()

    def spawn(self, work: Callable[[], None], name: str) -> None:
        """Run `work` in a greenlet."""
        self._gevent.spawn(work)

    def spawner(self) -> Spawner:
        """Run work in the hub of this thread."""
        loop = self._gevent.get_hub().loop
        return lambda work: loop.run_callback_threadsafe(self._gevent.spawn, work)


class EventletWaiting:
    """Wait as a green thread of eventlet does."""

    is_cooperative = True

    def __init__(self) -> None:
        self._eventlet = importlib.import_module("eventlet")
        self._select = importlib.import_module("eventlet.green.select")

    def wait_for(self, *interests: Interest, timeout: float | None) -> None:
        """Wait in eventlet's hub."""
        reading = [interest.sock.fileno() for interest in interests if interest.read]
        writing = [interest.sock.fileno() for interest in interests if interest.write]
        self._select.select(reading, writing, [], timeout)

    def make_event(self) -> Event:
        """Make an event for green threads."""
        return _EventletEvent(self._eventlet)

    def identify(self) -> object:
        """Give the green thread."""
        return self._eventlet.getcurrent()

    def spawn(self, work: Callable[[], None], name: str) -> None:
        """Run `work` in a green thread."""
        self._eventlet.spawn_n(work)

    def spawner(self) -> Spawner:
        """Run work in the hub of this thread; it learns of it when it wakes up the next time."""
        hub = self._eventlet.hubs.get_hub()
        return lambda work: hub.schedule_call_global(0, self._eventlet.spawn_n, work)


class _EventletEvent:
    """Be what eventlet's own event is not: one that can be waited for with a time-out."""

    def __init__(self, eventlet: Any) -> None:
        self._timeout = eventlet.Timeout
        self._event = eventlet.event.Event()

    def set(self) -> None:
        if not self._event.ready():
            self._event.send()

    def wait(self, timeout: float | None = None) -> None:
        with self._timeout(timeout, False):
            self._event.wait()


_KINDS: dict[str, Callable[[], Waiting]] = {
    "gevent": GeventWaiting,
    "eventlet": EventletWaiting,
}
_made: dict[str, Waiting] = {}


def waiting_for(sock: object) -> Waiting:
    """Choose the way of waiting that a socket's class asks for."""
    return _choose(_library_of(sock))


def waiting_here() -> Waiting:
    """Choose the way of waiting of whoever calls: a greenlet of a library's, or a thread."""
    greenlet = sys.modules.get("greenlet")
    if greenlet is None:
        return _choose("")
    current = greenlet.getcurrent()
    library = _library_of(current)
    if library == "greenlet" and current.parent is not None and "eventlet" in sys.modules:
        library = "eventlet"  # its `spawn_n` runs greenlets of no class of its own
    return _choose(library)


def _library_of(thing: object) -> str:
    return type(thing).__module__.partition(".")[0]


def _choose(library: str) -> Waiting:
    if library not in _KINDS:
        library = ""
    if library not in _made:
        _made[library] = _KINDS.get(library, ThreadWaiting)()
    return _made[library]
