"""A decoder for the tests of compression that is stricter than the package's own.

zlib reaches beyond its window within what one call makes; so each call makes one byte.
"""

from __future__ import annotations

import random
import zlib

from tests.core.wire import chopped

__all__ = ["TAIL", "StrictInflater", "deflate", "far_repeats"]

TAIL = b"\x00\x00\xff\xff"


class StrictInflater:
    """Decompress payloads with a window of exactly `bits` bits, the context kept."""

    def __init__(self, bits: int) -> None:
        self._decompressor = zlib.decompressobj(-bits)

    def inflate(self, payload: bytes) -> bytes:
        """Decompress one payload; `zlib.error` where it reaches out of the window."""
        output = bytearray()
        for piece in chopped(payload + TAIL, 1):
            output += self._decompressor.decompress(piece, 1)
            while byte := self._decompressor.decompress(self._decompressor.unconsumed_tail, 1):
                output += byte
        assert not self._decompressor.eof
        return bytes(output)


def deflate(data: bytes, bits: int = 15, dictionary: bytes = b"", *, final: bool = False) -> bytes:
    """Compress with zlib alone; flushed without its tail, or ended with a final block."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -bits, zdict=dictionary)
    if final:
        return compressor.compress(data) + compressor.flush()
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[: -len(TAIL)]


def far_repeats(bits: int = 10) -> bytes:
    """Give bytes that repeat just inside and just outside of a window of `bits` bits."""
    noise = random.Random(bits).randbytes
    window = 1 << bits
    return b"".join(noise(distance) * 2 for distance in (window - 200, window + 1, window // 4))
