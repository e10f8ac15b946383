"""How the two ends agree on extensions; what each extension accepts is its own matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from tests.core.reversing import Reversing
from ws_middleware.core.extensions import (
    ActiveExtension,
    Agreement,
    Extension,
    Role,
    accept_offers,
    confirm_response,
    sole_payload_extension,
)
from ws_middleware.core.frames import RSV1, RSV2, Frame, Opcode
from ws_middleware.core.headers import Parameter, parse_extensions
from ws_middleware.core.messages import Message, SharedMessage, TextMessage
from ws_middleware.extensions import DeflateFrame, PermessageDeflate, XWebkitDeflateFrame


class _Marker(ActiveExtension):
    """Claim what it is told to claim."""

    def __init__(self, bits: int, opcodes: frozenset[int], role: Role) -> None:
        self.reserved_bits = bits  # type: ignore[misc]
        self.opcodes = opcodes  # type: ignore[misc]
        self.role = role


@dataclass(frozen=True)
class _Configuration(Extension):
    """Accept `level=1` to `level=3`, or no level at all."""

    bits: int = 0
    opcodes: frozenset[int] = frozenset()
    name: ClassVar[str] = "x-level"

    def offers(self) -> Sequence[Sequence[Parameter]]:
        return [[("level", "3")], []]

    def accept(self, offer: Sequence[Parameter]) -> tuple[Sequence[Parameter], Any] | None:
        return (offer, len(offer)) if self._is_known(offer) else None

    def confirm(self, response: Sequence[Parameter]) -> Any:
        if not self._is_known(response):
            raise ValueError("a level that is not known")
        return len(response)

    def activate(self, agreed: Any, role: Role) -> ActiveExtension:
        return _Marker(self.bits, self.opcodes, role)

    def _is_known(self, parameters: Sequence[Parameter]) -> bool:
        return list(parameters) in ([], *([("level", level)] for level in "123"))


class _Other(_Configuration):
    name = "x-other"


def _accepted(offers: str, *available: Extension) -> list[str]:
    return [str(agreement) for agreement in accept_offers(parse_extensions(offers), available)]


def _confirmed(response: str, *offered: Extension) -> list[str]:
    return [str(agreement) for agreement in confirm_response(parse_extensions(response), offered)]


# --- a server chooses ---


@pytest.mark.row(33, 60, 61, 62)
@pytest.mark.parametrize(
    ("offers", "agreed"),
    [
        ("x-level", ["x-level"]),
        ("x-level; level=2", ["x-level; level=2"]),
        ('x-level; level="2"', ["x-level; level=2"]),
        ("x-unknown, x-level", ["x-level"]),
        ("x-unknown; level=1", []),
        ("X-Level", []),
        ("x-level; level=4", []),
        ("x-level; unknown", []),
        ("x-level; level=4, x-level; level=3", ["x-level; level=3"]),
        ("x-level; level=1, x-level; level=3", ["x-level; level=1"]),
        ("x-level, x-other", ["x-level", "x-other"]),
        ("x-other, x-level", ["x-other", "x-level"]),
        ("x-other, x-level, x-other; level=1", ["x-other", "x-level"]),
    ],
)
def test_server_accepts_offers_by_the_preference_of_the_client(
    offers: str, agreed: list[str]
) -> None:
    assert _accepted(offers, _Configuration(), _Other()) == agreed


@pytest.mark.row(33)
def test_server_without_extensions_declines_everything() -> None:
    assert _accepted("x-level, permessage-deflate") == []
    assert accept_offers([], [_Configuration()]) == []


@pytest.mark.row(186)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (_Configuration(bits=RSV1), _Other(bits=RSV1)),
        (_Configuration(bits=RSV1 | RSV2), _Other(bits=RSV2)),
        (_Configuration(opcodes=frozenset({3, 4})), _Other(opcodes=frozenset({4}))),
    ],
)
def test_extensions_that_claim_the_same_never_meet(one: Extension, other: Extension) -> None:
    assert _accepted("x-level, x-other", one, other) == ["x-level"]
    assert _accepted("x-other, x-level", one, other) == ["x-other"]
    with pytest.raises(ValueError, match="excludes it"):
        _confirmed("x-level, x-other", one, other)


def test_extensions_that_claim_different_things_meet() -> None:
    one, other = _Configuration(RSV1, frozenset({3})), _Other(RSV2, frozenset({4}))
    assert _accepted("x-level, x-other", one, other) == ["x-level", "x-other"]
    assert _confirmed("x-level, x-other", one, other) == ["x-level", "x-other"]


@pytest.mark.row(186)
@pytest.mark.parametrize(
    "offers",
    [
        "permessage-deflate, deflate-frame",
        "deflate-frame, permessage-deflate",
        "x-webkit-deflate-frame, deflate-frame, permessage-deflate",
    ],
)
def test_one_of_all_compressing_extensions_is_accepted(offers: str) -> None:
    available = [DeflateFrame(), PermessageDeflate(), XWebkitDeflateFrame()]
    (agreement,) = accept_offers(parse_extensions(offers), available)
    assert agreement.extension.name == offers.partition(",")[0]


# --- a client checks ---


@pytest.mark.row(86)
@pytest.mark.parametrize("response", ["x-level", "x-level; level=3", "x-other, x-level"])
def test_client_confirms_what_it_offered(response: str) -> None:
    offered = (_Configuration(), _Other())
    assert _confirmed(response, *offered) == [part.strip() for part in response.split(",")]


def test_client_confirms_that_nothing_was_chosen() -> None:
    assert confirm_response([], [_Configuration()]) == []


@pytest.mark.row(86, 159)
@pytest.mark.parametrize(
    ("response", "why"),
    [
        ("x-other", "not offered"),
        ("X-Level", "not offered"),
        ("x-level; level=4", "not known"),
        ("x-level, x-level", "excludes it"),
    ],
)
def test_client_refuses_what_it_did_not_offer(response: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        _confirmed(response, _Configuration())


# --- what was agreed ---


def test_agreement_is_written_as_in_the_response() -> None:
    agreement = Agreement(_Configuration(), [("level", "2"), ("fast", None)], None)
    assert str(agreement) == "x-level; level=2; fast"


@pytest.mark.parametrize("role", ["client", "server"])
def test_agreement_is_activated_for_a_role(role: Role) -> None:
    active = Agreement(_Configuration(bits=RSV2), [], None).activate(role)
    assert isinstance(active, _Marker)
    assert (active.reserved_bits, active.role) == (RSV2, role)


def test_extension_does_nothing_by_default() -> None:
    active, frame, message = ActiveExtension(), Frame(Opcode.TEXT, b"x"), TextMessage("x")
    assert active.encode(frame) is frame
    assert active.decode(frame, 10) is frame
    assert active.encode_message(message) is message
    assert active.decode_message(message) is message
    assert (active.reserved_bits, active.opcodes, active.streams) == (0, frozenset(), False)


class _Translating(Reversing):
    """See whole messages, too."""

    def decode_message(self, message: Message) -> Message:
        return message


def test_payloads_alone_are_seen_by_one_extension_that_needs_no_more() -> None:
    one = Reversing()
    assert sole_payload_extension([one]) is one
    for extensions in ([], [one, one], [ActiveExtension()], [_Translating()]):
        assert sole_payload_extension(extensions) is None


def test_shared_message_is_changed_for_each_connection_by_default() -> None:
    shared = SharedMessage("abc")
    assert Reversing().encode_shared(shared) == b"cba"
    assert shared.encoded == {}
