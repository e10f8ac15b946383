"""permessage-deflate: compression of whole messages (RFC 7692).

RSV1 on a message's first frame marks it as compressed; control frames are untouched.
Windows are small by default: 12 bits each way take 44 KiB of a connection at the most, of which
32 are what its compressor remembers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from ws_middleware.core.extensions import ActiveExtension, Extension, PayloadExtension, Role
from ws_middleware.core.frames import RSV1, Frame, Opcode
from ws_middleware.core.headers import Parameter
from ws_middleware.core.messages import SharedMessage
from ws_middleware.extensions.contexts import DEFAULT_BUDGET, Contexts
from ws_middleware.extensions.deflate import (
    Deflater,
    Inflater,
    check_compressor,
    collect,
    parse_window_bits,
)

__all__ = ["PermessageDeflate"]

_NO_TAKEOVER = ("server_no_context_takeover", "client_no_context_takeover")
_WINDOW_BITS = ("server_max_window_bits", "client_max_window_bits")


class Agreed(NamedTuple):
    """Hold what RFC 7692 §7.1 lets the two ends agree on; windows in bits."""

    server_no_context_takeover: bool
    client_no_context_takeover: bool
    server_max_window_bits: int
    client_max_window_bits: int


@dataclass(frozen=True, kw_only=True)
class PermessageDeflate(Extension):
    """Configure permessage-deflate for either role.

    The four parameters of RFC 7692 §7.1 say what this end wants: windows at most that large
    (8 to 15 bits), no context takeover where true. `level` (0 to 9) and `memory_level` (1 to
    9) are zlib's; messages below `threshold` bytes are sent as they are. `library="isal"`
    compresses several times as fast and a quarter worse, with a `level` of 0 to 3. What the
    compressors of all connections remember takes `context_budget` bytes at the most: beyond,
    those that were idle longest begin anew.

    >>> PermessageDeflate().accept([("client_max_window_bits", None)])[0]
    [('server_max_window_bits', '12'), ('client_max_window_bits', '12')]
    """

    name: ClassVar[str] = "permessage-deflate"

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = 12
    client_max_window_bits: int = 12
    level: int = 3
    memory_level: int = 5
    threshold: int = 128
    library: str = "zlib"
    context_budget: int = DEFAULT_BUDGET
    _contexts: Contexts = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in _WINDOW_BITS:
            if not 8 <= getattr(self, name) <= 15:
                raise ValueError(f"{name} is a number from 8 to 15 (RFC 7692 §7.1.2)")
        check_compressor(self.library, self.level)
        if not 1 <= self.memory_level <= 9:
            raise ValueError("memory_level is a number from 1 to 9")
        bits = max(self.server_max_window_bits, self.client_max_window_bits)
        contexts = Contexts.within(self.context_budget, bits, self.memory_level)
        object.__setattr__(self, "_contexts", contexts)

    def offers(self) -> Sequence[Sequence[Parameter]]:
        """Offer these settings, as a client."""
        offer: list[Parameter] = [(name, None) for name in _NO_TAKEOVER if getattr(self, name)]
        if self.server_max_window_bits < 15:
            offer.append(("server_max_window_bits", str(self.server_max_window_bits)))
        offer.append(("client_max_window_bits", str(self.client_max_window_bits)))
        return [offer]

    def accept(self, offer: Sequence[Parameter]) -> tuple[Sequence[Parameter], Agreed] | None:
        """Accept or decline an offer, as a server (§7.1)."""
        try:
            offered = _parse(offer, valueless=("client_max_window_bits",))
        except ValueError:
            return None
        response: list[Parameter] = [
            (name, None) for name in _NO_TAKEOVER if getattr(self, name) or name in offered
        ]
        server_bits = min(offered.get("server_max_window_bits", 15), self.server_max_window_bits)
        if server_bits < 15 or "server_max_window_bits" in offered:
            response.append(("server_max_window_bits", str(server_bits)))
        client_bits = 15
        # "If a received extension negotiation offer doesn't have the client_max_window_bits
        # extension parameter, the corresponding … response … MUST NOT include" it (§7.1.2.2).
        if "client_max_window_bits" in offered:
            client_bits = min(offered["client_max_window_bits"], self.client_max_window_bits)
            if client_bits < 15:
                response.append(("client_max_window_bits", str(client_bits)))
        chosen = dict(response)
        return response, Agreed(
            _NO_TAKEOVER[0] in chosen, _NO_TAKEOVER[1] in chosen, server_bits, client_bits
        )

    def confirm(self, response: Sequence[Parameter]) -> Agreed:
        """Check the server's response, as a client; `ValueError` if it is unacceptable."""
        chosen = _parse(response, valueless=())
        # Common servers leave out what they do not know (`server_…`) instead of declining the
        # offer: reading what they send then costs us memory, and nothing else.
        server_bits = chosen.get("server_max_window_bits", 15)
        # "a server accepts … by including [it] … with the same or smaller value" (§7.1.2.1)
        if "server_max_window_bits" in chosen and server_bits > self.server_max_window_bits:
            raise ValueError(
                f"the server chose a window of {server_bits} bits where "
                f"server_max_window_bits={self.server_max_window_bits} was offered"
            )
        client_bits = chosen.get("client_max_window_bits", 15)
        if "client_max_window_bits" in chosen and client_bits > self.client_max_window_bits:
            raise ValueError(
                f"the server chose a window of {client_bits} bits where "
                f"client_max_window_bits={self.client_max_window_bits} was offered"
            )
        return Agreed(
            _NO_TAKEOVER[0] in chosen,
            _NO_TAKEOVER[1] in chosen or self.client_no_context_takeover,
            server_bits,
            min(client_bits, self.client_max_window_bits),
        )

    def activate(self, agreed: Agreed, role: Role) -> ActiveExtension:
        """Make the compressor and decompressor of one connection."""
        server = (agreed.server_max_window_bits, not agreed.server_no_context_takeover)
        client = (agreed.client_max_window_bits, not agreed.client_no_context_takeover)
        (bits, takeover), peer = (server, client) if role == "server" else (client, server)
        return _Active(
            Deflater(bits, self.level, self.memory_level, takeover, self._contexts, self.library),
            Inflater(*peer),
            self.threshold,
        )


def _parse(parameters: Sequence[Parameter], valueless: Sequence[str]) -> dict[str, int]:
    """Check parameters; gives their values, and 15 for windows without one."""
    checked: dict[str, int] = {}
    for name, value in collect(parameters).items():
        if name in _NO_TAKEOVER and value is None:
            checked[name] = 1
        elif name in _WINDOW_BITS:
            checked[name] = 15 if value is None and name in valueless else parse_window_bits(value)
        else:
            raise ValueError(f"{name} is no parameter of permessage-deflate, or its value is bad")
    return checked


class _Active(PayloadExtension):
    """Compress and decompress the messages of one connection."""

    __slots__ = ("_deflater", "_deflating", "_inflater", "_inflating", "_threshold")

    reserved_bits = RSV1
    # "This bit MUST NOT be set … on continuation frames" (§6.1)
    marked_opcodes = frozenset({Opcode.TEXT, Opcode.BINARY})
    streams = True

    def __init__(self, deflater: Deflater, inflater: Inflater, threshold: int) -> None:
        self._deflater = deflater
        self._inflater = inflater
        self._threshold = threshold
        self._deflating = False
        self._inflating = False

    def encode_payload(self, payload: bytes) -> bytes | None:
        return None if len(payload) < self._threshold else self._deflater.deflate(payload, True)

    def encode_shared(self, message: SharedMessage) -> bytes | None:
        small = len(message.payload) < self._threshold
        return None if small else self._deflater.deflate_shared(message)

    def decode_payload(self, payload: bytes, budget: int | None) -> bytes:
        return self._inflater.inflate(payload, True, budget)

    def rest(self) -> None:
        self._deflater.rest()

    def encode(self, frame: Frame) -> Frame:
        first = frame.opcode != Opcode.CONTINUATION
        if first:
            small = frame.fin and len(frame.payload) < self._threshold
            self._deflating = frame.compress and not small
        if not self._deflating:
            return frame
        self._deflating = not frame.fin
        payload = self._deflater.deflate(frame.payload, frame.fin)
        return Frame(
            frame.opcode,
            payload,
            frame.fin,
            first,
            frame.rsv2,
            frame.rsv3,
            compress=frame.compress,
        )

    def decode(self, frame: Frame, budget: int | None) -> Frame:
        if frame.opcode != Opcode.CONTINUATION:
            self._inflating = frame.rsv1
        if not self._inflating:
            return frame
        payload = self._inflater.inflate(frame.payload, frame.fin, budget)
        return Frame(frame.opcode, payload, frame.fin, False, frame.rsv2, frame.rsv3, frame.partial)
