"""From bytes to messages: what the peer sends, one event at a time, without reactions.

Each check is made as soon as its bytes are there: header, then size, then payload as it
arrives. An unfinished data frame is handed on in parts, as fragments of its message.
A violation raises `ProtocolError` in its place, behind the events that came before it.
"""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Sequence

from ws_middleware.core.codec import (
    MASKED,
    WHOLE_BINARY,
    WHOLE_TEXT,
    Header,
    Intake,
    decode_frames,
    decode_header,
    decode_messages,
    legal_first_bytes,
    mask,
    rotate_key,
)
from ws_middleware.core.extensions import ActiveExtension, Role, sole_payload_extension
from ws_middleware.core.frames import CONTROL_BIT, FIN, OPCODE_BITS, CloseCode, Frame, Opcode
from ws_middleware.core.messages import Assembler, BinaryMessage, Data, TextMessage
from ws_middleware.core.payload import Payload
from ws_middleware.errors import ProtocolError
from ws_middleware.options import Options

__all__ = ["Receiver"]

_STANDARD_OPCODES = frozenset(Opcode)

#: Payloads from the first size on, and up to the second, are received in place. The peer's word
#: alone takes no memory: the system gives it by the page, as something is written there.
LARGE = 32_768
LARGEST = 2**24


class Receiver(Intake):
    """Decode what one peer sends."""

    __slots__ = (
        "_gathered",
        "_left",
        "_legal",
        "_options",
        "_rewriters",
        "_sole",
        "_streams",
    )

    _assembler: Assembler
    _header: Header | None
    capacity: int
    received_at: float
    input: bytes | memoryview
    payload: Payload | None

    def __init__(
        self,
        role: Role,
        options: Options,
        extensions: Sequence[ActiveExtension] = (),
        now: float = 0.0,
    ) -> None:
        super().__init__(
            # "a client MUST mask all frames … a server MUST NOT mask any" (RFC 6455 §5.1)
            MASKED if role == "server" else 0,
            min(options.max_frame_size or sys.maxsize, options.max_message_size or sys.maxsize),
            extensions,
            Assembler(options.max_message_size, options.max_fragments),
        )
        self.capacity = options.max_queue
        self.received_at = now
        self._options = options
        # Those that want to see whole messages, too.
        self._rewriters = tuple(
            extension
            for extension in reversed(extensions)
            if type(extension).decode_message is not ActiveExtension.decode_message
        )
        self._sole = sole_payload_extension(extensions)
        self._streams = all(extension.streams for extension in extensions)
        self._legal = _legal_table(extensions)
        self._left = 0  # of the payload that is arriving
        self._gathered = b"" if self._streams else bytearray()

    def keep(self) -> None:
        """Copy what was not used yet of the bytes that were fed."""
        self.input = bytes(self.input[self._position :])
        self._position = 0

    def take_messages(self, count: int) -> list[Data]:
        """Take up to `count` messages of one frame each out of what was fed.

        Whatever else is there, also what is wrong, is for `next_event`.
        """
        if self._extensions or self._header is not None or not self._assembler.is_idle:
            return []
        messages, self._position = decode_messages(
            self.input, self._position, self._masked, self._limit, count
        )
        if self._position == len(self.input):
            self.input = b""
        return messages

    def stop(self) -> None:
        """Ignore what is there and what still comes (RFC 6455 §5.5.1, §7.1.7)."""
        self.is_stopped = True
        self.input = b""
        self.payload = None

    def next_event(self) -> Data | Frame | None:
        """Give the next message (str or bytes) or control frame; None when bytes are missing."""
        event: Data | Frame | None = None
        while event is None and self.input:
            if self._header is not None:
                event = self._on_part(self._header)
            else:
                frames, self._position = decode_frames(
                    self.input, self._position, self._legal, self._masked, self._limit, 1
                )
                if frames:
                    event = self._on_frame(*frames[0])
                elif not self._begin_frame():
                    return None
            if self._position == len(self.input):
                self.input = b""  # what a silent peer said is not kept
        return event

    def payload_received(self, count: int) -> Payload | Data | None:
        """Note that `count` bytes came into the room of the payload; gives a whole message.

        It may come as the payload itself, to be finished when nobody holds its room any more.
        """
        payload, header = self.payload, self._header
        assert payload is not None
        assert header is not None
        self._left -= count
        payload.received(count)
        if self._left:
            return None
        if header.first == WHOLE_BINARY:
            self.payload = self._header = None
            return payload
        return self._finish_payload(payload, header)

    def take_fragment(self) -> Data | None:
        """Take out what has arrived of the message under way, if there is any."""
        if self.payload is not None:
            self._split_payload(self.payload)
        return None if self._assembler.is_idle else self._assembler.take() or None

    def _begin_frame(self) -> bool:
        """Begin with a data frame that is not whole; False when bytes are missing."""
        header = decode_header(self.input, self._position, self._legal, self._masked)
        if header is None or header.first & CONTROL_BIT:
            return False
        self._check_header(header)
        self._header = header
        self._left = header.length
        self._position += header.size
        if self._may_receive_in_place(header):
            self.payload = Payload(header.length, header.key)
        return True

    def _may_receive_in_place(self, header: Header) -> bool:
        """Tell whether a payload is large, and of bytes that nobody has to check or change."""
        left = header.length - (len(self.input) - self._position)
        if left < LARGE or header.length > LARGEST or self._extensions:
            return False
        return not self._assembler.makes_text(header.first & OPCODE_BITS)

    def _check_header(self, header: Header) -> None:
        """Check all that a data frame's header tells, in the order of its fields."""
        self._assembler.expect(header.first & OPCODE_BITS)
        self._check_size(header.length)
        self._count(header.first)

    def _check_size(self, length: int) -> None:
        limit = self._options.max_frame_size
        if limit is not None and length > limit:
            raise ProtocolError(
                f"frame of {length} bytes, max_frame_size={limit}", CloseCode.TOO_BIG
            )
        limit = self._options.max_message_size
        if not self._extensions:
            self._assembler.check_size(length)
        elif limit is not None and length > limit + limit // 4 + 1024:
            # A compressor makes incompressible data longer, by less than a quarter.
            raise ProtocolError(
                f"frame of {length} bytes, max_message_size={limit}", CloseCode.TOO_BIG
            )

    def _count(self, first: int) -> None:
        if not first & FIN or not self._assembler.is_idle:
            self._assembler.count_fragment()

    def _on_part(self, header: Header) -> Data | Frame | None:
        """Handle what has come of the payload of an unfinished data frame."""
        start = self._position
        part = self.input[start : start + self._left]
        self._position += len(part)
        if self.payload is not None:
            self._left -= len(part)
            self.payload.add(part)
            return None if self._left else self._finish_payload(self.payload, header)
        begun = self._left == header.length
        done = header.length - self._left
        self._left -= len(part)
        payload = mask(part, rotate_key(header.key, done)) if header.key else bytes(part)
        if self._left == 0:
            self._header = None
        if self._streams:
            return self._on_data(_part(header.first, payload, begun, self._left > 0))
        self._gathered += payload
        if self._left:
            return None
        whole, self._gathered = bytes(self._gathered), bytearray()
        return self._on_data(Frame.from_first_byte(header.first, whole))

    def _finish_payload(self, payload: Payload, header: Header) -> Data | None:
        self.payload = self._header = None
        opcode, fin = header.first & OPCODE_BITS, header.first & FIN != 0
        return self._assembler.add(opcode, payload.finish(), fin)

    def _split_payload(self, payload: Payload) -> None:
        """Go on part by part with a frame whose message is taken in pieces."""
        assert self._header is not None
        self.payload = None
        if begun := payload.take():
            part = _part(self._header.first, begun, begun=True, more=True)
            self._assembler.add(part.opcode, part.payload, part.fin)

    def _on_frame(self, first: int, payload: bytes) -> Data | Frame | None:
        if first & CONTROL_BIT and not self._extensions:
            return Frame(first & OPCODE_BITS, payload)
        sole = self._sole
        if sole is not None and first & ~sole.reserved_bits in _WHOLE and self._assembler.is_idle:
            if first & sole.reserved_bits:
                payload = sole.decode_payload(payload, self._assembler.budget)
            return self._assembler.add(first & OPCODE_BITS, payload, fin=True)
        frame = Frame.from_first_byte(first, payload)
        if frame.is_control:
            return self._decode_control(frame)
        self._assembler.expect(frame.opcode)
        self._count(first)
        return self._on_data(frame)

    def _decode_control(self, frame: Frame) -> Data | Frame | None:
        for extension in reversed(self._extensions):
            if frame.opcode in extension.opcodes or frame.opcode in extension.marked_opcodes:
                decoded = extension.decode(frame, self._assembler.budget)
                if decoded is None:
                    return None
                frame = decoded
        return self._add(frame)

    def _on_data(self, frame: Frame) -> Data | Frame | None:
        for extension in reversed(self._extensions):
            decoded = extension.decode(frame, self._assembler.budget)
            if decoded is None:
                return None
            frame = decoded
        return self._add(frame)

    def _add(self, frame: Frame) -> Data | Frame | None:
        if frame.opcode not in _STANDARD_OPCODES:
            raise ProtocolError(f"opcode {frame.opcode:#x} was left undecoded by its extension")
        if frame.is_control:
            return frame
        data = self._assembler.add(frame.opcode, frame.payload, frame.fin)
        if data is None:
            return None
        return self._decode_message(data)

    def _decode_message(self, data: Data) -> Data:
        if not self._rewriters:
            return data
        message = TextMessage(data) if isinstance(data, str) else BinaryMessage(data)
        for extension in self._rewriters:
            message = extension.decode_message(message)
        return message.data


def _part(first: int, payload: bytes, begun: bool, more: bool) -> Frame:
    """Present a part of an unfinished frame as a fragment: fin on the last part only."""
    if not begun:
        first &= FIN
    if more:
        first &= ~FIN
    return Frame.from_first_byte(first, payload, partial=more)


_WHOLE = (WHOLE_TEXT, WHOLE_BINARY)
_NO_EXTENSIONS = legal_first_bytes(frozenset())


def _legal_table(extensions: Sequence[ActiveExtension]) -> bytes:
    if not extensions:
        return _NO_EXTENSIONS
    marks: set[int] = set()
    for opcode in range(0x10):
        claims = [e.reserved_bits for e in extensions if opcode in e.opcodes | e.marked_opcodes]
        if claims:
            bits = functools.reduce(operator.or_, claims)
            marks |= {opcode | some for some in range(0, 0x80, 0x10) if some & ~bits == 0}
    return legal_first_bytes(frozenset(marks))
