"""The carrier in Python and in C: the same tests on both."""

from __future__ import annotations

import gc
import weakref
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

import pytest

from tests.carriers import SIZE, Ends, Future, make_driver
from tests.core.implementations import find_implementations
from tests.peer import BINARY, PING, TEXT, frame
from ws_middleware import carrier
from ws_middleware.carrier import MESSAGE_COST
from ws_middleware.core.codec import LARGE, Intake, Outlet

FROM_CLIENT = 0x80


@pytest.fixture(params=find_implementations(carrier))
def module(request: pytest.FixtureRequest) -> ModuleType:
    """Give one implementation after the other."""
    implementation: ModuleType = request.param
    return implementation


class Line:
    """A carrier with all that it stands between."""

    def __init__(self, module: ModuleType, capacity: int = 3, both: bool = True) -> None:
        self.intake, self.outlet, self.ends = (
            Intake(FROM_CLIENT, 1000, (), SimpleNamespace(is_idle=True)),
            Outlet(None, ()),
            Ends(),
        )
        self.intake.capacity = capacity
        pair = (self.intake, self.outlet) if both else None
        self.carrier = make_driver(module, self.ends, pair)

    def read(self, data: bytes) -> list[tuple[int, int, float]]:
        """Let the transport read; gives what is left to the driver."""
        self.carrier.get_buffer(-1)[: len(data)] = data
        self.carrier.buffer_updated(len(data))
        left: list[tuple[int, int, float]] = self.carrier.inputs[:]
        self.carrier.inputs.clear()
        return left

    def wait(self) -> Future:
        """Wait for a message, as the one receiver."""
        waiter = self.carrier.receive_whole()
        assert isinstance(waiter, Future)
        return waiter


@pytest.fixture
def line(module: ModuleType) -> Line:
    """Make a carrier and its ends."""
    return Line(module)


@pytest.fixture
def takes(module: ModuleType) -> bool:
    """Tell whether a carrier takes messages itself, or leaves all that is read to its driver."""
    return module.__name__.endswith("_speedups")


def test_messages_that_are_read_wake_the_receiver(line: Line, takes: bool) -> None:
    waiter, data = line.wait(), frame(TEXT, "a") + frame(BINARY, b"b")
    left = line.read(data)
    if not takes:
        assert left == [(0, len(data), 12.5)]
        return
    assert left == []
    assert waiter.results == [None]
    assert line.carrier._waiter is None
    intake = line.intake
    assert (intake.queue, intake.messages_received) == (["a", b"b"], 2)
    assert (intake.bytes_received, intake.received_at) == (len(data), 12.5)
    assert line.read(frame(TEXT, "c")) == [(7, 7, 12.5)], "the queue is full"
    assert line.read(frame(TEXT, "d")) == [(0, 7, 12.5)], "there is no room"
    assert intake.queue == ["a", b"b", "c"]


def test_receiver_that_gave_up_is_not_woken(line: Line, takes: bool) -> None:
    waiter = line.wait()
    waiter.set_result("given up")
    assert bool(line.read(frame(TEXT, "a"))) is not takes
    assert waiter.results == ["given up"]


def test_rest_is_left_to_the_driver(line: Line, takes: bool) -> None:
    first, rest = frame(TEXT, "a"), frame(PING, b"b")
    waiter = line.wait()
    assert line.read(first + rest) == [(takes * len(first), len(first + rest), 12.5)]
    assert waiter.results == [None]
    assert (line.intake.queue, line.intake.input[line.intake._position :]) == (["a"], rest)


def test_whole_block_is_left_to_the_driver(line: Line) -> None:
    assert line.read(frame(BINARY, bytes(SIZE - 8))) == [(0, SIZE, 12.5)]
    assert line.intake.queue == [bytes(SIZE - 8)]


@pytest.mark.parametrize(
    "change",
    [
        {"_extensions": ("one",)},
        {"_header": "of a frame"},
        {"_assembler": SimpleNamespace(is_idle=False)},
        {"is_stopped": True},
        {"input": b"part of a frame"},
        {"capacity": 0},
    ],
    ids=str,
)
def test_nothing_is_taken_where_more_belongs_to_what_is_read(
    line: Line, change: dict[str, Any]
) -> None:
    for name, value in change.items():
        setattr(line.intake, name, value)
    assert line.read(frame(TEXT, "a")) == [(0, 7, 12.5)]
    assert line.intake.queue == []


def test_large_payload_is_read_into_its_own_room(line: Line) -> None:
    room = memoryview(bytearray(10))
    line.intake.payload = SimpleNamespace(room=room)
    assert line.carrier.get_buffer(-1) is room
    assert line.read(frame(TEXT, "a")) == [(0, 7, 12.5)]
    assert (line.intake.queue, bytes(room[:7])) == ([], frame(TEXT, "a"))
    line.intake.payload.room = None
    assert line.carrier.get_buffer(-1) is line.carrier._block


def test_messages_are_received_one_by_one(line: Line) -> None:
    line.intake.queue += ["a", b"b"]
    assert line.carrier.receive_whole() == "a"
    assert line.intake.is_answered is False
    assert line.carrier.receive_whole() == b"b"
    assert line.carrier.budget == SIZE - 2 * (1 + MESSAGE_COST)
    assert line.carrier.soon == 0
    line.carrier._wants_pieces = True
    assert line.carrier._waiter is not line.wait() is line.carrier._waiter
    assert (line.intake.is_answered, line.carrier._wants_pieces) == (True, False)
    assert line.carrier.budget == SIZE


def test_driver_reads_on_once_there_is_room_again(line: Line) -> None:
    line.intake.queue.append("a")
    line.carrier._reading_paused = True
    assert line.carrier.receive_whole() == "a"
    assert line.carrier.soon == 1


@pytest.mark.parametrize("first", ["a", None])
@pytest.mark.parametrize("change", [{"input": b"part of a frame"}, {"is_streaming": True}], ids=str)
def test_nothing_is_received_while_more_belongs_to_it(
    line: Line, first: str | None, change: dict[str, Any]
) -> None:
    line.intake.queue += [first] * bool(first)
    for name, value in change.items():
        setattr(line.intake, name, value)
    assert line.carrier.receive_whole() is None
    assert line.carrier._waiter is None


def test_what_is_no_message_is_left_in_the_queue(line: Line) -> None:
    line.intake.queue.append(SimpleNamespace())
    assert line.carrier.receive_whole() is None
    line.intake.queue[:] = ["a"]
    line.carrier.budget = 0
    assert line.carrier.receive_whole() is None, "others have their turn"
    assert line.intake.queue == ["a"]


@pytest.mark.parametrize("name", ["_reading_paused", "is_stopped", "capacity", "output"])
def test_nobody_waits_where_there_is_more_to_do(line: Line, name: str) -> None:
    if name == "output":
        line.outlet.output.append(b"x")
    elif name == "_reading_paused":
        line.carrier._reading_paused = True
    else:
        setattr(line.intake, name, name == "is_stopped")
    assert line.carrier.receive_whole() is None
    assert line.carrier._waiter is None


def test_message_is_written_at_once(line: Line) -> None:
    for message in ("a", b"b", "c" * LARGE):
        line.carrier.budget = SIZE
        assert line.carrier.write_whole(message) is True
        assert line.carrier.budget == SIZE - len(message) - MESSAGE_COST
    head = bytes([126]) + LARGE.to_bytes(2, "big")
    assert line.ends.written == [b"\x81\x01a", b"\x82\x01b", b"\x81" + head + b"c" * LARGE]
    assert (line.outlet.output, line.carrier.soon) == ([], 0)
    assert (line.outlet.messages_sent, line.outlet.bytes_sent) == (3, 10 + LARGE)


def test_replies_leave_together(line: Line) -> None:
    line.intake.queue.append("not received yet")
    assert line.carrier.write_whole("a") is True
    assert line.carrier.write_whole("b") is True
    assert (line.ends.written, line.carrier.soon) == ([], 2)
    assert line.outlet.pieces_to_send() == [b"\x81\x01a\x81\x01b"]
    assert line.outlet.messages_sent == 2
    assert line.carrier.budget == SIZE - 2 * (1 + MESSAGE_COST)
    assert line.carrier.write_whole("c" * LARGE) is False
    assert line.carrier.write_whole(bytearray(b"d")) is False
    assert line.carrier.soon == 2


@pytest.mark.parametrize("name", ["write_paused", "_reading_paused", "_transport", "budget"])
def test_nothing_is_written_where_that_has_to_wait(line: Line, name: str) -> None:
    setattr(line.carrier, name, {"_transport": None, "budget": 0}.get(name, True))
    assert line.carrier.write_whole("a") is False
    assert (line.ends.written, line.outlet.output) == ([], [])


def test_nothing_is_written_past_what_waits_or_may_not_be_sent(line: Line) -> None:
    line.outlet.output.append(b"x")
    assert line.carrier.write_whole("a") is False
    line.outlet.output.clear()
    line.outlet.is_closed = True
    assert line.carrier.write_whole("a") is False
    line.intake.queue.append("not received yet")
    assert line.carrier.write_whole("a") is False
    assert line.ends.written == line.outlet.output == []


def test_without_lanes_all_is_left_to_the_driver(module: ModuleType) -> None:
    line = Line(module, both=False)
    assert line.read(frame(TEXT, "a")) == [(0, 7, 12.5)]
    assert line.carrier.receive_whole() is None
    assert line.carrier.write_whole("a") is False


def test_carrier_is_nothing_without_a_driver(module: ModuleType) -> None:
    ends, block = Ends(), memoryview(bytearray(SIZE))
    intake, outlet = Intake(FROM_CLIENT, 1000, (), SimpleNamespace(is_idle=True)), Outlet(None, ())
    carrier = module.Carrier((intake, outlet), ends, block, ends)
    with pytest.raises((NotImplementedError, AttributeError)):
        carrier.buffer_updated(1)
    intake.queue.append("a")
    with pytest.raises((NotImplementedError, AttributeError)):
        carrier.write_whole("a")
    carrier._reading_paused = True
    with pytest.raises((NotImplementedError, AttributeError)):
        carrier.receive_whole()


def test_what_the_ends_raise_is_raised(line: Line) -> None:
    def fail(*arguments: object) -> NoReturn:
        raise OSError("broken")

    for name in ("write", "time", "create_future"):
        setattr(line.ends, name, fail)
    with pytest.raises(OSError, match="broken"):
        line.carrier.write_whole("a")
    with pytest.raises(OSError, match="broken"):
        line.carrier.buffer_updated(0)
    with pytest.raises(OSError, match="broken"):
        line.carrier.receive_whole()
    with pytest.raises(ValueError, match="surrogates not allowed"):
        line.carrier.write_whole("\ud800")


def test_carrier_refuses_what_makes_no_sense(module: ModuleType, line: Line) -> None:
    for arguments in [(), (None, None, None, None), (1, None, b"", None)]:
        with pytest.raises(TypeError):
            module.Carrier(*arguments)
    usual: dict[str, tuple[object, ...]] = {
        "get_buffer": (-1,),
        "buffer_updated": (1,),
        "receive_whole": (),
        "write_whole": ("a",),
    }
    broken = module.Carrier.__new__(module.Carrier)
    for name, given in usual.items():
        with pytest.raises(TypeError):
            getattr(line.carrier, name)(*given, None)
        with pytest.raises(AttributeError):
            getattr(broken, name)(*given)


class Forgetful:
    """Input, and an assembler, that does anything when it is looked at."""

    def __init__(self, intake: Any) -> None:
        self._intake = intake

    def __len__(self) -> int:
        del self._intake.queue
        return 0

    @property
    def is_idle(self) -> bool:
        del self._intake.queue
        return True


@pytest.mark.parametrize("name", ["input", "_assembler"])
def test_what_it_looks_at_may_do_anything(line: Line, name: str) -> None:
    setattr(line.intake, name, Forgetful(line.intake))
    with pytest.raises((AttributeError, TypeError)):
        line.read(frame(TEXT, "a"))


def test_input_may_do_anything_while_somebody_receives(line: Line) -> None:
    line.intake.input = Forgetful(line.intake)
    with pytest.raises(AttributeError):
        line.carrier.receive_whole()


def test_cycle_is_collected(module: ModuleType) -> None:
    watched: Any = type("Watched", (module.Carrier,), {"__slots__": ("__weakref__",)})
    made = watched(None, None, b"", None)
    made._waiter = made
    seen = weakref.ref(made)
    del made
    gc.collect()
    assert seen() is None


def test_it_has_no_dictionary(module: ModuleType) -> None:
    with pytest.raises(AttributeError):
        module.Carrier(None, None, b"", None).other = 1
