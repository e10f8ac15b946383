"""From messages to bytes: what this end sends, in its order, until somebody writes it.

Only whole frames are kept. Pongs that nobody writes replace each other, so a peer that pings
and never reads holds a bounded number of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ws_middleware.core.codec import (
    LARGE,
    WHOLE_BINARY,
    WHOLE_TEXT,
    Outlet,
    encode_frame,
    encode_header,
)
from ws_middleware.core.extensions import ActiveExtension, Role, sole_payload_extension
from ws_middleware.core.frames import FIN, MAX_CONTROL_PAYLOAD, OPCODE_BITS, Frame, Opcode
from ws_middleware.core.messages import (
    Message,
    Sendable,
    SharedMessage,
    TextMessage,
    as_message,
)

__all__ = ["Sender"]

#: Beyond this number an unsent pong replaces the one before it: "MAY elect to send a Pong
#: frame for only the most recently processed Ping frame" (RFC 6455 §5.5.3).
MAX_UNSENT_PONGS = 32


class Sender(Outlet):
    """Encode what one end sends; `random` gives masking keys, unpredictable ones (§5.3)."""

    __slots__ = ("_last_pong", "_sole")

    def __init__(
        self, role: Role, extensions: Sequence[ActiveExtension], random: Callable[[int], bytes]
    ) -> None:
        # "a client MUST mask all frames that it sends to the server" (§5.1), no server does.
        super().__init__(random if role == "client" else None, extensions)
        self._sole = sole_payload_extension(extensions)
        self._last_pong = 0

    @property
    def is_fragmenting(self) -> bool:
        """Tell whether a fragmented message is under way."""
        return self._opcode is not None

    def message(self, message: Sendable) -> None:
        """Send a whole message; for most of them `send_whole` does."""
        if self._opcode is not None or (self._extensions and self._sole is None):
            self._message(as_message(message))
        elif isinstance(message, (str, bytes)):
            first = WHOLE_TEXT if isinstance(message, str) else WHOLE_BINARY
            if self._sole is None:
                self._write(first, message)
            else:
                payload = message.encode() if isinstance(message, str) else message
                self._write_either(first, payload, self._sole.encode_payload(payload))
        elif isinstance(message, SharedMessage) and self._sole is None and self._random is None:
            self._share(message)
        elif isinstance(message, SharedMessage) and self._sole and message.message.compress:
            changed = self._sole.encode_shared(message)
            self._write_either(_first_byte(message), message.payload, changed)
        else:
            self._message(as_message(message))

    def _share(self, message: SharedMessage) -> None:
        """Send the one frame that all send who neither mask it nor have an extension."""
        if message.frame is None:
            message.frame = encode_frame(_first_byte(message), message.payload)
        self.output.append(message.frame)
        if len(message.frame) >= LARGE:
            self._has_large = True

    def _write_either(self, first: int, payload: bytes, changed: bytes | None) -> None:
        """Send a payload, or what the sole extension made of it."""
        if changed is None or self._sole is None:
            self._write(first, payload)
        else:
            self._write(first | self._sole.reserved_bits, changed)

    def _message(self, message: Message) -> None:
        if self._opcode is not None:
            raise RuntimeError("a fragmented message is being sent; finish it first")
        for extension in self._extensions:
            message = extension.encode_message(message)
        self._data(_frame(message))

    def fragment(self, data: Sendable, final: bool) -> None:
        """Send a piece of a fragmented message."""
        frame = _frame(as_message(data))._replace(fin=final)
        opcode = frame.opcode
        if self._opcode is not None:
            if self._opcode != opcode:
                raise TypeError("all fragments of a message are str, or all are bytes")
            frame = frame._replace(opcode=Opcode.CONTINUATION)
        self._data(frame)
        self._opcode = None if final else opcode

    def frame(self, frame: Frame, key: bytes = b"") -> None:
        """Send a frame exactly as it is, past the extensions, with `key` if it is given."""
        if not 0 <= frame.opcode <= OPCODE_BITS:
            raise ValueError(f"there is no opcode {frame.opcode} (RFC 6455 §5.2)")
        if frame.is_control and (len(frame.payload) > MAX_CONTROL_PAYLOAD or not frame.fin):
            raise ValueError("a control frame is whole and holds 125 bytes at the most (§5.5)")
        if key and self._random is None:
            raise ValueError("a server does not mask its frames (RFC 6455 §5.1)")
        if key and len(key) != 4:
            raise ValueError("a masking key has four bytes (RFC 6455 §5.3)")
        if not frame.is_control:
            self._follow(frame)
        self._write(frame.first_byte, frame.payload, key)

    def _follow(self, frame: Frame) -> None:
        if (frame.opcode == Opcode.CONTINUATION) != (self._opcode is not None):
            raise ValueError("the frame does not continue what was sent before it (§5.4)")
        if self._opcode is None:
            self._opcode = frame.opcode
        if frame.fin:
            self._opcode = None

    def control(self, opcode: int, payload: bytes) -> None:
        """Send a control frame."""
        if len(payload) > MAX_CONTROL_PAYLOAD:
            raise ValueError("a control frame holds 125 bytes at the most (RFC 6455 §5.5)")
        self._write(FIN | opcode, payload)

    def pong(self, payload: bytes) -> None:
        """Answer a ping; of too many unsent answers only the last one is kept."""
        if self._pongs < MAX_UNSENT_PONGS:
            self._pongs += 1
            self._last_pong = len(self.output)
            self.control(Opcode.PONG, payload)
        else:
            self.control(Opcode.PONG, payload)
            self.output[self._last_pong] = self.output.pop()

    def rest(self) -> None:
        """Tell the extensions that nothing has been sent for a while."""
        for extension in self._extensions:
            extension.rest()

    def _data(self, frame: Frame) -> None:
        for extension in self._extensions:
            frame = extension.encode(frame)
        self._write(frame.first_byte, frame.payload)

    def _write(self, first: int, payload: str | bytes, key: bytes = b"") -> None:
        if self._random is not None:
            # "a fresh masking key … for each frame" (§5.3)
            key = key or self._random(4)
        if len(payload) >= LARGE and not key and isinstance(payload, bytes):
            self.output.extend((encode_header(first, len(payload)), payload))
            self._has_large = True
        else:
            self.output.append(encode_frame(first, payload, key))


def _first_byte(message: SharedMessage) -> int:
    return WHOLE_TEXT if isinstance(message.message, TextMessage) else WHOLE_BINARY


def _frame(message: Message) -> Frame:
    """Make the one frame that holds a message."""
    data = message.data
    if isinstance(data, str):
        return Frame(Opcode.TEXT, data.encode(), compress=message.compress)
    return Frame(Opcode.BINARY, data, compress=message.compress)
