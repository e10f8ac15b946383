"""The sockets that a server of ours listens on, TCP or Unix.

They are made before it starts: a port that is taken is told plainly, and whoever connects
meanwhile waits, and is not refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from typing import Any

from ws_middleware.logs import format_address

__all__ = ["ListenError", "bind", "listening"]

#: How many connections may wait to be accepted.
BACKLOG = 2048


class ListenError(OSError):
    """Tell why the server cannot listen where it should."""


def bind(host: str = "127.0.0.1", port: int = 8000, uds: str | None = None) -> socket.socket:
    """Make a listening socket; `ListenError` says why it cannot be."""
    where = uds if uds is not None else format_address((host, port))
    if uds is None and not _is_port(port):
        raise ListenError(f"cannot listen on {where}: a port is a number from 0 to 65535")
    try:
        return _bind_unix(uds) if uds is not None else _bind_tcp(host, port)
    except OSError as error:
        raise ListenError(f"cannot listen on {where}: {error.strerror or error}") from None
    except UnicodeError:  # a label that is empty or too long
        raise ListenError(f"cannot listen on {where}: this is not a host name") from None


def _is_port(port: object) -> bool:
    """Tell what is a port: the system would take 65536 for 0."""
    text = str(port)  # as it comes from the environment
    return text.isdecimal() and int(text) <= 65535


@contextlib.contextmanager
def listening(
    host: str = "127.0.0.1", port: int = 8000, uds: str | None = None
) -> Iterator[socket.socket]:
    """Have a listening socket for the time of a block; the file of a Unix socket goes with it."""
    with bind(host, port, uds) as sock:
        made = _identify(uds)
        try:
            yield sock
        finally:
            if uds is not None and _identify(uds) == made:
                os.unlink(uds)


def _identify(path: str | None) -> tuple[int, ...] | None:
    """Tell a file from one that another server has put into its place."""
    try:
        found = os.stat(path or "")
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _bind_tcp(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # Of a name with several addresses, such as localhost, the one that everybody tries.
    family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    sock = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return _listen(sock, address)
    except OSError:
        sock.close()
        raise


def _bind_unix(path: str) -> socket.socket:
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _listen(sock, path)
        os.chmod(path, 0o666)  # for a proxy of another user; who may come here, its folder says
        return sock
    except OSError:
        sock.close()
        raise


def _remove_stale(path: str) -> None:
    """Remove the file of a server that has not ended in good order."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "this file exists, and is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except BlockingIOError:
            pass  # somebody serves there, and has a lot to do: bind says so


def _listen(sock: socket.socket, address: Any) -> socket.socket:
    sock.bind(address)
    sock.listen(BACKLOG)
    sock.set_inheritable(True)
    return sock
