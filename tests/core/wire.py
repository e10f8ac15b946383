"""The wire as the tests of the core see it: frames of bytes, texts that are UTF-8 or are not.

It shares nothing with the package. What is read is checked: the mask, shortest lengths.
"""

from __future__ import annotations

from tests.peer import CLOSE, PING, PONG, Received, frame

__all__ = [
    "INVALID_TEXT",
    "UNFINISHED_TEXT",
    "VALID_TEXT",
    "chopped",
    "close",
    "close_of",
    "read_frames",
]

#: Text that is not UTF-8, and where it stops to be the beginning of some.
INVALID_TEXT = [
    (b"\x80", 0),  # a continuation byte without a start
    (b"\xc0\x80", 0),  # overlong: two bytes for U+0000
    (b"\xc1\xbf", 0),  # overlong: two bytes for U+007F
    (b"\xe0\x9f\xbf", 1),  # overlong: three bytes for U+07FF
    (b"\xf0\x8f\xbf\xbf", 1),  # overlong: four bytes for U+FFFF
    (b"\xed\xa0\x80", 1),  # a surrogate, U+D800
    (b"\xed\xbf\xbf", 1),  # a surrogate, U+DFFF
    (b"\xf4\x90\x80\x80", 1),  # U+110000
    (b"\xf5\x80\x80\x80", 0),  # far above
    (b"\xf8\x88\x80\x80\x80", 0),  # five bytes
    (b"\xfe", 0),
    (b"\xff", 0),
    (b"\xc3(", 1),  # a character that breaks off
    (b"\xe2\x82(", 2),
    (b"\xf0\x9d\x84(", 3),
    (b"fine so far \xff but not here", 12),
    ("κόσμε".encode() + b"\xed\xa0\x80edited", 11),
]

#: Text that ends within a character.
UNFINISHED_TEXT = [b"\xc3", b"\xe2\x82", b"\xf0\x9d\x84", b"whole, then \xf0\x9f"]

#: Text that is fine, at every edge.
VALID_TEXT = [
    "",
    "\x00",
    "κόσμε",
    "\ufeffBOM",
    "\x7f\x80\u07ff\u0800\uffff\U00010000",
    "\ud7ff\ue000",
    "\ufffe\U0010ffff",
]


def read_frames(data: bytes, *, masked: bool = False) -> list[Received]:
    """Read whole frames; `masked` tells whether a client sent them."""
    frames = []
    while data:
        first, second = data[0], data[1]
        assert (second >= 128) is masked, "masked frames come from clients, and only from them"
        size, start = second & 127, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
            assert size >= (126 if start == 4 else 65536), "not the shortest form"
        key = data[start : start + 4] if masked else bytes(4)
        start += 4 if masked else 0
        payload = data[start : start + size]
        assert len(payload) == size, "half a frame"
        payload = bytes(byte ^ key[i % 4] for i, byte in enumerate(payload)) if masked else payload
        received = Received(first & 15, payload, first >= 128, first >> 4 & 7)
        if received.opcode in (CLOSE, PING, PONG):
            assert received.fin
            assert size <= 125
        frames.append(received)
        data = data[start + size :]
    return frames


def chopped(data: bytes, chunk: int) -> list[bytes]:
    """Chop a stream into pieces of `chunk` bytes; 0 leaves it whole."""
    size = chunk or len(data) or 1
    return [data[start : start + size] for start in range(0, len(data), size)]


def close(code: int | None = 1000, reason: str | bytes = "", *, masked: bool = True) -> bytes:
    """Make a close frame, as a client where it is `masked`."""
    reason = reason.encode() if isinstance(reason, str) else reason
    body = b"" if code is None else code.to_bytes(2, "big") + reason
    return frame(CLOSE, body) if masked else frame(CLOSE, body, key=None)


def close_of(data: bytes, *, masked: bool = False) -> tuple[int | None, str]:
    """Read the one close frame that `data` is; the code is None where there is none."""
    (received,) = read_frames(data, masked=masked)
    assert received.opcode == CLOSE, received
    body = received.payload
    return (int.from_bytes(body[:2], "big") if body else None), body[2:].decode()
