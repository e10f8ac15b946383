"""DEFLATE with a flush at each end, as both deflate extensions use it (RFC 7692 §7.2).

One bounded inflate function: no output beyond the budget is ever made.
Contexts are made when they are first used, and dropped where the agreement says so or where all
compressors keep more than they may.
"""

from __future__ import annotations

import importlib.util
import zlib
from collections.abc import Sequence
from typing import Any

from ws_middleware.core.frames import CloseCode
from ws_middleware.core.headers import Parameter
from ws_middleware.core.messages import SharedMessage
from ws_middleware.errors import ProtocolError
from ws_middleware.extensions.contexts import Contexts

__all__ = ["Deflater", "Inflater", "check_compressor", "collect", "parse_window_bits"]

#: What a flush ends with; the sender drops it, the receiver appends it (RFC 7692 §7.2.1).
TAIL = b"\x00\x00\xff\xff"
#: An empty final block: zlib sees the end of a unit in it, if the unit ends with a whole block.
END = b"\x03\x00"
#: What the tail of an empty flush leaves: one byte of an empty block (§7.2.3.6).
EMPTY = b"\x00"


def parse_window_bits(value: str | None) -> int:
    """Read the size of a window: "a decimal integer … without leading zeroes", 8 to 15.

    >>> parse_window_bits("12")
    12
    """
    if value not in ("8", "9", "10", "11", "12", "13", "14", "15"):
        raise ValueError("window bits are a number from 8 to 15")
    return int(value)


def collect(parameters: Sequence[Parameter]) -> dict[str, str | None]:
    """Put parameters into a dict; `ValueError` when one is there twice."""
    collected = dict(parameters)
    if len(collected) != len(parameters):
        raise ValueError("a parameter is there twice")
    return collected


def check_compressor(library: str, level: int) -> None:
    """Refuse a library that is unknown or not installed, and a level that it does not have."""
    if library not in _HIGHEST_LEVEL:
        raise ValueError(f"library={library!r} is neither 'zlib' nor 'isal'")
    highest = _HIGHEST_LEVEL[library]
    if not 0 <= level <= highest:
        raise ValueError(f"level is a number from 0 to {highest} with {library}")
    if library == "isal" and importlib.util.find_spec("isal") is None:
        raise ValueError("isal is not installed: pip install 'ws-middleware[speed]'")


_HIGHEST_LEVEL = {"zlib": 9, "isal": 3}


class Deflater:
    """Compress payloads one after the other, each flushed to a byte boundary."""

    __slots__ = ("_bits", "_contexts", "_level", "_library", "_memory", "_takeover")

    def __init__(
        self,
        bits: int,
        level: int,
        memory: int,
        takeover: bool,
        contexts: Contexts,
        library: str = "zlib",
    ) -> None:
        self._library = library
        self._bits = bits
        self._level = level
        self._memory = memory
        self._takeover = takeover
        self._contexts = contexts

    def rest(self) -> None:
        """Forget what was sent; a peer that remembers it does no harm."""
        self._contexts.take(id(self))

    def __del__(self) -> None:
        self.rest()

    def deflate(self, payload: bytes, final: bool) -> bytes:
        """Compress a piece; the last one of a unit comes without the tail of its flush."""
        compressor = self._contexts.take(id(self)) or self._make()
        data = _flush(compressor, payload)
        if self._takeover or not final:
            self._contexts.keep(id(self), compressor)
        if not final:
            return data
        # "Remove 4 octets (that are 0x00 0x00 0xff 0xff) from the tail end" (§7.2.1)
        return data[:-4] or EMPTY

    def deflate_shared(self, message: SharedMessage) -> bytes:
        """Compress a message of many connections alone, and go on without a context."""
        # What this end remembers is not the peer's window any more.
        self._contexts.take(id(self))
        agreed = (self._bits, self._level, self._memory, self._library)
        if agreed not in message.encoded:
            message.encoded[agreed] = _flush(self._make(), message.payload)[:-4] or EMPTY
        return message.encoded[agreed]

    def _make(self) -> Any:
        # zlib has no raw window of 8 bits. Without matches there is no window at all, which
        # honours the agreement.
        if self._bits == 8:
            return zlib.compressobj(
                self._level, zlib.DEFLATED, -9, self._memory, zlib.Z_HUFFMAN_ONLY
            )
        make = zlib.compressobj
        if self._library == "isal":
            make = importlib.import_module("isal.isal_zlib").compressobj
        return make(self._level, zlib.DEFLATED, -self._bits, self._memory)


def _flush(compressor: Any, payload: bytes) -> bytes:
    data: bytes = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return data


class Inflater:
    """Decompress pieces as they arrive, never beyond the budget."""

    __slots__ = ("_bits", "_decompressor", "_history", "_takeover")

    def __init__(self, bits: int, takeover: bool) -> None:
        self._bits = max(bits, 9)  # zlib reads a window of 8 bits with one of 9
        self._takeover = takeover
        self._decompressor: zlib._Decompress | None = None  # within a stream of blocks
        self._history = b""  # the window, for the next stream

    def inflate(self, data: bytes, final: bool, budget: int | None) -> bytes:
        """Decompress a piece; `final` ends a unit, whose tail is put back first."""
        tail = TAIL + END if final else b""
        output = self._inflate(data + tail, tail, budget)
        if final and self._decompressor is not None:
            raise ProtocolError("compressed payload ends inside a block", CloseCode.INVALID_DATA)
        if final and not self._takeover:
            self._history = b""
        return output

    def _inflate(self, data: bytes, tail: bytes, budget: int | None) -> bytes:
        chunks: list[bytes] = []
        size = 0
        # A tail without a block that it completes would be taken for the beginning of one.
        while data and not (self._decompressor is None and data == tail):
            # One byte over the budget is enough to know; 0 would mean "no limit" to zlib.
            room = 0 if budget is None else budget - size + 1
            chunk, data = self._step(data, room)
            size += len(chunk)
            if budget is not None and size > budget:
                raise ProtocolError("message inflates beyond max_message_size", CloseCode.TOO_BIG)
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _step(self, data: bytes, room: int) -> tuple[bytes, bytes]:
        decompressor = self._decompressor
        if decompressor is None:
            decompressor = zlib.decompressobj(-self._bits, zdict=self._history)
            self._decompressor = decompressor
        try:
            chunk = decompressor.decompress(data, room)
        except zlib.error as error:
            raise ProtocolError(
                f"compressed payload cannot be inflated: {error}", CloseCode.INVALID_DATA
            ) from None
        self._history = (self._history + chunk)[-(1 << self._bits) :]
        if not decompressor.eof:
            return chunk, decompressor.unconsumed_tail
        # "BFINAL set to 1" ends a stream of zlib's, not ours: more blocks may follow, which
        # may refer back into the window (§7.2.3.4).
        self._decompressor = None
        return chunk, decompressor.unused_data
