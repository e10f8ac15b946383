"""Frames as values: their fields, the close frame's body, the codes of the registries.

Nothing here reads or writes bytes on the wire: that is `core.codec`.
Payloads are bytes, unmasked; bits are booleans; an opcode is a number of RFC 6455 §11.8.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from ws_middleware.errors import ProtocolError

__all__ = [
    "RSV1",
    "RSV2",
    "RSV3",
    "Close",
    "CloseCode",
    "Frame",
    "Opcode",
    "decode_close",
    "encode_close",
    "is_valid_close_code",
    "truncate_reason",
]

FIN = 0x80
RSV1 = 0x40
RSV2 = 0x20
RSV3 = 0x10
RSV_BITS = RSV1 | RSV2 | RSV3
OPCODE_BITS = 0x0F
CONTROL_BIT = 0x08

#: "All control frames MUST have a payload length of 125 bytes or less" (RFC 6455 §5.5).
MAX_CONTROL_PAYLOAD = 125
#: What a close frame's reason may hold: the payload less the two bytes of the code.
MAX_REASON_SIZE = MAX_CONTROL_PAYLOAD - 2


class Opcode(enum.IntEnum):
    """Name the opcodes that RFC 6455 §5.2 defines."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class CloseCode(enum.IntEnum):
    """Name the registered close codes (RFC 6455 §7.4.1 and the IANA registry)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005
    ABNORMAL = 1006
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015


#: "1004, 1005, 1006, 1015 … MUST NOT be set as a status code in a Close control frame".
_NEVER_SENT = frozenset({1004, 1005, 1006, 1015})


class Frame(NamedTuple):
    """Hold one frame: bits, opcode and unmasked payload (RFC 6455 §5.2).

    Two fields never reach the wire. `partial` marks, on receiving, that more of this frame's
    payload follows: the rest comes as continuation frames. `compress` tells compressing
    extensions, on sending, to leave this frame alone when it is false.

    >>> Frame(Opcode.TEXT, b"hi").first_byte == 0x81
    True
    """

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv1: bool = False
    rsv2: bool = False
    rsv3: bool = False
    partial: bool = False
    compress: bool = True

    @property
    def is_control(self) -> bool:
        """Tell whether it is a control frame: "identified by opcodes where the most
        significant bit of the opcode is 1" (RFC 6455 §5.5).
        """
        return self.opcode & CONTROL_BIT != 0

    @property
    def first_byte(self) -> int:
        """Give the first byte on the wire: fin, rsv1-3, opcode."""
        return (
            (FIN if self.fin else 0)
            | (RSV1 if self.rsv1 else 0)
            | (RSV2 if self.rsv2 else 0)
            | (RSV3 if self.rsv3 else 0)
            | self.opcode
        )

    @classmethod
    def from_first_byte(cls, first: int, payload: bytes, *, partial: bool = False) -> Frame:
        """Make a frame from its first byte and its payload."""
        return cls(
            first & OPCODE_BITS,
            payload,
            first & FIN != 0,
            first & RSV1 != 0,
            first & RSV2 != 0,
            first & RSV3 != 0,
            partial,
        )


class Close(NamedTuple):
    """Hold what a close frame says; 1005 stands for a frame without a code (§7.1.5)."""

    code: int
    reason: str = ""


def is_valid_close_code(code: int) -> bool:
    """Tell whether `code` may stand in a close frame (RFC 6455 §7.4)."""
    if 3000 <= code <= 4999:
        return True
    return 1000 <= code <= CloseCode.BAD_GATEWAY and code not in _NEVER_SENT


def encode_close(close: Close) -> bytes:
    """Make the payload of a close frame; `ValueError` for what may not be sent.

    >>> encode_close(Close(1000, "bye"))
    b'\\x03\\xe8bye'
    """
    if close.code == CloseCode.NO_STATUS and not close.reason:
        return b""
    if not isinstance(close.code, int):
        raise TypeError(f"a close code is a number such as 1000, not {close.code!r}")
    if not is_valid_close_code(close.code):
        raise ValueError(
            f"close code {close.code} cannot be sent: use 1000-1003, 1007-1014 or 3000-4999 "
            "(RFC 6455 §7.4)"
        )
    reason = close.reason.encode()
    if len(reason) > MAX_REASON_SIZE:
        raise ValueError(
            f"the close reason takes {len(reason)} bytes in UTF-8, "
            f"{MAX_REASON_SIZE} are the most (RFC 6455 §5.5)"
        )
    return close.code.to_bytes(2, "big") + reason


def decode_close(payload: bytes) -> Close:
    """Read the payload of a close frame; `ProtocolError` where it breaks §5.5.1 or §7.4.

    >>> decode_close(b"\\x03\\xe8bye")
    Close(code=1000, reason='bye')
    """
    if not payload:
        return Close(CloseCode.NO_STATUS)
    # "If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer"
    if len(payload) == 1:
        raise ProtocolError("close frame with a body of one byte (RFC 6455 §5.5.1)")
    code = int.from_bytes(payload[:2], "big")
    if not is_valid_close_code(code):
        raise ProtocolError(f"close frame with the invalid code {code} (RFC 6455 §7.4)")
    try:
        return Close(code, payload[2:].decode())
    except UnicodeDecodeError:
        raise ProtocolError(
            "close reason is not valid UTF-8 (RFC 6455 §5.5.1)", CloseCode.INVALID_DATA
        ) from None


def truncate_reason(reason: str) -> str:
    """Cut a reason of our own making to what fits a close frame, at a code point.

    >>> len(truncate_reason("\N{EURO SIGN}" * 99).encode())
    123
    """
    return reason.encode()[:MAX_REASON_SIZE].decode(errors="ignore")
