"""Single frames over a connected socket: no messages, no answers, no state machine.

It is for tools and tests that look at each frame, or send what an endpoint never would. The
framing rules of RFC 6455 §5 are still checked, as far as they concern one frame.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable

from ws_middleware.core.codec import (
    MASKED,
    decode_frame,
    decode_header,
    encode_frame,
    legal_first_bytes,
)
from ws_middleware.core.extensions import Role
from ws_middleware.core.frames import CloseCode, Frame
from ws_middleware.errors import ProtocolError
from ws_middleware.stream import Stream
from ws_middleware.waiting import Interest, waiting_for

__all__ = ["FrameSocket"]


class FrameSocket:
    """Send and receive frames over a socket whose opening handshake is done.

    `leftover` are bytes that were read behind the handshake, `marks` first bytes that are legal
    beside those of RFC 6455 (see `legal_first_bytes`), `random` gives masking keys. One thread
    receives while any send.

    >>> ours, theirs = socket.socketpair()
    >>> client, server = FrameSocket(ours, "client"), FrameSocket(theirs, "server")
    >>> client.send(Frame(1, b"hello"))
    >>> server.recv().payload
    b'hello'
    >>> client.close(); server.close()
    """

    def __init__(
        self,
        sock: socket.socket,
        role: Role,
        *,
        leftover: bytes = b"",
        max_frame_size: int | None = 2**20,
        marks: Iterable[int] = (),
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._stream = Stream(sock)
        self._waiting = waiting_for(sock)
        self._sending = threading.Lock()
        self._is_client = role == "client"
        self._unread = leftover
        self._limit = max_frame_size
        self._legal = legal_first_bytes(frozenset(marks))
        self._random = random

    def send(self, frame: Frame, key: bytes | None = None) -> None:
        """Send one frame exactly as it is; a client masks it with `key`, or a random one."""
        if key is not None and (not self._is_client or len(key) != 4):
            raise ValueError("a masking key has four bytes, and only clients use one (§5.3)")
        if self._is_client and key is None:
            key = self._random(4)
        data = memoryview(encode_frame(frame.first_byte, frame.payload, key or b""))
        with self._sending:
            while data := data[self._stream.send(data) :]:
                self._wait(self._stream.wants_read, True, None)

    def recv(self, timeout: float | None = None) -> Frame:
        """Receive the next frame.

        `TimeoutError` after `timeout` seconds, of which nothing is lost; `EOFError` at the end of
        the stream; `ProtocolError` for a frame that breaks RFC 6455 §5 or is too large.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (frame := self._next()) is None:
            data = self._stream.receive()
            if data is None:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(f"no frame came within {timeout} s")
                self._wait(True, self._stream.wants_write, left)
            elif data:
                self._unread += data
            else:
                raise EOFError("the peer ended its stream")
        return frame

    def _wait(self, read: bool, write: bool, timeout: float | None) -> None:
        self._waiting.wait_for(Interest(self._stream.sock, read, write), timeout=timeout)

    def _next(self) -> Frame | None:
        """Decode the frame that has come, if it is whole."""
        masked = 0 if self._is_client else MASKED
        header = decode_header(self._unread, 0, self._legal, masked)
        if header is None:
            return None
        if self._limit is not None and header.length > self._limit:
            reason = f"frame of {header.length} bytes, max_frame_size={self._limit}"
            raise ProtocolError(reason, CloseCode.TOO_BIG)
        decoded = decode_frame(self._unread, self._legal, masked)
        if decoded is None:
            return None
        frame, size = decoded
        self._unread = self._unread[size:]
        return frame

    def close(self) -> None:
        """Close the socket."""
        self._stream.close()
