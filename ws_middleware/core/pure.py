"""The codec in Python: the reference that `_speedups.c` has to agree with.

Pure functions, no state, nothing allocated from a length. A whole read is decoded in one call;
what is incomplete is left where it is.
"""

from __future__ import annotations

from typing import NamedTuple

from ws_middleware.core.frames import (
    CONTROL_BIT,
    FIN,
    MAX_CONTROL_PAYLOAD,
    OPCODE_BITS,
    RSV_BITS,
    Opcode,
)
from ws_middleware.errors import ProtocolError

__all__ = [
    "Header",
    "decode_frames",
    "decode_header",
    "decode_messages",
    "encode_frame",
    "encode_header",
    "legal_first_bytes",
    "mask",
    "mask_in_place",
]

WHOLE_TEXT = FIN | Opcode.TEXT
WHOLE_BINARY = FIN | Opcode.BINARY
_IS_WHOLE = bytes(first in (WHOLE_TEXT, WHOLE_BINARY) for first in range(256))

MASKED = 0x80
LENGTH_BITS = 0x7F
LENGTH_16 = 126
LENGTH_64 = 127
KEY_SIZE = 4

#: Up to here one big-integer XOR is the fastest in pure Python, above it `translate` is.
_INTEGER_MASK_LIMIT = 1536

_from_bytes = int.from_bytes


def _xor_tables() -> list[bytes]:
    return [bytes(byte ^ key for byte in range(256)) for key in range(256)]


_XOR = _xor_tables()
#: A key times the n-th of these numbers is the key n times over.
_REPEATED = [((1 << 32 * count) - 1) // 0xFFFFFFFF for count in range(_INTEGER_MASK_LIMIT // 4 + 1)]


class Header(NamedTuple):
    """Hold what the bytes before a payload say (RFC 6455 §5.2)."""

    first: int
    key: bytes
    length: int
    size: int


def mask(data: bytes | bytearray | memoryview, key: bytes) -> bytes:
    """Mask or unmask `data`: "octet i XOR key[i MOD 4]" (RFC 6455 §5.3).

    >>> mask(b"Hello", bytes.fromhex("37fa213d")).hex()
    '7f9f4d5158'
    """
    if len(key) != KEY_SIZE:
        raise ValueError("a masking key has four bytes (RFC 6455 §5.3)")
    return _xor(data, key)


def _xor(data: bytes | bytearray | memoryview, key: bytes | memoryview) -> bytes:
    size = len(data)
    if size <= _INTEGER_MASK_LIMIT:
        words = (size + 3) // 4
        stream = _from_bytes(key, "little") * _REPEATED[words]
        return (_from_bytes(data, "little") ^ stream).to_bytes(4 * words, "little")[:size]
    masked, data = bytearray(size), bytes(data)
    for index, byte in enumerate(key):
        masked[index::4] = data[index::4].translate(_XOR[byte])
    return bytes(masked)


def mask_in_place(data: bytearray | memoryview, key: bytes) -> None:
    """Mask or unmask `data` where it is."""
    data[:] = mask(data, key)


def legal_first_bytes(marks: frozenset[int]) -> bytes:
    """Make the table of first bytes a peer may send: 1 where legal, 0 where not.

    `marks` holds, for the reserved bits and opcodes that extensions claim, the first bytes
    without FIN that become legal beside those of RFC 6455 §5.2.
    """
    data = {0x0, 0x1, 0x2} | {mark for mark in marks if not mark & CONTROL_BIT}
    control = {0x8, 0x9, 0xA} | {mark for mark in marks if mark & CONTROL_BIT}
    # "Control frames … MUST NOT be fragmented" (§5.5): only with FIN.
    legal = data | {FIN | first for first in data | control}
    return bytes(first in legal for first in range(256))


def _explain_illegal(first: int) -> ProtocolError:
    opcode = first & OPCODE_BITS
    if opcode & CONTROL_BIT and not first & FIN:
        return ProtocolError("fragmented control frame (RFC 6455 §5.5)")
    if first & RSV_BITS and opcode in (0, 1, 2, 8, 9, 10):
        return ProtocolError("reserved bit set that no extension claimed (RFC 6455 §5.2)")
    return ProtocolError(f"unknown opcode {opcode:#x} (RFC 6455 §5.2)")


def decode_header(
    data: bytes | memoryview, position: int, legal: bytes, masked: int
) -> Header | None:
    """Read and check the header at `position`; None while it is incomplete.

    `masked` is 0x80 where frames must be masked and 0 where they must not be. Each check is
    made as soon as its bytes are there, so a bad frame fails before its payload comes.
    """
    available = len(data) - position
    if available < 1:
        return None
    first = data[position]
    if not legal[first]:
        raise _explain_illegal(first)
    if available < 2:
        return None
    second = data[position + 1]
    if second & MASKED != masked:
        # "a server MUST close the connection upon receiving a frame that is not masked …
        # A client MUST close a connection if it detects a masked frame" (§5.1)
        raise ProtocolError(f"{'unmasked' if masked else 'masked'} frame (RFC 6455 §5.1)")
    length = second & LENGTH_BITS
    if first & CONTROL_BIT and length > MAX_CONTROL_PAYLOAD:
        raise ProtocolError("control frame longer than 125 bytes (RFC 6455 §5.5)")
    size = 2
    if length >= LENGTH_16:
        size += 2 if length == LENGTH_16 else 8
        if available < size:
            return None
        minimum = 126 if length == LENGTH_16 else 65536
        length = int.from_bytes(data[position + 2 : position + size], "big")
        _check_length(length, minimum)
    if masked:
        size += 4
        if available < size:
            return None
    key = bytes(data[position + size - KEY_SIZE : position + size]) if masked else b""
    return Header(first, key, length, size)


def _check_length(length: int, minimum: int) -> None:
    # "the minimal number of bytes MUST be used to encode the length" (§5.2)
    if length < minimum:
        raise ProtocolError("length not in its shortest form (RFC 6455 §5.2)")
    # "the most significant bit MUST be 0"
    if length >> 63:
        raise ProtocolError("64-bit length with its top bit set (RFC 6455 §5.2)")


def decode_messages(
    data: bytes | memoryview, position: int, masked: int, limit: int, count: int
) -> tuple[list[str | bytes], int]:
    """Decode up to `count` messages of one frame from `position` on, each of up to `limit` bytes.

    Returns them and the position behind the last of them. It stops without a word before
    anything else: `decode_frames` reads the frame there, where it is whole and legal.
    """
    messages: list[str | bytes] = []
    end = len(data)
    while position < end and len(messages) < count:
        first = data[position]
        if not _IS_WHOLE[first]:
            break
        taken = _take_payload(data, position, masked, limit)
        if taken is None:
            break
        payload, stop = taken
        if first == WHOLE_BINARY:
            messages.append(payload)
        else:
            try:
                messages.append(payload.decode())
            except UnicodeDecodeError:
                break
        position = stop
    return messages, position


def decode_frames(
    data: bytes | memoryview, position: int, legal: bytes, masked: int, limit: int, count: int
) -> tuple[list[tuple[int, bytes]], int]:
    """Decode up to `count` whole, legal frames from `position` on, data of up to `limit` bytes.

    Returns the first byte and the unmasked payload of each, and the position behind the last
    of them. It stops without a word before a frame that is incomplete, illegal or too long:
    `decode_header` says which.
    """
    frames: list[tuple[int, bytes]] = []
    end = len(data)
    while position < end and len(frames) < count:
        first = data[position]
        if not legal[first]:
            break
        most = MAX_CONTROL_PAYLOAD if first & CONTROL_BIT else limit
        taken = _take_payload(data, position, masked, most)
        if taken is None:
            break
        payload, position = taken
        frames.append((first, payload))
    return frames, position


def _take_payload(
    data: bytes | memoryview, position: int, masked: int, limit: int
) -> tuple[bytes, int] | None:
    """Give the unmasked payload of the frame at `position`, and the position behind it.

    None stands for a frame that is incomplete, longer than `limit`, or whose second byte or
    length is illegal.
    """
    end = len(data)
    start = position + 2
    if start > end:
        return None
    length = data[position + 1]
    if length & MASKED != masked:
        return None
    length &= LENGTH_BITS
    if length >= LENGTH_16:
        size, minimum = (2, LENGTH_16) if length == LENGTH_16 else (8, 65536)
        start += size
        if start > end:
            return None
        length = _from_bytes(data[start - size : start], "big")
        if length < minimum:
            return None
    if masked:
        start += KEY_SIZE
    stop = start + length
    if stop > end or length > limit:
        return None
    payload = data[start:stop]
    return _xor(payload, data[start - KEY_SIZE : start]) if masked else bytes(payload), stop


def encode_frame(
    first: int, payload: str | bytes | bytearray | memoryview, key: bytes = b""
) -> bytes:
    """Write one frame with the length in its shortest form, masked when `key` is given.

    The payload of text may be given as str.

    >>> encode_frame(0x81, "hi")
    b'\\x81\\x02hi'
    """
    if isinstance(payload, str):
        payload = payload.encode()
    header = encode_header(first, len(payload), key)
    return header + mask(payload, key) if key else header + payload


def encode_header(first: int, length: int, key: bytes = b"") -> bytes:
    """Write what stands before a payload of `length` bytes.

    >>> encode_header(0x82, 65536).hex()
    '827f0000000000010000'
    """
    masked = MASKED if key else 0
    if length < LENGTH_16:
        return bytes((first, masked | length)) + key
    if length < 65536:
        return bytes((first, masked | LENGTH_16, length >> 8, length & 0xFF)) + key
    return bytes((first, masked | LENGTH_64)) + length.to_bytes(8, "big") + key
