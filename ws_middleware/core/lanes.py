"""The most frequent traffic, in Python: messages of one frame that no extension changes.

`Receiver` and `Sender` inherit from these. Rule: what is not of that kind is left to them
without a word. `_speedups.c` has both classes, too, and has to agree with what is here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ws_middleware.core.pure import WHOLE_BINARY, WHOLE_TEXT, decode_messages, encode_frame

__all__ = ["LARGE", "Intake", "Outlet"]

#: From this size on payloads are not copied behind their header.
LARGE = 16_384


class Intake:
    """Hold what a peer sent: messages that nobody took yet, and bytes that are no message yet.

    Frames are masked where `masked` is 0x80; up to `limit` bytes of payload are taken at once.
    """

    __slots__ = (
        "_assembler",
        "_extensions",
        "_header",
        "_limit",
        "_masked",
        "_position",
        "bytes_received",
        "capacity",
        "input",
        "is_answered",
        "is_stopped",
        "is_streaming",
        "messages_received",
        "payload",
        "queue",
        "received_at",
    )

    def __init__(self, masked: int, limit: int, extensions: Sequence[Any], assembler: Any) -> None:
        self._masked = masked
        self._limit = limit
        self._extensions = extensions
        self._assembler = assembler  # tells by `is_idle` whether a message is under way
        self._header: Any = None  # of the data frame whose payload is arriving
        self._position = 0
        #: The payload whose next bytes may be received in place, past `feed`.
        self.payload: Any = None
        #: How many messages may wait; 0 once none is taken any more.
        self.capacity: int = 0
        #: When the last bytes came.
        self.received_at: float = 0.0
        #: What was fed and not used yet, from a position on; b"" for nothing.
        self.input: bytes | memoryview = b""
        self.is_stopped: bool = False
        #: The message under way is being taken in pieces.
        self.is_streaming: bool = False
        #: The application has asked on, behind the last message that it was given.
        self.is_answered: bool = True
        #: What has come, in its order. Short, and a deque takes 700 bytes.
        self.queue: list[Any] = []
        self.bytes_received: int = 0
        self.messages_received: int = 0

    def feed(self, data: bytes | memoryview, count: int) -> None:
        """Take bytes from the peer, and out of them up to `count` messages of one frame each.

        What is left of them is `input`, and has to stay the same until it is kept.
        """
        self.bytes_received += len(data)
        if self.is_stopped:
            return
        # Bytes are faster to look into than what they are copied from.
        data = b"".join((self.input[self._position :], data)) if self.input else bytes(data)
        self.input, self._position = data, 0
        if self._extensions or self._header is not None or not self._assembler.is_idle:
            return
        messages, self._position = decode_messages(data, 0, self._masked, self._limit, count)
        self.messages_received += len(messages)
        self.queue += messages
        if self._position == len(data):
            self.input = b""


class Outlet:
    """Hold what is to be sent, until somebody writes it; `random` gives masking keys, if any."""

    __slots__ = (
        "_extensions",
        "_has_large",
        "_opcode",
        "_pongs",
        "_random",
        "bytes_sent",
        "is_closed",
        "messages_sent",
        "output",
    )

    def __init__(self, random: Callable[[int], bytes] | None, extensions: Sequence[Any]) -> None:
        self._random = random
        self._extensions = extensions
        self._opcode: int | None = None  # of the fragmented message under way
        self._has_large = False  # a piece that is not to be copied
        self._pongs = 0  # in the output
        #: What is to be written, in pieces.
        self.output: list[bytes] = []
        self.bytes_sent: int = 0
        self.messages_sent: int = 0
        #: Nothing more is sent.
        self.is_closed: bool = False

    def send_whole(self, message: Any) -> bool:
        """Send a str, or `bytes` that are not large, as one frame; False where that cannot be."""
        if self.is_closed or self._opcode is not None or self._extensions:
            return False
        if type(message) is str:
            first = WHOLE_TEXT
        elif type(message) is bytes and len(message) < LARGE:
            first = WHOLE_BINARY
        else:
            return False
        # "a fresh masking key … for each frame" (RFC 6455 §5.3)
        key = b"" if self._random is None else self._random(4)
        self.output.append(encode_frame(first, message, key))
        self.messages_sent += 1
        return True

    def pieces_to_send(self) -> list[bytes]:
        """Give what is to be written now; it is forgotten here."""
        output = self.output
        pieces = output[:] if self._has_large or len(output) < 2 else [b"".join(output)]
        output.clear()
        self._has_large = False
        self._pongs = 0
        self.bytes_sent += sum(map(len, pieces))
        return pieces
