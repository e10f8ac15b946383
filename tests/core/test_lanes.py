"""The lanes in Python and in C: the same tests on both."""

from __future__ import annotations

import contextlib
import gc
import weakref
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.core.implementations import LANES
from tests.peer import BINARY, PING, TEXT, frame
from ws_middleware.core.frames import Opcode
from ws_middleware.core.lanes import LARGE

FROM_CLIENT = 0x80


@pytest.fixture(params=LANES)
def lanes(request: pytest.FixtureRequest) -> ModuleType:
    """Give one implementation after the other."""
    implementation: ModuleType = request.param
    return implementation


@pytest.fixture
def intake(lanes: ModuleType) -> Any:
    """Make one that takes a client's frames."""
    return make_intake(lanes)


def make_intake(lanes: ModuleType, masked: int = FROM_CLIENT, limit: int = 1000) -> Any:
    return lanes.Intake(masked, limit, (), SimpleNamespace(is_idle=True))


# --- what is received ---


def test_whole_messages_are_taken_at_once(intake: Any) -> None:
    data = frame(TEXT, "hällo") + frame(BINARY, b"\xff") + frame(TEXT, "")
    intake.feed(data, 9)
    assert intake.queue == ["hällo", b"\xff", ""]
    assert (intake.input, intake.messages_received, intake.bytes_received) == (b"", 3, len(data))


def test_no_more_of_them_than_asked_for(intake: Any) -> None:
    data = frame(TEXT, "a") * 3
    intake.feed(data, 2)
    assert (intake.queue, intake.messages_received) == (["a", "a"], 2)
    assert intake.input[intake._position :] == data[len(data) // 3 * 2 :]
    intake.feed(b"", 0)
    assert (len(intake.queue), intake.input[intake._position :]) == (2, data[: len(data) // 3])


def test_queue_stays_the_same_list(intake: Any) -> None:
    queue = intake.queue
    for text in ("a", "b"):
        intake.feed(frame(TEXT, text), 9)
    assert queue is intake.queue
    assert queue == ["a", "b"]


@pytest.mark.parametrize("cut", range(1, 11))
def test_rest_waits_for_what_comes_behind_it(intake: Any, cut: int) -> None:
    data = frame(TEXT, "hello")
    intake.feed(memoryview(frame(BINARY, b"x") + data[:cut]), 9)
    assert (intake.queue, bytes(intake.input[intake._position :])) == ([b"x"], data[:cut])
    intake.feed(memoryview(data[cut:] + data), 9)
    assert (intake.queue, intake.input) == ([b"x", "hello", "hello"], b"")


@pytest.mark.parametrize(
    "other",
    [
        frame(PING, b"x"),
        frame(TEXT, "x", fin=False),
        frame(TEXT, "x", rsv=4),
        frame(TEXT, "x", key=None),
        frame(TEXT, b"\xff"),
        frame(BINARY, bytes(1001)),
        frame(0x3, b"x"),
    ],
    ids=["control", "fragment", "rsv", "unmasked", "no UTF-8", "too long", "unknown"],
)
def test_anything_else_stays_where_it_is(intake: Any, other: bytes) -> None:
    intake.feed(frame(TEXT, "a") + other + frame(TEXT, "b"), 9)
    assert intake.queue == ["a"]
    assert intake.input[intake._position :] == other + frame(TEXT, "b")


def test_server_masks_nothing(lanes: ModuleType) -> None:
    intake = make_intake(lanes, masked=0)
    intake.feed(frame(TEXT, "a", key=None) + frame(TEXT, "b"), 9)
    assert (intake.queue, intake.input[intake._position :]) == (["a"], frame(TEXT, "b"))


@pytest.mark.parametrize(
    "change",
    [
        {"_extensions": ("one",)},
        {"_header": "of a frame"},
        {"_assembler": SimpleNamespace(is_idle=False)},
    ],
    ids=str,
)
def test_nothing_is_taken_where_more_belongs_to_it(intake: Any, change: dict[str, Any]) -> None:
    for name, value in change.items():
        setattr(intake, name, value)
    intake.feed(frame(TEXT, "a"), 9)
    assert (intake.queue, intake.input) == ([], frame(TEXT, "a"))


def test_nothing_is_kept_once_it_is_stopped(intake: Any) -> None:
    intake.is_stopped = True
    intake.feed(frame(TEXT, "a"), 9)
    assert (intake.queue, intake.input, intake.bytes_received) == ([], b"", 7)


@pytest.mark.parametrize("arguments", [(), (b"",), ("text", 1), (1, 1), (b"x", "1"), (b"", 1, 1)])
def test_intake_refuses_what_makes_no_sense(intake: Any, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        intake.feed(*arguments)


def test_broken_intake_raises(lanes: ModuleType) -> None:
    with pytest.raises(AttributeError):
        lanes.Intake.__new__(lanes.Intake).feed(b"x", 1)
    intake = make_intake(lanes)
    intake._assembler = object()
    with pytest.raises(AttributeError):
        intake.feed(b"x", 1)
    with pytest.raises(TypeError):
        lanes.Intake()


class Forgetful:
    """An assembler that does anything when it is asked."""

    def __init__(self, intake: Any) -> None:
        self._intake = intake

    @property
    def is_idle(self) -> bool:
        del self._intake.queue
        return True


def test_assembler_may_do_anything(intake: Any) -> None:
    intake._assembler = Forgetful(intake)
    with pytest.raises(AttributeError):
        intake.feed(frame(TEXT, "a"), 1)


# --- what is sent ---


def make_outlet(lanes: ModuleType, random: Any = None, extensions: tuple[Any, ...] = ()) -> Any:
    return lanes.Outlet(random, extensions)


@pytest.mark.parametrize(
    "message", ["", "hello", "hällo", "x" * 70_000, b"", b"\xff" * 126, bytes(LARGE - 1)]
)
@pytest.mark.parametrize("key", [None, b"1234"])
def test_whole_messages_are_sent_at_once(
    lanes: ModuleType, message: str | bytes, key: bytes | None
) -> None:
    outlet = make_outlet(lanes, None if key is None else lambda size: key[:size])
    assert outlet.send_whole(message)
    opcode = TEXT if isinstance(message, str) else BINARY
    assert outlet.output == [frame(opcode, message, key=key)]


class Text(str):
    """A str that may think of something."""

    __slots__ = ()


@pytest.mark.parametrize("message", [bytes(LARGE), bytearray(b"x"), memoryview(b"x"), Text(), None])
def test_others_are_left_alone(lanes: ModuleType, message: Any) -> None:
    outlet = make_outlet(lanes)
    assert not outlet.send_whole(message)
    assert outlet.output == []


def test_nothing_comes_between_fragments(lanes: ModuleType) -> None:
    outlet = make_outlet(lanes)
    outlet._opcode = Opcode.TEXT
    assert not outlet.send_whole("x")
    outlet._opcode = None
    assert outlet.send_whole("x")


def test_nothing_passes_by_an_extension(lanes: ModuleType) -> None:
    assert not make_outlet(lanes, extensions=("one",)).send_whole("x")


def test_small_pieces_are_joined(lanes: ModuleType) -> None:
    outlet = make_outlet(lanes)
    output = outlet.output
    assert outlet.pieces_to_send() == []
    outlet.send_whole("a")
    assert outlet.pieces_to_send() == [b"\x81\x01a"]
    for text in ("a", "b"):
        outlet.send_whole(text)
    outlet._pongs = 2
    assert outlet.pieces_to_send() == [b"\x81\x01a\x81\x01b"]
    assert (outlet.output, outlet._pongs, outlet.bytes_sent) == ([], 0, 9)
    assert outlet.output is output


def test_large_pieces_are_not(lanes: ModuleType) -> None:
    outlet, large = make_outlet(lanes), bytes(LARGE)
    outlet.output += [b"header", large]
    outlet._has_large = True
    pieces = outlet.pieces_to_send()
    assert pieces == [b"header", large]
    assert pieces[1] is large
    assert (outlet.output, outlet._has_large, outlet.bytes_sent) == ([], False, 6 + LARGE)


def test_outlet_refuses_what_makes_no_sense(lanes: ModuleType) -> None:
    for arguments in [(), (b"", b"", b"")]:
        with pytest.raises(TypeError):
            lanes.Outlet(*arguments)
    for random in (lambda: b"1234", lambda size: "text", 9):
        with pytest.raises(TypeError):
            make_outlet(lanes, random).send_whole("x")
    with pytest.raises(ValueError, match="surrogates not allowed"):
        make_outlet(lanes).send_whole("\ud800")
    with pytest.raises(ValueError, match="four bytes"):
        make_outlet(lanes, lambda size: b"123").send_whole("x")


def test_broken_outlet_raises(lanes: ModuleType) -> None:
    outlet = lanes.Outlet.__new__(lanes.Outlet)
    with pytest.raises(AttributeError):
        outlet.send_whole("x")
    with pytest.raises(AttributeError):
        outlet.pieces_to_send()
    outlet = make_outlet(lanes)
    outlet.output += ["text", "text"]
    with pytest.raises(TypeError):
        outlet.pieces_to_send()
    outlet._has_large = True
    outlet.output[:] = [b"bytes", 1]
    with pytest.raises(TypeError):
        outlet.pieces_to_send()


def test_key_may_come_from_code_that_does_anything(lanes: ModuleType) -> None:
    def random(size: int) -> bytes:
        del outlet.output
        return b"1234"

    outlet = make_outlet(lanes, random)
    with contextlib.suppress(AttributeError):
        outlet.send_whole("x")
    assert not hasattr(outlet, "output")


# --- objects ---


@pytest.mark.parametrize("name", ["Intake", "Outlet"])
def test_cycles_are_collected(lanes: ModuleType, name: str) -> None:
    watched: Any = type("Watched", (getattr(lanes, name),), {"__slots__": ("__weakref__",)})
    if name == "Intake":
        made = watched(0, 9, (), None)
        made.queue.append(made)
    else:
        made = watched(None, ())
        made.output.append(made)
    seen = weakref.ref(made)
    del made
    gc.collect()
    assert seen() is None


def test_they_have_no_dictionary(lanes: ModuleType) -> None:
    """Each connection has one of each."""
    for one in (make_intake(lanes), make_outlet(lanes)):
        with pytest.raises(AttributeError):
            one.other = 1
