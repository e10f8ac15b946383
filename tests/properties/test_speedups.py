"""C and Python agree on results, their types, and errors; neither keeps what it was given."""

from __future__ import annotations

import contextlib
import sys
import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests import fuzz
from tests.carriers import SIZE, Ends, make_driver
from tests.core.implementations import IMPLEMENTATIONS
from tests.properties.strategies import keys, payloads, sessions
from ws_middleware.core import pure
from ws_middleware.core.codec import SPEEDUPS

pytestmark = pytest.mark.skipif(not SPEEDUPS, reason="C was not built")
TABLES = st.sampled_from([fuzz.LEGAL, fuzz.EVERYTHING])
LIMITS = st.sampled_from([0, 3, 125, 65535, sys.maxsize, sys.maxsize + 1, 1 << 64])


@given(sessions(), TABLES, st.sampled_from([0x80, 0]), LIMITS, st.integers(0, 3), st.integers(0, 9))
@example(bytes.fromhex("82ff7fffffffffffffff00000000"), fuzz.LEGAL, 0x80, 1 << 64, 0, 9)
@example(bytes.fromhex("82ffffffffffffffffff00000000"), fuzz.LEGAL, 0x80, 1 << 64, 0, 9)
@example(bytes.fromhex("8184000000006eedefff"), fuzz.LEGAL, 0x80, 9, 0, 9)
def test_frames_are_decoded_alike(
    data: bytes, legal: bytes, masked: int, limit: int, position: int, count: int
) -> None:
    fuzz.compare("decode_frames", data, position, legal, masked, limit, count)
    fuzz.compare("decode_messages", data, position, masked, limit, count)


@given(st.text(max_size=40).map(str.encode), st.binary(max_size=6), keys, st.integers(0, 5))
def test_text_is_decoded_alike(text: bytes, junk: bytes, key: bytes, cut: int) -> None:
    data = b"".join(
        pure.encode_frame(0x81, payload, key) for payload in (text, text[:-cut], text + junk)
    )
    fuzz.compare("decode_messages", data, 0, 0x80, 1 << 20, 9)


@given(st.integers(-1, 256), st.one_of(payloads, st.text()), st.one_of(keys, st.binary(max_size=6)))
def test_frames_are_encoded_alike(first: int, payload: bytes | str, key: bytes) -> None:
    fuzz.compare("encode_frame", first, payload, key)


@given(payloads, st.one_of(keys, st.binary(max_size=6)), st.integers(0, 40))
def test_octets_are_masked_alike(data: bytes, key: bytes, start: int) -> None:
    fuzz.compare("mask", memoryview(data)[start:], key)


@given(
    sessions(),
    st.sampled_from([0x80, 0]),
    LIMITS.filter(lambda limit: limit <= sys.maxsize),
    st.booleans(),
    st.integers(1, 40),
    st.integers(0, 9),
)
def test_messages_are_taken_alike(
    data: bytes, masked: int, limit: int, is_idle: bool, cut: int, count: int
) -> None:
    feeds = [(data[at : at + cut], count) for at in range(0, len(data), cut)]
    fuzz.compare_intakes(masked, limit, is_idle, feeds)


@given(
    st.none() | keys.map(lambda key: lambda size: key),
    st.lists(st.one_of(payloads, st.text(), payloads.map(bytearray), st.just("\ud800"))),
)
def test_messages_are_sent_alike(
    random: Callable[[int], bytes] | None, messages: list[Any]
) -> None:
    fuzz.compare_outlets(random, messages)


@given(
    st.sampled_from([3, 125, sys.maxsize]),
    st.integers(0, 3),
    st.lists(
        st.one_of(sessions().filter(lambda data: 0 < len(data) <= SIZE), st.text(), st.none())
    ),
)
def test_both_ways_are_carried_alike(
    limit: int, capacity: int, steps: list[bytes | str | None]
) -> None:
    fuzz.compare_carriers(limit, capacity, steps)


def test_fuzzer_finds_no_difference(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--seconds", "1"]) == 0
    assert "no difference" in capsys.readouterr().out


def test_fuzzer_finds_a_difference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pure, "mask", lambda data, key: bytes(data))
    assert fuzz.main(["--seed", "1"]) == 1
    assert "--seed 1: mask" in capsys.readouterr().err


IDLE = SimpleNamespace(is_idle=True)
BAD_TEXT = pure.encode_frame(0x81, b"\xff" * 300, b"1234")
SESSION = b"".join(
    pure.encode_frame(first, payload, b"1234")
    for first, payload in [
        (0x81, b"text" * 9),
        (0x81, "é".encode() * 99),
        (0x82, b"x"),
        (0x89, b""),
    ]
)
CALLS: list[Callable[[Any], object]] = [
    lambda module: module.decode_frames(SESSION + BAD_TEXT, 0, fuzz.LEGAL, 0x80, 1 << 20, 9),
    lambda module: module.decode_messages(SESSION, 0, 0x80, 1 << 20, 9),
    lambda module: module.decode_messages(BAD_TEXT, 0, 0x80, 1 << 20, 9),
    lambda module: module.decode_messages("text", 0, 0x80, 1 << 20, 9),
    lambda module: module.decode_messages(SESSION, 0),
    lambda module: module.encode_frame(0x81, bytearray(1000), b"1234"),
    lambda module: module.encode_frame(payload=b"x", first=0x81),
    lambda module: module.mask(bytearray(1000), b"1234"),
    lambda module: module.mask(bytearray(1000), b"123"),
    lambda module: module.mask(bytearray(1000), "text"),
    lambda module: module.encode_frame(0x81, "text" * 99),
    lambda module: module.encode_frame(0x81, "é" * 999),
    lambda module: module.encode_frame(0x81, "\ud800"),
    lambda module: module.encode_frame(0x81, b"text", b"123"),
    lambda module: module.decode_frames("text", 0, fuzz.LEGAL, 0x80, 1 << 20, 9),
    lambda module: module.decode_frames(SESSION, -1, fuzz.LEGAL, 0x80, 1 << 20, 9),
    lambda module: module.decode_frames(SESSION, 0, b"short", 0x80, 1 << 20, 9),
    lambda module: module.decode_frames(SESSION, 0),
    lambda module: module.mask(b"", b"1234", b""),
    lambda module: module.mask(b"", other=b"1234"),
    lambda module: module.mask(b""),
    lambda module: feed(module, SESSION + BAD_TEXT, 9),
    lambda module: feed(module, SESSION, 1),
    lambda module: feed(module, SESSION[:40], 9, SESSION[40:]),
    lambda module: feed(module, SESSION, 9, extensions=("one",)),
    lambda module: feed(module, "text", 9),
    lambda module: feed(module, SESSION, "9"),
    lambda module: feed(module, SESSION, 9, assembler=None),
    lambda module: module.Intake("0", 1, (), None),
    lambda module: module.Intake.__new__(module.Intake).feed(b"", 1),
    lambda module: module.Intake(0, 1, (), None).__init__(0, 1, (), None),
    lambda module: send(module, "text", b"bytes", bytes(70_000), "é" * 99),
    lambda module: send(module, "text", random=lambda size: b"1234"),
    lambda module: send(module, "text", random=lambda size: b"123"),
    lambda module: send(module, "text", random=lambda size: "1234"),
    lambda module: send(module, "text", random=lambda: b"1234"),
    lambda module: send(module, "\ud800"),
    lambda module: send(module, "text", extensions=("one",)),
    lambda module: send(module, "text", extensions=9),
    lambda module: carry(module, SESSION[:SIZE], "text", b"bytes"),
    lambda module: carry(module, SESSION[:40], bytearray(9), "\ud800"),
    lambda module: carry(module, SESSION[:40], "text", capacity=1),
    lambda module: carry(module, b"", "text", lanes=False),
    lambda module: carry(module, SESSION[:40], "text", create_future=None),
    lambda module: carry(module, SESSION[:40], "text", write=None),
    lambda module: carry(module, SESSION[:40], "text", time=None),
    lambda module: carry(module, SESSION[:40], "text", time=lambda: "late"),
    lambda module: module.Carrier(),
    lambda module: module.Carrier(1, None, b"", None),
    lambda module: module.Carrier((1,), None, b"", None),
    lambda module: module.Carrier((1, 2), None, b"", None).receive_whole(),
    lambda module: module.Carrier.__new__(module.Carrier).write_whole("text"),
    lambda module: module.Carrier(None, None, b"", None).__init__(None, None, b"", None),
    lambda module: module.Outlet(),
    lambda module: module.Outlet.__new__(module.Outlet).pieces_to_send(),
    lambda module: module.Outlet(None, ()).__init__(None, ()),
]


def feed(
    module: Any, data: Any, count: Any, *more: bytes, extensions: Any = (), assembler: Any = IDLE
) -> None:
    """Feed an intake of its own."""
    intake = module.Intake(0x80, 1 << 20, extensions, assembler)
    for piece in (data, *more):
        intake.feed(piece, count)


def send(module: Any, *messages: Any, random: Any = None, extensions: Any = ()) -> None:
    """Send through an outlet of its own."""
    outlet = module.Outlet(random, extensions)
    for message in messages:
        outlet.send_whole(message)
    outlet.pieces_to_send()
    outlet.output.append("text")
    outlet.pieces_to_send()


def carry(
    module: Any, data: bytes, *messages: Any, capacity: int = 9, lanes: bool = True, **calls: Any
) -> None:
    """Carry both ways between ends of which some calls fail."""
    intake, ends = module.Intake(0x80, 1 << 20, (), IDLE), Ends()
    intake.capacity = capacity
    driver = make_driver(module, ends, (intake, module.Outlet(None, ())) if lanes else None)
    for name, call in calls.items():
        setattr(ends, name, call)
    for message in messages:
        with contextlib.suppress(TypeError, ValueError):
            driver.receive_whole()
        with contextlib.suppress(TypeError):
            driver.get_buffer(-1)[: len(data)] = data
            driver.buffer_updated(len(data))
        with contextlib.suppress(TypeError, ValueError):
            driver.write_whole(message)
        for _ in range(3):
            driver.receive_whole()


@pytest.mark.parametrize("call", CALLS)
def test_nothing_is_kept(call: Callable[[object], object]) -> None:
    """References that are not given back, and buffers, would be memory that grows."""
    (compiled,) = (one.values[0] for one in IMPLEMENTATIONS if one.id == "c")

    def repeat(times: int) -> None:
        for _ in range(times):
            with contextlib.suppress(AttributeError, TypeError, ValueError):
                call(compiled)

    tracemalloc.start()
    try:
        repeat(50)
        before = tracemalloc.get_traced_memory()[0]
        repeat(1000)
        assert tracemalloc.get_traced_memory()[0] - before < 10_000
    finally:
        tracemalloc.stop()
