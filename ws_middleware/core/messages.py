"""Messages: what applications send and receive, put together from frames.

One bytearray per unfinished message, so reassembly is linear and holds nothing per fragment.
Text is checked as UTF-8 while it arrives; limits are checked before anything is kept.
"""

from __future__ import annotations

import codecs
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ws_middleware.core.frames import CloseCode, Frame, Opcode
from ws_middleware.errors import ProtocolError

__all__ = [
    "Assembler",
    "BinaryMessage",
    "Data",
    "Fragment",
    "Message",
    "Ping",
    "Pong",
    "Sendable",
    "SharedMessage",
    "TextMessage",
    "as_message",
    "check_pieces",
    "fragment",
    "not_sendable",
    "with_final",
]

_Piece = TypeVar("_Piece")

#: What one message holds: text is str, binary is bytes.
Data = str | bytes


@dataclass(frozen=True, slots=True)
class TextMessage:
    """Hold a text message; `compress=False` keeps it out of the compressor (RFC 7692 §8)."""

    data: str
    compress: bool = True


@dataclass(frozen=True, slots=True)
class BinaryMessage:
    """Hold a binary message; `compress=False` keeps it out of the compressor."""

    data: bytes
    compress: bool = True


Message = TextMessage | BinaryMessage


class SharedMessage:
    """Hold a message for many connections: those that compress alike compress it once.

    For that it refers to no earlier message, and the next one of each connection not to it or
    to any before: both get longer, by about a third where they are small JSON.

    >>> SharedMessage("news").message
    TextMessage(data='news', compress=True)
    """

    __slots__ = ("encoded", "frame", "message", "payload")

    def __init__(self, message: Sendable) -> None:
        self.message: Message = as_message(message)
        data = self.message.data
        #: What a frame holds of it.
        self.payload: bytes = data.encode() if isinstance(data, str) else data
        #: What extensions made of that, by what they have to agree on for it.
        self.encoded: dict[Hashable, bytes] = {}
        #: The frame of those that have no extensions, once one of them made it.
        self.frame: bytes | None = None


#: What `send` takes as one message, or as one fragment.
Sendable = str | bytes | bytearray | memoryview | TextMessage | BinaryMessage | SharedMessage


def as_message(data: Sendable) -> Message:
    """Make a message of what an application sends; `TypeError` for anything else.

    >>> as_message("hi")
    TextMessage(data='hi', compress=True)
    """
    if isinstance(data, TextMessage | BinaryMessage):
        return data
    if isinstance(data, SharedMessage):
        return data.message
    if isinstance(data, str):
        return TextMessage(data)
    if isinstance(data, bytes | bytearray | memoryview):
        return BinaryMessage(bytes(data))
    raise not_sendable(data)


def not_sendable(data: object) -> TypeError:
    """Make the exception that tells that this is no message."""
    kind = type(data).__name__
    return TypeError(
        f"a message is str, bytes or a Message, not {kind}; send_json() sends other objects"
    )


def check_pieces(pieces: object) -> None:
    """Refuse a mapping as the fragments of a message: its keys alone would be sent."""
    if isinstance(pieces, Mapping):
        raise not_sendable(pieces)


def with_final(pieces: Iterable[_Piece]) -> Iterator[tuple[_Piece, bool]]:
    """Tell of each piece of a message whether it is the last one; `ValueError` for none at all.

    >>> list(with_final(["a", "b"]))
    [('a', False), ('b', True)]
    """
    iterator = iter(pieces)
    try:
        piece = next(iterator)
    except StopIteration:
        raise ValueError("an empty iterable makes no message") from None
    for following in iterator:
        yield piece, False
        piece = following
    yield piece, True


@dataclass(frozen=True, slots=True)
class Ping:
    """Tell of a ping received; the pong has been queued already."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """Tell of a pong received."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Fragment:
    """Hold a piece of a message; `final` marks the last one."""

    data: Data
    final: bool


def fragment(frame: Frame, size: int) -> Iterator[Frame]:
    """Cut a data frame into frames of at most `size` bytes of payload (RFC 6455 §5.4).

    >>> [part.payload for part in fragment(Frame(Opcode.TEXT, b"hello"), 2)]
    [b'he', b'll', b'o']
    """
    if size < 1:
        raise ValueError(f"fragments need a size of at least one byte, not {size}")
    if frame.is_control:
        raise ValueError("control frames cannot be fragmented (RFC 6455 §5.5)")
    payload = frame.payload
    for start in range(0, max(len(payload), 1), size):
        stop = start + size
        part = frame._replace(payload=payload[start:stop], fin=frame.fin and stop >= len(payload))
        yield (
            part
            if start == 0
            else part._replace(opcode=Opcode.CONTINUATION, rsv1=False, rsv2=False, rsv3=False)
        )


#: From which size on a piece of a binary message is kept as it is until the message is whole.
LARGE_PIECE = 4096


class Assembler:
    """Put data frames together to messages, within `max_size` bytes and `max_fragments`."""

    __slots__ = (
        "_buffer",
        "_checked",
        "_count",
        "_max_fragments",
        "_max_size",
        "_opcode",
        "_pieces",
        "_size",
        "is_idle",
    )

    def __init__(self, max_size: int | None, max_fragments: int | None) -> None:
        self._max_size = max_size
        self._max_fragments = max_fragments
        self._buffer: bytearray | None = None
        self._opcode = 0
        self._clear()

    def _clear(self) -> None:
        self._buffer = None
        self._pieces: list[bytes | bytearray] | None = None  # large ones, before the buffer
        self._opcode = 0
        #: Whether no message is under way.
        self.is_idle: bool = True
        self._checked = 0  # bytes of the buffer that are whole, valid UTF-8
        self._count = 0
        self._size = 0

    @property
    def budget(self) -> int | None:
        """Give how many bytes the message under way may still grow; None for any number."""
        return None if self._max_size is None else self._max_size - self._size

    def expect(self, opcode: int) -> None:
        """Check that a frame with `opcode` may come now (RFC 6455 §5.4)."""
        if opcode == Opcode.CONTINUATION:
            if self._opcode == 0:
                raise ProtocolError("continuation frame without a message (RFC 6455 §5.4)")
        elif self._opcode:
            raise ProtocolError("new message inside a fragmented one (RFC 6455 §5.4)")

    def makes_text(self, opcode: int) -> bool:
        """Tell whether a frame with `opcode` is, or continues, a text message."""
        return (self._opcode or opcode) == Opcode.TEXT

    def check_size(self, length: int) -> None:
        """Refuse `length` more bytes where they would exceed the limit."""
        if self._max_size is not None and self._size + length > self._max_size:
            raise ProtocolError(
                f"message of more than max_message_size={self._max_size} bytes", CloseCode.TOO_BIG
            )

    def add(self, opcode: int, payload: bytes, fin: bool) -> Data | None:
        """Add a data frame or a part of one; returns the message when it is complete."""
        self.expect(opcode)
        self.check_size(len(payload))
        if fin and not self._opcode:
            return decode_text(payload) if opcode == Opcode.TEXT else payload
        if not self._opcode:
            self._opcode = opcode
            self.is_idle = False
            self._buffer = bytearray()
        self._append(payload)
        if self._opcode == Opcode.TEXT:
            self._check_text(fin)
        return self._finish() if fin else None

    def count_fragment(self) -> None:
        """Count one more frame of the message under way against `max_fragments`."""
        self._count += 1
        if self._max_fragments is not None and self._count > self._max_fragments:
            raise ProtocolError(
                f"message of more than max_fragments={self._max_fragments} frames",
                CloseCode.TOO_BIG,
            )

    def take(self) -> Data:
        """Take out what has arrived of the message under way, whole characters only."""
        assert self._buffer is not None
        if self._opcode == Opcode.TEXT:
            taken: Data = str(self._buffer[: self._checked], "utf-8")
            del self._buffer[: self._checked]
            self._checked = 0
        else:
            taken = b"".join((*(self._pieces or ()), self._buffer))
            self._pieces = None
            self._buffer.clear()
        return taken

    def _append(self, payload: bytes) -> None:
        assert self._buffer is not None
        self._size += len(payload)
        if self._opcode == Opcode.TEXT or len(payload) < LARGE_PIECE:
            self._buffer += payload
        else:  # a buffer that grows by these is moved again and again
            self._pieces = self._pieces or []
            if self._buffer:
                self._pieces.append(self._buffer)
                self._buffer = bytearray()
            self._pieces.append(payload)

    def _check_text(self, final: bool) -> None:
        # Bad text fails at the first byte that makes it so (§8.1), also inside a frame.
        assert self._buffer is not None
        with memoryview(self._buffer) as view:
            try:
                _, count = codecs.utf_8_decode(view[self._checked :], "strict", final)
            except UnicodeDecodeError as error:
                raise _invalid_text(error.reason) from None
        self._checked += count
        # Python's decoder takes two bytes of a surrogate for the beginning of a character.
        if b"\xed\xa0" <= self._buffer[self._checked :] < b"\xee":
            raise _invalid_text("invalid continuation byte")

    def _finish(self) -> Data:
        whole = self.take()
        self._clear()
        return whole


def decode_text(payload: bytes) -> str:
    """Decode a whole text message; `ProtocolError` 1007 where it is not UTF-8 (§8.1)."""
    try:
        return str(payload, "utf-8")
    except UnicodeDecodeError as error:
        raise _invalid_text(error.reason) from None


def _invalid_text(reason: str) -> ProtocolError:
    return ProtocolError(
        f"text is not valid UTF-8: {reason} (RFC 6455 §8.1)", CloseCode.INVALID_DATA
    )
