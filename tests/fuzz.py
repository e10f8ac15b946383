"""Feed the codec any bytes, in C and in Python, and demand that both do the same.

`python -m tests.fuzz --seconds 60` mutates sessions at random, best with the sanitizers of
`.ci/sanitize`; a fuzzer that brings its own bytes calls `agree`.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.carriers import SIZE, Ends, Future, make_driver
from tests.peer import frame
from ws_middleware import carrier
from ws_middleware.core import lanes, pure
from ws_middleware.core.codec import Intake, Outlet

__all__ = ["agree", "compare", "compare_carriers", "compare_intakes", "compare_outlets"]

COMPILED = "ws_middleware.core._speedups"
LEGAL = pure.legal_first_bytes(frozenset())
#: With extensions that claim all there is.
EVERYTHING = pure.legal_first_bytes(frozenset(range(0x80)))


def compare(name: str, *arguments: Any) -> None:
    """Call a function of both implementations; `AssertionError` where they differ."""
    ours = _outcome(importlib.import_module(COMPILED), name, arguments)
    reference = _outcome(pure, name, arguments)
    assert ours == reference, f"{name}{arguments}: {ours} in C, {reference} in Python"


def _outcome(module: Any, name: str, arguments: Any) -> Any:
    try:
        result = getattr(module, name)(*arguments)
    except (TypeError, ValueError) as error:
        return type(error)
    return _typed(result)


def _typed(result: Any) -> Any:
    """Put the type beside each value."""
    parts = [_typed(part) for part in result] if isinstance(result, (tuple, list)) else result
    return type(result), parts


def compare_intakes(
    masked: int, limit: int, is_idle: bool, feeds: Iterable[tuple[bytes, int]]
) -> None:
    """Feed both intakes the same, and look at all that they hold behind each step."""
    assembler = SimpleNamespace(is_idle=is_idle)
    pair = [module.Intake(masked, limit, (), assembler) for module in _lanes()]
    for data, count in feeds:
        for intake in pair:
            intake.feed(memoryview(data), count)
        ours, reference = map(_intake_state, pair)
        assert ours == reference, f"feed({data!r}, {count}): {ours} in C, {reference} in Python"


def _intake_state(intake: Any) -> Any:
    left = bytes(intake.input[intake._position :])
    return _typed([*intake.queue]), left, intake.bytes_received, intake.messages_received


def compare_outlets(random: Callable[[int], bytes] | None, messages: Sequence[Any]) -> None:
    """Let both outlets send the same, and look at what they give to be written."""
    pair = [module.Outlet(random, ()) for module in _lanes()]
    for message in messages:
        ours, reference = (_outcome(outlet, "send_whole", (message,)) for outlet in pair)
        assert ours == reference, f"send_whole({message!r}): {ours} in C, {reference} in Python"
    ours, reference = ((outlet.pieces_to_send(), outlet.bytes_sent) for outlet in pair)
    assert ours == reference, f"{messages}: {ours} in C, {reference} in Python"


def compare_carriers(limit: int, capacity: int, steps: Iterable[bytes | str | None]) -> None:
    """Let both carriers do the same: read bytes, write a text and its bytes, receive for None."""
    modules = importlib.import_module(COMPILED), carrier
    pair = [_make_line(module, limit, capacity) for module in modules]
    for step in steps:
        ours, reference = (_take_step(*line, step) for line in pair)
        assert ours == reference, f"{step!r}: {ours} in C, {reference} in Python"


def _make_line(module: ModuleType, limit: int, capacity: int) -> tuple[Any, Ends]:
    intake: Any = Intake(pure.MASKED, limit, (), SimpleNamespace(is_idle=True))
    intake.capacity, ends = capacity, Ends()
    return make_driver(module, ends, (intake, Outlet(None, ()))), ends


def _take_step(driver: Any, ends: Ends, step: bytes | str | None) -> Any:
    received = None
    if step is None:
        received = driver.receive_whole()
    elif isinstance(step, bytes):
        driver.get_buffer(-1)[: len(step)] = step
        driver.buffer_updated(len(step))
    else:
        for message in (step, step.encode()):
            driver.write_whole(message)
    waits = None if driver._waiter is None else driver._waiter.results
    received = received.results if isinstance(received, Future) else received
    intake, outlet = driver._intake, driver._outlet
    counts = outlet.messages_sent, outlet.bytes_sent, intake.received_at, intake.is_answered
    did = _typed(received), waits, ends.written[:], outlet.output[:], driver.soon, driver.budget
    return did, counts, _intake_state(intake)


def _lanes() -> tuple[ModuleType, ModuleType]:
    return importlib.import_module(COMPILED), lanes


def agree(data: bytes) -> None:
    """Demand that both implementations do the same with these bytes.

    The first ones choose the arguments, the others are what the peer sends.
    """
    choice, position, limit, data = data[0], data[1] & 7, data[2] * data[3], data[4:]
    position *= choice >> 4 & 1
    legal = EVERYTHING if choice & 1 else LEGAL
    masked = pure.MASKED if choice & 2 else 0
    limit = sys.maxsize + 1 if choice & 4 else limit
    compare("decode_frames", data, position, legal, masked, limit, choice >> 4)
    compare("decode_messages", data, position, masked, limit, choice >> 4)
    cut = 1 + position * 97
    feeds = [(data[at : at + cut], choice >> 5) for at in range(0, len(data), cut)]
    compare_intakes(masked, min(limit, sys.maxsize), bool(choice & 8), feeds[:64])
    reads = [data[at : at + SIZE] for at in range(0, min(len(data), 9 * SIZE), SIZE)]
    steps = [part for read in reads for part in (None, read, "reply")[choice & 1 :]]
    compare_carriers(min(limit, sys.maxsize), choice >> 5, [*steps, None, None, "reply"])
    octets = memoryview(data)[position:]
    compare("mask", octets, data[: 3 + bool(choice & 240)])
    compare("encode_frame", choice, octets, data[: choice >> 4])


def mutate(data: bytearray, bits: random.Random) -> None:
    """Change a session in a few places."""
    for _ in range(bits.randrange(4)):
        at = bits.randrange(len(data))
        match bits.randrange(4):
            case 0:
                data[at] = bits.choice([0, 1, 0x7D, 0x7E, 0x7F, 0x80, 0xFE, 0xFF])
            case 1:
                data[at] ^= 1 << bits.randrange(8)
            case 2:
                del data[at + 4 :]
            case 3:
                data[at:at] = bits.randbytes(bits.randrange(9))


def make_session(bits: random.Random) -> bytearray:
    """Make some frames, mostly right ones, behind the bytes that choose the arguments."""
    data = bytearray(bits.randbytes(4))
    for _ in range(bits.randrange(20)):
        size = bits.choice([0, 1, 2, 30, 125, 126, 300, bits.randrange(70_000)])
        text = bits.choice(["a", "é", "\N{EURO SIGN}", "\N{GRINNING FACE}"]) * (size // 4)
        payload = bits.choice([bits.randbytes(size), text.encode()])
        key = bits.randbytes(4) if data[0] & 2 else None
        opcode = bits.choice([0, 1, 1, 2, 8, 9, 10, bits.randrange(16)])
        data += frame(opcode, payload, fin=bits.random() < 0.9, key=key)
    return data


def main(arguments: list[str] | None = None) -> int:
    """Search for a while; whatever differs ends it with the seed that shows it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None, help="try this one alone")
    parsed = parser.parse_args(arguments)
    end, seed, count = time.monotonic() + parsed.seconds, random.randrange(1 << 32), 0
    while count == 0 or (time.monotonic() < end and parsed.seed is None):
        seed = seed + 1 if parsed.seed is None else parsed.seed
        bits = random.Random(seed)
        data = make_session(bits)
        mutate(data, bits)
        try:
            agree(bytes(data))
        except AssertionError as error:
            print(f"--seed {seed}: {error}", file=sys.stderr)
            return 1
        count += 1
    print(f"{count} sessions, no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
