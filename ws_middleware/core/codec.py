"""Bytes to frames and back, in C where that was built and in Python where not.

Both do the same (`core.pure` is the reference) and take the same arguments by position.
`WS_MIDDLEWARE_PURE=1` in the environment forces Python.
"""

from __future__ import annotations

import os

from ws_middleware.core.frames import Frame
from ws_middleware.core.lanes import LARGE, Intake, Outlet
from ws_middleware.core.pure import (
    MASKED,
    WHOLE_BINARY,
    WHOLE_TEXT,
    Header,
    decode_frames,
    decode_header,
    decode_messages,
    encode_frame,
    encode_header,
    legal_first_bytes,
    mask,
    mask_in_place,
)

__all__ = [
    "LARGE",
    "MASKED",
    "SPEEDUPS",
    "WHOLE_BINARY",
    "WHOLE_TEXT",
    "Header",
    "Intake",
    "Outlet",
    "decode_frame",
    "decode_frames",
    "decode_header",
    "decode_messages",
    "encode_frame",
    "encode_header",
    "legal_first_bytes",
    "mask",
    "mask_in_place",
    "rotate_key",
]

#: Whether frames are read and written in C, which takes a compiler or a wheel at installation;
#: `WS_MIDDLEWARE_PURE=1` in the environment rules it out.
SPEEDUPS: bool = False

if os.environ.get("WS_MIDDLEWARE_PURE", "0") in ("", "0"):
    try:
        from ws_middleware.core._speedups import (
            Intake,
            Outlet,
            decode_frames,
            decode_messages,
            encode_frame,
            mask,
            mask_in_place,
        )
    except ImportError:  # there was no compiler
        pass
    else:
        SPEEDUPS = True


def rotate_key(key: bytes, count: int) -> bytes:
    """Give the key for the octets that follow the first `count` ones."""
    offset = count % 4
    return key[offset:] + key[:offset]


def decode_frame(data: bytes, legal: bytes, masked: int) -> tuple[Frame, int] | None:
    """Read the one frame that `data` begins with and its size; None while it is incomplete.

    >>> decode_frame(b"\\x81\\x02hi", legal_first_bytes(frozenset()), masked=0)[0].payload
    b'hi'
    """
    header = decode_header(data, 0, legal, masked)
    if header is None or len(data) < header.size + header.length:
        return None
    stop = header.size + header.length
    payload = data[header.size : stop]
    if masked:
        payload = mask(payload, header.key)
    return Frame.from_first_byte(header.first, payload), stop
