"""How messages look: to programs, to people at a terminal, and where they are typed.

Rule: nothing that a peer sent can steer a terminal; what could is written as an escape.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Literal

from ws_middleware.core.messages import Data

__all__ = ["Form", "escape"]

#: How many bytes of a binary message are shown to people.
MAX_SHOWN = 256
#: Controls, and what is invisible or turns the direction of text; all but tab and newline.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def escape(text: str) -> str:
    """Make text safe for a terminal: control characters as escapes, further lines indented.

    >>> escape("a\\x1b[31m")
    'a\\\\x1b[31m'
    """
    safe = _UNSAFE.sub(lambda match: ascii(match[0])[1:-1], text.replace("\r\n", "\n"))
    return safe.replace("\n", "\n  ")


@dataclass(frozen=True, slots=True)
class Form:
    """Hold how binary messages are written, and whether JSON is indented.

    "raw" is without any additions, so that what comes out is what was sent; None reads text,
    and writes binary messages in hexadecimal.
    """

    binary: Literal["raw", "hex", "base64"] | None = None
    pretty: bool = False

    def read(self, line: bytes) -> Data:
        """Make the message that a line stands for; `ValueError` says why it is none.

        >>> Form("hex").read(b"00 ff")
        b'\\x00\\xff'
        """
        if self.binary == "raw":
            return line
        if self.binary == "hex":
            return bytes.fromhex(_decode(line))
        if self.binary == "base64":
            try:
                return base64.b64decode(line, validate=True)
            except binascii.Error as error:
                raise ValueError(f"this is not base64: {error}") from None
        return _decode(line)

    def write(self, message: Data) -> bytes:
        """Write a message for a program: a line, except where binary is raw."""
        if self.binary == "raw":
            return message.encode() if isinstance(message, str) else message
        if isinstance(message, str):
            return self._text(message).encode() + b"\n"
        return (
            base64.b64encode(message) if self.binary == "base64" else message.hex().encode()
        ) + b"\n"

    def show(self, message: Data) -> str:
        """Write a message for people, on one line or several.

        >>> Form().show(b"Hello")
        '< (5 bytes) 48 65 6c 6c 6f'
        """
        if isinstance(message, str):
            return f"< {escape(self._text(message))}"
        start = message[:MAX_SHOWN]
        shown = base64.b64encode(start).decode() if self.binary == "base64" else start.hex(" ")
        more = "" if len(message) <= MAX_SHOWN else " ..."
        return f"< ({len(message)} bytes) {shown}{more}"

    def _text(self, text: str) -> str:
        if not self.pretty:
            return text
        try:
            return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):  # it is something else, or nested too deeply
            return text


def _decode(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"this is not UTF-8: {error.reason} at byte {error.start}") from None
