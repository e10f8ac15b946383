"""What an extension is, and how the two ends agree on some (RFC 6455 §9).

A configuration is stateless and shared; `activate` gives the state of one connection.
Parameters are (name, value or None) pairs, already parsed: see `core.headers`.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from ws_middleware.core.frames import Frame
from ws_middleware.core.headers import Parameter, format_extension
from ws_middleware.core.messages import Message, SharedMessage

__all__ = [
    "ActiveExtension",
    "Agreement",
    "Extension",
    "PayloadExtension",
    "Role",
    "accept_offers",
    "confirm_response",
    "sole_payload_extension",
]

#: Which end of the connection this is.
Role = Literal["client", "server"]


class ActiveExtension:
    """Be one extension at work on one connection; every hook does nothing by default.

    `decode` and `encode` see each frame, `decode_message` and `encode_message` each message
    that is received or sent as a whole, not in pieces.
    They raise `ProtocolError` where the peer is at fault.
    """

    #: Reserved bits this extension claims, as they stand in the first byte of a frame.
    reserved_bits: ClassVar[int] = 0
    #: Opcodes of the frames that may carry these bits.
    marked_opcodes: ClassVar[frozenset[int]] = frozenset({0, 1, 2})
    #: Further opcodes this extension claims.
    opcodes: ClassVar[frozenset[int]] = frozenset()
    #: Whether `decode` takes a frame in parts, as they arrive: see `Frame.partial`.
    streams: ClassVar[bool] = False

    def encode(self, frame: Frame) -> Frame:
        """Change a data frame before it is sent."""
        return frame

    def decode(self, frame: Frame, budget: int | None) -> Frame | None:
        """Change a frame that was received; None swallows it.

        The payload returned may be at most `budget` bytes long, None is no limit: a larger
        one has to raise `ProtocolError` with code 1009 before it is made.
        """
        return frame

    def encode_message(self, message: Message) -> Message:
        """Change a message before it becomes a frame."""
        return message

    def decode_message(self, message: Message) -> Message:
        """Change a message before it is delivered."""
        return message

    def rest(self) -> None:
        """Free what can be made again: no message has been sent for a while."""


class PayloadExtension(ActiveExtension, abc.ABC):
    """Be one that changes but the payloads of data frames, and marks what it changed.

    Where it is alone on its connection, a message in one frame passes these two hooks instead
    of `encode` and `decode`, which would come to the same but need a `Frame` for it.
    """

    @abc.abstractmethod
    def encode_payload(self, payload: bytes) -> bytes | None:
        """Change the payload of a whole message; None sends it as it is, without a mark."""

    def encode_shared(self, message: SharedMessage) -> bytes | None:
        """Do the same for a message of many connections, whose `encoded` is there for them all."""
        return self.encode_payload(message.payload)

    @abc.abstractmethod
    def decode_payload(self, payload: bytes, budget: int | None) -> bytes:
        """Change it back; `budget` is that of `decode`."""


def sole_payload_extension(extensions: Sequence[ActiveExtension]) -> PayloadExtension | None:
    """Give the one extension at work where it does no more than a `PayloadExtension`."""
    if len(extensions) != 1 or not isinstance(sole := extensions[0], PayloadExtension):
        return None
    kind = type(sole)
    plain = (ActiveExtension.encode_message, ActiveExtension.decode_message)
    return sole if (kind.encode_message, kind.decode_message) == plain else None


class Extension(abc.ABC):
    """Be the configuration of an extension, as it stands in `Options.extensions`."""

    #: The extension token of the negotiation headers.
    name: ClassVar[str]

    @abc.abstractmethod
    def offers(self) -> Sequence[Sequence[Parameter]]:
        """Give a client's offers, the preferred one first: one list of parameters each."""

    @abc.abstractmethod
    def accept(self, offer: Sequence[Parameter]) -> tuple[Sequence[Parameter], Any] | None:
        """Answer a client's offer: the response's parameters and what was agreed, or None.

        None declines the offer; a server declines what it does not understand.
        """

    @abc.abstractmethod
    def confirm(self, response: Sequence[Parameter]) -> Any:
        """Check a server's response; gives what was agreed, `ValueError` if unacceptable."""

    @abc.abstractmethod
    def activate(self, agreed: Any, role: Role) -> ActiveExtension:
        """Make the state of one connection from what was agreed."""


class Agreement(NamedTuple):
    """Hold one extension both ends agreed on."""

    extension: Extension
    parameters: Sequence[Parameter]
    agreed: Any

    def activate(self, role: Role) -> ActiveExtension:
        """Make the extension's state for one connection."""
        return self.extension.activate(self.agreed, role)

    def __str__(self) -> str:
        return format_extension(self.extension.name, self.parameters)


def accept_offers(
    offers: Iterable[tuple[str, Sequence[Parameter]]], available: Sequence[Extension]
) -> list[Agreement]:
    """Choose, as a server, among a client's offers in the order of its preference.

    Unknown and unacceptable offers are declined silently; of one name the first acceptable
    offer counts, and two extensions that claim the same reserved bit or opcode never meet.
    """
    agreements: list[Agreement] = []
    for name, parameters in offers:
        for extension in available:
            if extension.name == name:
                agreement = _accept(extension, parameters, agreements)
                if agreement is not None:
                    agreements.append(agreement)
    return agreements


def _accept(
    extension: Extension, parameters: Sequence[Parameter], earlier: Sequence[Agreement]
) -> Agreement | None:
    answer = extension.accept(parameters)
    if answer is None:
        return None
    agreement = Agreement(extension, *answer)
    if any(_collide(agreement, other) for other in earlier):
        return None
    return agreement


def _collide(one: Agreement, other: Agreement) -> bool:
    if one.extension.name == other.extension.name:
        return True
    first, second = one.activate("server"), other.activate("server")
    return bool(first.reserved_bits & second.reserved_bits or first.opcodes & second.opcodes)


def confirm_response(
    responses: Iterable[tuple[str, Sequence[Parameter]]], offered: Sequence[Extension]
) -> list[Agreement]:
    """Check, as a client, what the server chose; `ValueError` where it breaks RFC 6455 §4.1."""
    agreements: list[Agreement] = []
    by_name = {extension.name: extension for extension in offered}
    for name, parameters in responses:
        extension = by_name.get(name)
        if extension is None:
            raise ValueError(f"the server chose {name!r}, which was not offered")
        agreement = Agreement(extension, parameters, extension.confirm(parameters))
        if any(_collide(agreement, other) for other in agreements):
            raise ValueError(f"the server chose {name!r} beside another that excludes it")
        agreements.append(agreement)
    return agreements
