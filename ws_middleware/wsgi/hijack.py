"""What it takes to get a socket from a WSGI server, and to give the request back.

A hijacker knows one family of servers by three verbs: `detect` one by its environ, `take` its
socket with the bytes read ahead, `finish` the call so that nothing is written or logged
wrong. `take` raises `HandshakeError` while nothing was taken yet.
"""

from __future__ import annotations

import abc
import os
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, ClassVar, NamedTuple, TypeVar

from ws_middleware.errors import HandshakeError
from ws_middleware.native import make_socket
from ws_middleware.waiting import waiting_for
from ws_middleware.wsgi.types import Environ, StartResponse

__all__ = ["Hijacker", "Taken", "ask_thread", "can_park", "duplicate", "read_ahead", "swap"]


_Result = TypeVar("_Result")

#: How long a server's main thread may take to do something for us, in seconds.
PATIENCE = 10.0
#: `select` knows no descriptor from here on (FD_SETSIZE).
SELECT_LIMIT = 1024


class Taken(NamedTuple):
    """Hold a server's socket, and the bytes that were read behind the request.

    A `borrowed` socket is the server's, which closes it behind the call.
    """

    sock: socket.socket
    leftover: bytes
    borrowed: bool = True

    def parked(self) -> Taken:
        """Take the connection out of the server's hands altogether."""
        return self._replace(sock=swap(self.sock), borrowed=False) if self.borrowed else self


class Hijacker(abc.ABC):
    """Be the way to the sockets of one family of servers."""

    #: The server's name, for people.
    name: ClassVar[str]

    @abc.abstractmethod
    def detect(self, environ: Environ) -> bool:
        """Tell whether this is such a server's request; by what is there, not by names."""

    @abc.abstractmethod
    def take(self, environ: Environ) -> Taken:
        """Take the socket and what was read ahead; nothing is written to it before."""

    def finish(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """End the call: the server sends its response into a socket that is shut or swapped.

        The server believes that it answered an ordinary, empty 101, and logs that.
        """
        start_response("101 Switching Protocols", [])
        return []


def can_park(sock: Any) -> bool:
    """Tell whether a socket can leave the server's thread: plain, and not a greenlet's."""
    is_plain = os.name == "posix" and type(sock) is socket.socket
    return is_plain and not waiting_for(sock).is_cooperative


def swap(sock: socket.socket) -> socket.socket:
    """Put a dead end in the place of the server's socket; returns the living one.

    The server keeps its object and its descriptor. What it writes fails as if the peer had
    gone, what it reads has ended.
    """
    number = sock.fileno()
    dead, other = socket.socketpair()
    other.close()
    with dead:
        living: socket.socket = make_socket(duplicate(number))
        dead.setblocking(os.get_blocking(number))
        os.dup2(dead.fileno(), number, inheritable=False)
    return living


def duplicate(number: int) -> int:
    """Duplicate a descriptor, out of the way of servers that wait in `select`."""
    import fcntl  # not on Windows, where nothing is parked

    try:
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, SELECT_LIMIT)
    except OSError:  # so many are not allowed
        return os.dup(number)


def ask_thread(
    call_there: Callable[[Callable[[], None]], object], work: Callable[[], _Result]
) -> _Result:
    """Have the server's main thread do something, and wait for what comes of it."""
    future: Future[_Result] = Future()

    def answer() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    call_there(answer)
    try:
        return future.result(PATIENCE)
    except TimeoutError:
        if not future.cancel():
            return future.result()  # it has begun meanwhile
        raise HandshakeError(503, f"the server's main thread was busy for {PATIENCE:g} s") from None


def read_ahead(reader: Any, sock: socket.socket) -> bytes:
    """Take the bytes that a `BufferedReader` over a socket holds already."""
    timeout = sock.gettimeout()
    sock.setblocking(False)
    try:
        # With an empty buffer `peek` reads once from the socket, which must not block.
        held = reader.peek(1)
        return reader.read(len(held)) if held else b""
    except OSError:
        return b""  # nothing there, as TLS and green sockets say it
    finally:
        sock.settimeout(timeout)
