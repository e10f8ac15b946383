"""A large payload in its own memory: unmasked as it comes, whole or given up."""

from __future__ import annotations

import ctypes
import gc
import sys

import pytest

from ws_middleware.core.codec import mask
from ws_middleware.core.payload import Payload

KEY = b"\x01\x80\xfe\x37"
DATA = bytes(range(256)) * 5 + b"odd"


def receive(payload: Payload, data: bytes, chunk: int) -> None:
    for start in range(0, len(data), chunk):
        part = data[start : start + chunk]
        payload.room[: len(part)] = part
        payload.received(len(part))


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 1000, 5000])
@pytest.mark.row(104)
def test_masked_payload_is_whole_however_it_came(chunk: int) -> None:
    payload = Payload(len(DATA), KEY)
    receive(payload, mask(DATA, KEY), chunk)
    assert payload.finish() == DATA


def test_unmasked_payload_is_left_alone() -> None:
    payload = Payload(len(DATA), b"")
    payload.add(DATA[:100])
    payload.add(memoryview(DATA)[100:])
    assert payload.finish() == DATA


def test_what_has_come_can_be_taken_and_nothing_else() -> None:
    payload = Payload(len(DATA), KEY)
    assert payload.take() == b""
    payload.add(mask(DATA, KEY)[:7])
    assert payload.take() == DATA[:7]


def test_room_is_what_is_still_missing() -> None:
    payload = Payload(10, KEY)
    payload.add(bytes(4))
    assert len(payload.room) == 6


def test_the_whole_is_handed_over_while_its_room_is_still_held() -> None:
    payload = Payload(3, b"")
    held = ctypes.c_char.from_buffer(payload.room)  # as an event loop does until we return
    payload.room[:] = b"abc"
    payload.received(3)
    copy = payload.finish()
    held.value = b"x"
    assert copy == b"abc"


def test_the_whole_is_handed_over_without_a_copy() -> None:
    payload = Payload(3, b"")
    payload.room[:] = b"abc"
    payload.received(3)
    assert payload.finish() == b"abc"
    assert payload.finish() is payload.finish()


def test_payload_without_memory_is_no_more_than_an_error() -> None:
    with pytest.MonkeyPatch.context() as patch:
        complaints: list[object] = []
        patch.setattr(sys, "unraisablehook", complaints.append)
        with pytest.raises(MemoryError):
            Payload(sys.maxsize - 100, b"")
        gc.collect()
    assert complaints == []


def test_payload_in_a_cycle_is_collected_in_silence() -> None:
    payload = Payload(100_000, b"")
    cycle: list[object] = [payload, payload.room]
    cycle.append(cycle)
    del payload, cycle
    with pytest.MonkeyPatch.context() as patch:
        complaints: list[object] = []
        patch.setattr(sys, "unraisablehook", complaints.append)
        gc.collect()
    assert complaints == []
