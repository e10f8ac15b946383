"""A socket taken from its event loop, for a handler that blocks.

A thread that reads and writes by itself needs no loop: without one, a message costs two switches
between threads less. Rule: what cannot be taken whole is left as it is, and a bridge serves it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable

from ws_middleware.core.endpoint import Endpoint
from ws_middleware.options import Options
from ws_middleware.socket_driver import SocketDriver
from ws_middleware.stream import Stream

__all__ = ["take_over"]


def take_over(
    transport: asyncio.Transport,
    make_endpoint: Callable[[float], Endpoint],
    options: Options,
    *,
    preface: bytes,
    leftover: bytes,
    on_over: Callable[[], object],
) -> SocketDriver | None:
    """Drive the connection of a transport, which ends; `make_endpoint` is told the time.

    None where it cannot be taken, and nothing has happened. The transport must not be reading.
    """
    sock = _copy_socket(transport)
    if sock is None:
        return None
    try:
        driver = SocketDriver(
            make_endpoint(time.monotonic()),
            Stream(sock),
            options,
            preface=preface,
            leftover=leftover,
            on_over=on_over,
            carrier=threading.get_ident(),
        )
    except RuntimeError:  # no thread is left to attend: a bridge needs none
        sock.close()
        return None
    # Nobody notices its end: the copy of its socket lives on.
    transport.set_protocol(asyncio.Protocol())
    transport.abort()
    return driver


def _copy_socket(transport: asyncio.Transport) -> socket.socket | None:
    """Give a socket of our own for a transport's connection; None where it has more to it.

    That is TLS, something that is not written yet, or no socket at all.
    """
    if not hasattr(socket, "MSG_DONTWAIT"):
        return None  # such as Windows, where a read of the loop is under way all the time
    info = transport.get_extra_info
    lent = info("socket")
    if lent is None or info("sslcontext") is not None or transport.get_write_buffer_size():
        return None
    try:
        return socket.socket(fileno=os.dup(lent.fileno()))
    except OSError:  # no more descriptors, or it is gone
        return None
