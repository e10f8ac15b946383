"""A connected socket as a stream: plain or TLS, owned or borrowed.

`receive` gives b"" at the end and None while there is nothing; `send` tells how much was
taken: neither waits. A borrowed socket is never closed: its lender does that.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["BLOCK", "Stream"]

_Result = TypeVar("_Result")

#: How many bytes are read at once: a message of 64 KiB whole, and just less than the 128 KiB
#: from which on `malloc` asks the system for each block.
BLOCK = 126_976


class Stream:
    """Move bytes through one socket."""

    __slots__ = (
        "_borrowed",
        "_flags",
        "_is_tls",
        "_timeout",
        "can_wait",
        "is_closed",
        "sock",
        "wants_read",
        "wants_write",
    )

    def __init__(self, sock: socket.socket, *, borrowed: bool = False) -> None:
        self.sock: socket.socket = sock
        self._borrowed = borrowed
        self._is_tls = hasattr(sock, "pending")  # gevent's is not an ssl.SSLSocket
        self._timeout = sock.gettimeout()
        #: Whether `wait` works, see `allow_waiting`.
        self.can_wait: bool = False
        self._flags = 0
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # a Unix socket has no such delay
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.is_closed: bool = False
        #: What TLS waits for before it goes on, beside what was asked of it.
        self.wants_read: bool = False
        self.wants_write: bool = False

    @property
    def has_pending(self) -> bool:
        """Tell whether TLS holds bytes that the socket does not show."""
        return self._is_tls and self.sock.pending() > 0  # type: ignore[attr-defined]

    def allow_waiting(self) -> None:
        """Let `wait` block its thread, where the socket can tell single calls not to."""
        if not self._is_tls and hasattr(socket, "MSG_DONTWAIT"):
            self.can_wait = True
            self._flags = socket.MSG_DONTWAIT
            self.sock.setblocking(True)

    def receive(self) -> bytes | None:
        """Read what is there; `OSError` where the connection was lost."""
        self.wants_write = False
        try:
            if self._is_tls:
                return _undisturbed(self.sock.recv, BLOCK)
            return self.sock.recv(BLOCK, self._flags)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except ssl.SSLWantWriteError:
            self.wants_write = True
            return None

    def wait(self) -> bytes:
        """Wait for something to read, and read it; `OSError` where the connection was lost."""
        return self.sock.recv(BLOCK)

    def wait_into(self, room: memoryview) -> int:
        """Wait for something to read, and read it into `room`; tells how much came."""
        return self.sock.recv_into(room)

    def send(self, data: bytes | memoryview, *more: bytes | memoryview) -> int:
        """Write what goes, of several pieces where it `can_wait`; `OSError` at the end."""
        self.wants_read = False
        try:
            if more:
                return self.sock.sendmsg((data, *more), (), self._flags)
            if self._is_tls:
                return _undisturbed(self.sock.send, data)
            return self.sock.send(data, self._flags)
        except (BlockingIOError, ssl.SSLWantWriteError):
            return 0
        except ssl.SSLWantReadError:
            self.wants_read = True
            return 0

    def end_writing(self) -> None:
        """End our half of the stream (RFC 6455 §7.1.1), over TLS with a close_notify."""
        with contextlib.suppress(OSError, ValueError):
            if self._is_tls:
                _undisturbed(self.sock.unwrap)  # type: ignore[attr-defined]
            else:
                self.sock.shutdown(socket.SHUT_WR)

    def shut_down(self) -> None:
        """End both halves; whoever waits for the socket is woken."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Release the socket; a borrowed one goes back to its lender as it came."""
        self.is_closed = True
        with contextlib.suppress(OSError):
            if self._borrowed:
                self.sock.settimeout(self._timeout)
            else:
                self.sock.close()


def _undisturbed(call: Callable[..., _Result], *arguments: Any) -> _Result:
    """Make a call of TLS, and once more where it failed for what happened to another connection.

    OpenSSL keeps a queue of errors for each thread. Python takes what it finds there for the
    outcome of the call it has just made, and does not always leave it empty: python/cpython#148594.
    """
    try:
        return call(*arguments)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        raise
    except OSError as error:
        _forget_errors()
        try:
            return call(*arguments)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError:  # it was this one's own, which is in the queue once more
            _forget_errors()
            raise error from None


def _forget_errors() -> None:
    """Empty the thread's queue, as one of the calls of `ssl` does when it fails."""
    with contextlib.suppress(ssl.SSLError):
        _unused_context().set_ciphers("")


@functools.cache
def _unused_context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
