"""What passes between the two ends, line by line: heads as curl shows them, and frames.

`*` is what we do, `>` what we send, `<` what comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ws_middleware.client.watching import Watcher
from ws_middleware.core.codec import MASKED, Header, decode_header
from ws_middleware.core.frames import Frame, Opcode
from ws_middleware.core.handshake import RequestHead, ResponseHead
from ws_middleware.core.headers import Fields
from ws_middleware.errors import ProtocolError

__all__ = ["Transcript", "request_lines", "response_lines"]

#: Whatever the first byte of a frame is, it is shown.
_ANY = bytes([1]) * 256


def request_lines(head: RequestHead) -> list[str]:
    """Write a request's head."""
    first = f"> {head.method} {head.target} HTTP/{head.version}"
    return [first, *_field_lines(">", head.fields)]


def response_lines(head: ResponseHead) -> list[str]:
    """Write a response's head."""
    first = f"< HTTP/{head.version} {head.status} {head.reason}"
    return [first, *_field_lines("<", head.fields)]


def _field_lines(mark: str, fields: Fields) -> Iterator[str]:
    return (f"{mark} {name}: {value}" for name, value in fields)


class Transcript(Watcher):
    """Tell `write` about heads, and about frames where wanted."""

    def __init__(self, write: Callable[[str], None], *, heads: bool, frames: bool) -> None:
        self._write = write
        self._heads = heads
        self._frames = frames
        self._start()

    def _start(self) -> None:
        self._outgoing = _FrameReader(MASKED)
        self._incoming = _FrameReader(0)

    def begin(self, step: str) -> None:
        """Tell what is done next."""
        if self._heads:
            self._write(f"* {step}")

    def request(self, head: RequestHead) -> None:
        """Show a request."""
        self._start()
        if self._heads:
            for line in [*request_lines(head), ">"]:
                self._write(line)

    def response(self, head: ResponseHead) -> None:
        """Show a response."""
        if self._heads:
            for line in [*response_lines(head), "<"]:
                self._write(line)

    def sent(self, data: bytes) -> None:
        """Show the frames that begin in these bytes."""
        self._show(">", self._outgoing, data)

    def received(self, data: bytes) -> None:
        """Show the frames that begin in these bytes."""
        self._show("<", self._incoming, data)

    def _show(self, mark: str, reader: _FrameReader, data: bytes) -> None:
        if not self._frames:
            return
        try:
            for header in reader.feed(data):
                self._write(f"{mark} {_describe(header)}")
        except ProtocolError as error:
            self._write(f"{mark} what comes here is no frame: {error}")
            self._frames = False  # nothing behind it can be read


def _describe(header: Header) -> str:
    """Describe a frame by its header.

    >>> _describe(Header(0x81, b"", 5, 2))
    'frame: text fin, 5 bytes'
    """
    frame = Frame.from_first_byte(header.first, b"")
    known = frame.opcode in Opcode.__members__.values()
    name = Opcode(frame.opcode).name.lower() if known else f"opcode {frame.opcode:#x}"
    bits = [bit for bit in ("fin", "rsv1", "rsv2", "rsv3") if getattr(frame, bit)]
    key = f", masked with {header.key.hex()}" if header.key else ""
    return f"frame: {' '.join([name, *bits])}, {header.length} bytes{key}"


class _FrameReader:
    """Find the headers of frames in a stream, wherever it is cut; payloads are passed over."""

    def __init__(self, masked: int) -> None:
        self._masked = masked
        self._data = b""
        self._skip = 0  # so much of a payload is still to come

    def feed(self, data: bytes) -> Iterator[Header]:
        """Give the headers that are complete now; `ProtocolError` for what is none."""
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        data = self._data + data[skipped:]
        position = 0
        while header := decode_header(data, position, _ANY, self._masked):
            yield header
            position += header.size + header.length
        self._skip += max(0, position - len(data))
        self._data = data[position:]
