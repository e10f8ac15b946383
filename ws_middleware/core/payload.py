"""A large payload while it arrives, in the memory that it will stay in.

Whoever reads from the peer writes straight into `room` and says how much came; it is unmasked
there, and handed over without a copy. No more of the memory is touched than has come.
"""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

from ws_middleware.core.codec import mask_in_place, rotate_key

__all__ = ["Payload"]


class Payload:
    """Receive `length` bytes, masked with `key` unless that is empty.

    >>> payload = Payload(5, b"")
    >>> payload.room[:4] = b"good"
    >>> payload.received(4)
    >>> payload.room[:] = b"!"
    >>> payload.received(1)
    >>> payload.finish()
    b'good!'
    """

    __slots__ = ("_key", "_memory", "_size", "_view", "room")

    def __init__(self, length: int, key: bytes) -> None:
        # What `getvalue` gives is the memory itself, unless somebody else has a part in it.
        self._memory = BytesIO(bytes(length))
        self._view = self._memory.getbuffer()
        self._key = key
        self._size = 0
        #: Where the next bytes go.
        self.room: memoryview = self._view

    def received(self, count: int) -> None:
        """Take the first `count` bytes of the room for received."""
        if self._key:
            mask_in_place(self.room[:count], rotate_key(self._key, self._size))
        self._size += count
        self.room = self.room[count:]

    def add(self, data: bytes | memoryview) -> None:
        """Receive bytes that lie somewhere else."""
        self.room[: len(data)] = data
        self.received(len(data))

    def take(self) -> bytes:
        """Give what has come, where the rest will not come here."""
        return bytes(self._view[: self._size])

    def finish(self) -> bytes:
        """Give the whole; a copy of it while whoever read it still holds the room."""
        self._let_go()
        return self._memory.getvalue()

    def __del__(self) -> None:
        # The collector would complain of memory that it frees while somebody has a part in it.
        with suppress(AttributeError):  # there was no memory for it
            self._let_go()

    def _let_go(self) -> None:
        with suppress(BufferError):
            self.room.release()
            self._view.release()
