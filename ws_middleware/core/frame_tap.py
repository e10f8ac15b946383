"""Seeing each frame that a peer sends, beside the messages that they make.

A tap is an extension that changes nothing and is never negotiated: it stands nearest to the
wire. What nobody takes of it is bounded: the oldest frames go first.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

from ws_middleware.core.endpoint import Endpoint
from ws_middleware.core.extensions import ActiveExtension
from ws_middleware.core.frames import Frame, Opcode
from ws_middleware.errors import ConnectionClosed
from ws_middleware.options import Options

__all__ = ["FrameTap"]

#: What messages are taken for that have no limit, in bytes.
DEFAULT_SIZE = 2**20
#: What a frame takes in memory beside its payload, in bytes.
FRAME_COST = 200


class FrameTap(ActiveExtension):
    """Keep the frames of one connection until they are taken, `most` bytes of them."""

    marked_opcodes: ClassVar[frozenset[int]] = frozenset(Opcode)

    def __init__(self, most: int) -> None:
        self._most = most
        self._frames: deque[Frame] = deque()
        self._size = 0

    @classmethod
    def for_options(cls, options: Options) -> FrameTap:
        """Make one that keeps what a connection with these options may hold anyway."""
        return cls((options.max_queue + 1) * (options.max_message_size or DEFAULT_SIZE))

    def decode(self, frame: Frame, budget: int | None) -> Frame:
        """Note a frame as it stands on the wire, unmasked."""
        self._frames.append(frame)
        self._size += _cost(frame)
        while self._size > self._most and len(self._frames) > 1:
            self._take()
        return frame

    def next_frame(self, endpoint: Endpoint) -> Frame | ConnectionClosed | None:
        """Give the next frame; None while there is none, a `ConnectionClosed` at the end.

        The messages that the frames belong to are dropped.
        """
        while not self._frames:
            item = endpoint.next_message()
            if item is None or isinstance(item, ConnectionClosed):
                return self._take() if self._frames else item
        return self._take()

    def _take(self) -> Frame:
        frame = self._frames.popleft()
        self._size -= _cost(frame)
        return frame


def _cost(frame: Frame) -> int:
    return FRAME_COST + len(frame.payload)
