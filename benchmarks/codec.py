"""The protocol alone, without sockets: `python -m benchmarks.codec`, nanoseconds per message.

Every number is the best of some rounds, as noise only ever adds. Beside ours stands what
`websockets` does in the same place.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator

from websockets.frames import Frame as TheirFrame
from websockets.frames import Opcode as TheirOpcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from ws_middleware.core.codec import (
    MASKED,
    WHOLE_BINARY,
    decode_messages,
    encode_frame,
    mask,
)
from ws_middleware.core.endpoint import Endpoint
from ws_middleware.options import Options

SIZES = (32, 1024, 65_535)
#: How many small messages one read from a busy socket may bring.
BATCH = 16

Step = Callable[[], object]


def masking(payload: bytes, key: bytes) -> tuple[Step, int]:
    return lambda: mask(payload, key), 1


def decoding(payload: bytes, key: bytes) -> tuple[Step, int]:
    data = encode_frame(WHOLE_BINARY, payload, key)
    assert decode_messages(data, 0, MASKED, len(payload), BATCH) == ([payload], len(data))
    return lambda: decode_messages(data, 0, MASKED, len(payload), BATCH), 1


def encoding(payload: bytes, _: bytes) -> tuple[Step, int]:
    return lambda: encode_frame(WHOLE_BINARY, payload), 1


def _echoing(payload: bytes, key: bytes, count: int) -> tuple[Step, int]:
    """Do what a driver and an echo handler do with an endpoint."""
    endpoint = Endpoint("server", Options(extensions=()))
    data = encode_frame(WHOLE_BINARY, payload, key) * count
    expected = encode_frame(WHOLE_BINARY, payload) * count

    def step() -> None:
        endpoint.receive_data(data, 0.0)
        while isinstance(message := endpoint.next_message(), (str, bytes)):
            endpoint.send_message(message)
        assert endpoint.data_to_send() == expected

    return step, count


def echoing(payload: bytes, key: bytes) -> tuple[Step, int]:
    return _echoing(payload, key, 1)


def echoing_a_batch(payload: bytes, key: bytes) -> tuple[Step, int]:
    return _echoing(payload, key, BATCH)


def echoing_with_websockets(payload: bytes, key: bytes) -> tuple[Step, int]:
    protocol = ServerProtocol(state=State.OPEN)
    data = encode_frame(WHOLE_BINARY, payload, key)
    expected = encode_frame(WHOLE_BINARY, payload)

    def step() -> None:
        protocol.receive_data(data)
        for event in protocol.events_received():
            assert isinstance(event, TheirFrame)
            assert event.opcode is TheirOpcode.BINARY
            protocol.send_binary(event.data)
        assert b"".join(protocol.data_to_send()) == expected

    return step, 1


ROWS = {
    "mask": masking,
    "decode": decoding,
    "encode": encoding,
    "echo, one message a read": echoing,
    f"echo, {BATCH} messages a read": echoing_a_batch,
    "echo, one message a read, `websockets`": echoing_with_websockets,
}


def _cost(step: Step, count: int, seconds: float, rounds: int) -> float:
    """Give the nanoseconds per message of a step that handles `count` of them."""
    once = _time(step, 1)
    repetitions = max(1, int(seconds / max(once, 1e-7)))
    return min(_time(step, repetitions) for _ in range(rounds)) / repetitions / count * 1e9


def _time(step: Step, repetitions: int) -> float:
    began = time.perf_counter()
    for _ in range(repetitions):
        step()
    return time.perf_counter() - began


def _lines(seconds: float, rounds: int) -> Iterator[str]:
    yield f"| ns per message | {' | '.join(f'{size} B' for size in SIZES)} |"
    yield "|---|" + "---:|" * len(SIZES)
    for title, make in ROWS.items():
        steps = [make(os.urandom(size), os.urandom(4)) for size in SIZES]
        cells = [f"{_cost(step, count, seconds, rounds):,.0f}" for step, count in steps]
        yield f"| {title} | {' | '.join(cells)} |"


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codec", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="run everything, measure nothing")
    smoke = parser.parse_args(arguments).smoke
    for line in _lines(*((0.0, 1) if smoke else (0.05, 9))):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
