"""The most frequent traffic between asyncio and the lanes, in Python.

`StreamDriver` inherits from it. Rule: what is not of that kind is left to the driver.
`_speedups.c` has the class, too, and has to agree with what is here; there `buffer_updated` takes
the messages out of what was read.
"""

from __future__ import annotations

from typing import Any

from ws_middleware.core.codec import LARGE, Intake, Outlet

__all__ = ["MESSAGE_COST", "Carrier"]

#: What handling one message costs beside its bytes, in bytes.
MESSAGE_COST = 64


class Carrier:
    """Carry both ways between a transport, which reads into `block`, and `lanes`, if there are any.

    What is not the most frequent is for the methods of a subclass: `on_input`, `settle_soon`.
    """

    __slots__ = (
        "_block",
        "_intake",
        "_loop",
        "_outlet",
        "_reading_paused",
        "_room",
        "_transport",
        "_waiter",
        "_wants_pieces",
        "budget",
        "write_paused",
    )

    def __init__(
        self,
        lanes: tuple[Intake, Outlet] | None,
        transport: Any,
        block: memoryview,
        loop: Any,
    ) -> None:
        self._intake: Intake | None = None if lanes is None else lanes[0]
        self._outlet: Outlet | None = None if lanes is None else lanes[1]
        self._transport: Any = transport  # None once it is gone
        self._block = block
        self._loop = loop
        self._room: memoryview | None = None  # that was given to read into
        self._waiter: Any = None  # a future of the one receiver
        self._wants_pieces = False  # of a message, as the receiver waits
        self._reading_paused = False
        self.write_paused: bool = False
        #: How much may be received and sent before others have their turn.
        self.budget: int = len(block)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give the memory to read into: of a large payload its own."""
        payload = None if self._intake is None else self._intake.payload
        self._room = room = None if payload is None else payload.room
        return self._block if room is None else room

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self.on_input(0, nbytes, self._loop.time())

    def on_input(self, start: int, stop: int, now: float) -> None:
        """Take what was read from `start` on; messages before it are in the queue already."""
        raise NotImplementedError

    def settle_soon(self) -> None:
        """Write what waits at the end of this turn."""
        raise NotImplementedError

    def receive_whole(self) -> Any:
        """Give the next message, or a future that ends when there is something to receive.

        None where there is more to it, or where it is the others' turn.
        """
        intake, outlet = self._intake, self._outlet
        if intake is None or outlet is None or intake.input or intake.is_streaming:
            return None
        if intake.queue:
            return self._take_first(intake)
        if outlet.output or self._reading_paused or intake.is_stopped or not intake.capacity:
            return None
        intake.is_answered = True
        self.budget = len(self._block)
        self._wants_pieces = False
        self._waiter = self._loop.create_future()
        return self._waiter

    def _take_first(self, intake: Intake) -> Any:
        queue = intake.queue
        if self.budget <= 0 or type(queue[0]) not in (str, bytes):
            return None
        intake.is_answered = False
        message = queue.pop(0)
        self.budget -= len(message) + MESSAGE_COST
        if self._reading_paused:
            self.settle_soon()
        return message

    def write_whole(self, message: Any) -> bool:
        """Send a message as `send_whole` does; False where that cannot be, or not yet.

        It is written at once, but while other messages wait to be answered with what follows.
        """
        intake, outlet = self._intake, self._outlet
        if intake is None or outlet is None or self._transport is None or self.budget <= 0:
            return False
        if self.write_paused or self._reading_paused:
            return False
        waits = bool(intake.queue)
        if _is_large_text(message) if waits else outlet.output:
            return False
        if not outlet.send_whole(message):
            return False
        self.budget -= len(message) + MESSAGE_COST
        if waits:
            self.settle_soon()
        else:
            self._transport.write(outlet.pieces_to_send()[0])
        return True


def _is_large_text(message: Any) -> bool:
    return type(message) is str and len(message) >= LARGE
