"""What a carrier stands between, as far as it knows it, and a driver that does the least."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

__all__ = ["SIZE", "Ends", "Future", "make_driver"]

#: Of the block that is read into.
SIZE = 1000


class Future:
    """Be a future."""

    def __init__(self) -> None:
        self.results: list[object] = []

    def done(self) -> bool:
        """Tell whether it has ended."""
        return bool(self.results)

    def set_result(self, result: object) -> None:
        """Take its result."""
        self.results.append(result)


class Ends:
    """Be the transport and the loop that a carrier calls."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep what is written."""
        self.written.append(data)

    def time(self) -> float:
        """Tell a time, always the same."""
        return 12.5

    def create_future(self) -> Future:
        """Make a future."""
        return Future()


def make_driver(module: ModuleType, ends: Ends, pair: tuple[Any, Any] | None) -> Any:
    """Make a driver of one implementation, which takes all input that is left to it."""
    driver = _driver_class(module)(pair, ends, memoryview(bytearray(SIZE)), ends)
    driver.inputs, driver.soon = [], 0
    return driver


@functools.cache
def _driver_class(module: ModuleType) -> Any:
    class Driver(module.Carrier):  # type: ignore[misc, name-defined]
        __slots__ = ("inputs", "soon")

        def on_input(self, start: int, stop: int, now: float) -> None:
            self.inputs.append((start, stop, now))
            intake = self._intake
            if intake is not None and self._room is None and start < stop:
                intake.received_at = now
                room = max(0, intake.capacity - len(intake.queue))
                intake.feed(bytes(self._block[start:stop]), room)
            waiter, self._waiter = self._waiter, None
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

        def settle_soon(self) -> None:
            self.soon += 1

    return Driver
