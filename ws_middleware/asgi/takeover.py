"""A socket taken from its event loop, for a handler that blocks.

A thread that reads and writes by itself needs no loop: without one, a message costs two switches
between threads less. Rule: what cannot be taken whole is left as it is, and a bridge serves it.
"""

from __future__ import annotations

import asyncio
import os
import socket

__all__ = ["copy_socket", "let_go"]


def copy_socket(transport: asyncio.Transport) -> socket.socket | None:
    """Give a socket of our own for a transport's connection; None where it has more to it.

    That is TLS, something that is not written yet, or no socket at all. The transport
    must not read until it is `let_go`.
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


def let_go(transport: asyncio.Transport) -> None:
    """Let a transport end without anybody noticing: the copy of its socket lives on."""
    transport.set_protocol(asyncio.Protocol())
    transport.abort()
