"""deflate-frame and x-webkit-deflate-frame: compression of single frames.

The legacy draft-tyoshino-hybi-websocket-perframe-deflate-06, under its two names.
RSV1 marks a compressed frame, continuation frames included; each ends with its own flush.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from ws_middleware.core.extensions import ActiveExtension, Extension, PayloadExtension, Role
from ws_middleware.core.frames import RSV1, Frame
from ws_middleware.core.headers import Parameter
from ws_middleware.core.messages import SharedMessage
from ws_middleware.extensions.contexts import DEFAULT_BUDGET, Contexts
from ws_middleware.extensions.deflate import Deflater, Inflater, collect, parse_window_bits

__all__ = ["DeflateFrame", "XWebkitDeflateFrame"]


class Agreed(NamedTuple):
    """Hold what each end asked of the other end's compressor."""

    own_window_bits: int
    own_takeover: bool
    peer_window_bits: int
    peer_takeover: bool


@dataclass(frozen=True, kw_only=True)
class DeflateFrame(Extension):
    """Configure deflate-frame for either role.

    `max_window_bits` (8 to 15) and `no_context_takeover` are what this end asks of the
    peer's compressor; `level` and `memory_level` are zlib's, and `context_budget` is what the
    compressors of all connections keep together, in bytes.

    >>> DeflateFrame().accept([])[0]
    [('max_window_bits', '12')]
    """

    name: ClassVar[str] = "deflate-frame"

    max_window_bits: int = 12
    no_context_takeover: bool = False
    level: int = 3
    memory_level: int = 5
    context_budget: int = DEFAULT_BUDGET
    _contexts: Contexts = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 8 <= self.max_window_bits <= 15:
            raise ValueError("max_window_bits is a number from 8 to 15")
        if not 0 <= self.level <= 9 or not 1 <= self.memory_level <= 9:
            raise ValueError("level is a number from 0 to 9, memory_level one from 1 to 9")
        # The peer may ask for the largest window.
        contexts = Contexts.within(self.context_budget, 15, self.memory_level)
        object.__setattr__(self, "_contexts", contexts)

    def offers(self) -> Sequence[Sequence[Parameter]]:
        """Offer these settings, as a client."""
        return [self._own_request()]

    def accept(self, offer: Sequence[Parameter]) -> tuple[Sequence[Parameter], Agreed] | None:
        """Accept or decline an offer, as a server."""
        try:
            return self._own_request(), self._agree(offer)
        except ValueError:
            return None

    def confirm(self, response: Sequence[Parameter]) -> Agreed:
        """Check the server's response, as a client."""
        return self._agree(response)

    def activate(self, agreed: Agreed, role: Role) -> ActiveExtension:
        """Make the compressor and decompressor of one connection."""
        return _Active(
            Deflater(
                agreed.own_window_bits,
                self.level,
                self.memory_level,
                agreed.own_takeover,
                self._contexts,
            ),
            Inflater(agreed.peer_window_bits, agreed.peer_takeover),
        )

    def _own_request(self) -> list[Parameter]:
        request: list[Parameter] = []
        if self.max_window_bits < 15:
            request.append(("max_window_bits", str(self.max_window_bits)))
        if self.no_context_takeover:
            request.append(("no_context_takeover", None))
        return request

    def _agree(self, parameters: Sequence[Parameter]) -> Agreed:
        asked = collect(parameters)
        takeover = "no_context_takeover" not in asked
        if asked.pop("no_context_takeover", None) is not None:
            raise ValueError("no_context_takeover has no value")
        bits = parse_window_bits(asked.pop("max_window_bits")) if "max_window_bits" in asked else 15
        if asked:
            raise ValueError(f"{self.name} has no parameter {next(iter(asked))!r}")
        # The peer is bound by what we asked only where we asked for a smaller window.
        return Agreed(bits, takeover, self.max_window_bits, not self.no_context_takeover)


@dataclass(frozen=True, kw_only=True)
class XWebkitDeflateFrame(DeflateFrame):
    """Configure the same extension under the name that old WebKit browsers use."""

    name: ClassVar[str] = "x-webkit-deflate-frame"


class _Active(PayloadExtension):
    """Compress and decompress the data frames of one connection."""

    __slots__ = ("_deflater", "_inflater", "_inflating")

    reserved_bits = RSV1
    streams = True

    def __init__(self, deflater: Deflater, inflater: Inflater) -> None:
        self._deflater = deflater
        self._inflater = inflater
        self._inflating: bool | None = None  # None between frames

    def encode_payload(self, payload: bytes) -> bytes:
        return self._deflater.deflate(payload, True)

    def encode_shared(self, message: SharedMessage) -> bytes:
        return self._deflater.deflate_shared(message)

    def decode_payload(self, payload: bytes, budget: int | None) -> bytes:
        return self._inflater.inflate(payload, True, budget)

    def rest(self) -> None:
        self._deflater.rest()

    def encode(self, frame: Frame) -> Frame:
        if not frame.compress:
            return frame
        return frame._replace(payload=self._deflater.deflate(frame.payload, True), rsv1=True)

    def decode(self, frame: Frame, budget: int | None) -> Frame:
        inflating = frame.rsv1 if self._inflating is None else self._inflating
        self._inflating = inflating if frame.partial else None
        if not inflating:
            return frame
        payload = self._inflater.inflate(frame.payload, not frame.partial, budget)
        return frame._replace(payload=payload, rsv1=False)
