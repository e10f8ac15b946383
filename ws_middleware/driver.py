"""The asyncio driver: it moves bytes and time between a transport and an endpoint.

It knows nothing of the protocol beyond the endpoint's contract. A transport that was lent to
it gets its loss reported to the lender. At most 128 KiB of input are handled per turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from ws_middleware.alarms import alarms_of
from ws_middleware.carrier import Carrier
from ws_middleware.core.codec import SPEEDUPS
from ws_middleware.core.endpoint import Endpoint, State
from ws_middleware.options import Options

if SPEEDUPS:
    from ws_middleware.core._speedups import Carrier

__all__ = ["StreamDriver", "end_stream"]

#: How much input is handled in one turn of the event loop, so that a flood starves nobody.
BLOCK = 131_072

_blocks: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


def _block_of(loop: asyncio.AbstractEventLoop) -> memoryview:
    """Give the memory that all connections of a loop read into, one at a time."""
    if loop not in _blocks:
        _blocks[loop] = memoryview(bytearray(BLOCK))
    return _blocks[loop]


def end_stream(transport: asyncio.WriteTransport) -> None:
    """End our half of the stream, behind what was written."""
    try:
        transport.write_eof()
    except OSError:  # it was reset, and the transport has not noticed yet
        transport.abort()


class StreamDriver(Carrier, asyncio.BufferedProtocol):
    """Drive an endpoint over an asyncio transport."""

    __slots__ = (
        "_alarms",
        "_half_closed",
        "_on_lost",
        "_options",
        "_ping_waiters",
        "_resting",
        "_rings_at",
        "_soon",
        "_unwritten",
        "_watchers",
        "endpoint",
    )

    _loop: asyncio.AbstractEventLoop
    _transport: asyncio.Transport | None
    _waiter: asyncio.Future[None] | None
    budget: int
    write_paused: bool

    def __init__(
        self,
        endpoint: Endpoint,
        transport: asyncio.Transport,
        options: Options,
        on_lost: Callable[[Exception | None], None] | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(endpoint.lanes, transport, _block_of(loop), loop)
        self.endpoint: Endpoint = endpoint
        self._options = options
        self._on_lost = on_lost
        self._alarms = alarms_of(loop)
        self._resting = False  # until the next turn
        #: They wait until there is room to write, or the end.
        self._watchers: Sequence[asyncio.Future[None]] = ()
        self._rings_at: float | None = None  # the alarm
        self._soon: asyncio.Handle | None = None
        self._unwritten = 0
        self._half_closed = False
        self._ping_waiters: list[tuple[bytes, asyncio.Future[float]]] | None = None

    def start(self, leftover: bytes = b"") -> None:
        """Take over the transport; `leftover` was read from it already."""
        assert self._transport is not None
        self._transport.set_write_buffer_limits(self._options.write_high_water)
        self._transport.set_protocol(self)
        self._transport.resume_reading()
        if leftover:
            self.endpoint.receive_data(leftover, self._loop.time())
            self._after_input()
        else:
            self.settle()

    @property
    def is_lost(self) -> bool:
        """Tell whether the transport is gone."""
        return self._transport is None

    # --- what the transport calls ---

    def on_input(self, start: int, stop: int, now: float) -> None:
        """Take what was read from `start` on."""
        room, self._room = self._room, None
        if room is not None:
            self.endpoint.room_filled(stop, now)
        elif start < stop:
            self.endpoint.receive_data(self._block[start:stop], now)
            if stop == BLOCK and self.endpoint.room is None:
                self._rest()
        self._after_input()

    def _rest(self) -> None:
        self._resting = True
        self._balance_reading()
        self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._resting = False
        self._balance_reading()

    def eof_received(self) -> bool:
        """Note the end of the peer's stream; ours stays open, except over TLS."""
        self.endpoint.receive_data(b"", self._loop.time())
        self._after_input()
        return self._transport is not None and self._transport.can_write_eof()

    def pause_writing(self) -> None:
        """Note that the transport's buffer is full."""
        self.write_paused = True
        self.endpoint.write_blocked = True
        assert self._transport is not None
        self._unwritten = self._transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        """Note that there is room in the transport's buffer again."""
        self.write_paused = False
        self.endpoint.write_blocked = False
        self.endpoint.write_progressed(self._loop.time())
        self._wake_watchers()
        self.settle()
        if self.endpoint.wants_half_close or self.endpoint.is_over:
            self._wind_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits, and the lender."""
        if not self.endpoint.is_over:
            self.endpoint.lose(f"the connection was lost: {exc}" if exc else "")
        self._transport = None
        self._cancel_alarm()
        self._wake_receiver()
        self._wake_watchers()
        self._answer_pings()
        on_lost, self._on_lost = self._on_lost, None  # no cycle is left behind
        if on_lost is not None:
            on_lost(exc)

    # --- what the connection calls ---

    def settle(self) -> None:
        """Carry out what the endpoint wants: write, wait, end."""
        endpoint = self.endpoint
        if self._transport is None:
            return
        if endpoint.output and not self.write_paused:
            pieces = endpoint.pieces_to_send()
            if len(pieces) == 1:
                self._transport.write(pieces[0])
            elif not self._transport.is_closing():
                # Of one that is given up, Python 3.12's would watch the closed descriptor.
                self._transport.writelines(pieces)
                # Up to Python 3.12.8 and 3.13.1 that alone never calls `pause_writing`.
                self._transport.set_write_buffer_limits(self._options.write_high_water)
        if self._reading_paused:
            self._balance_reading()
        if endpoint.changed:
            self._attend()

    def settle_soon(self) -> None:
        """Settle at the end of this turn, together with what else is sent until then."""
        if self._soon is None:
            self._soon = self._loop.call_soon(self._settle_now)

    def _settle_now(self) -> None:
        self._soon = None
        self.settle()

    def expect_input(self, pieces: bool = False) -> asyncio.Future[None] | None:
        """Give what the one receiver waits for; of a message `pieces` where asked for.

        None says that the transport is gone.
        """
        if self.endpoint.output or self.endpoint.changed or self._reading_paused:
            self.settle()
        if self._transport is None:
            return None
        self.budget = BLOCK
        self._wants_pieces = pieces
        self._waiter = self._loop.create_future()
        return self._waiter

    async def wait_for_room(self) -> None:
        """Wait until the transport takes more, or is gone."""
        while self.write_paused and self._transport is not None:
            await self._watch()

    async def wait_until_lost(self) -> None:
        """Wait until the transport is gone."""
        while self._transport is not None:
            await self._watch()

    def expect_pong(self, payload: bytes) -> asyncio.Future[float]:
        """Give a future for the latency of the ping with this payload."""
        waiter: asyncio.Future[float] = self._loop.create_future()
        # Those who gave up meanwhile are forgotten.
        waiting = [one for one in self._ping_waiters or () if not one[1].done()]
        self._ping_waiters = [*waiting, (payload, waiter)]
        return waiter

    def _watch(self) -> asyncio.Future[None]:
        watcher = self._loop.create_future()
        # Those who gave up meanwhile are forgotten.
        self._watchers = [*(one for one in self._watchers if not one.done()), watcher]
        return watcher

    # --- inside ---

    def _after_input(self) -> None:
        endpoint = self.endpoint
        if endpoint.queue or self._wants_pieces:
            self._wake_receiver()
            if endpoint.is_full:
                self._balance_reading()
        if endpoint.output or endpoint.changed or self._reading_paused:
            self.settle()

    def _attend(self) -> None:
        """Do what is beside writing: wake whoever waits for it, ring in time, end."""
        endpoint = self.endpoint
        self._arm()
        if endpoint.acknowledged:
            self._answer_pings()
        if endpoint.state is not State.OPEN:
            self._wake_receiver()
        if endpoint.wants_half_close or endpoint.is_over:
            self._wind_up()

    def _wake_receiver(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _wake_watchers(self) -> None:
        watchers, self._watchers = self._watchers, ()
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(None)

    def _answer_pings(self) -> None:
        answered, self.endpoint.acknowledged = self.endpoint.acknowledged, ()
        waiters = self._ping_waiters or ()
        for payload, latency in answered:
            for token, waiter in waiters:
                if token == payload and not waiter.done():
                    waiter.set_result(latency)
                    break
        if self._transport is None:
            for _, waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(self.endpoint.closed)
            self._ping_waiters = None

    def _balance_reading(self) -> None:
        """Read while the endpoint has room, and no block waits for its turn."""
        if self._transport is None or self._transport.is_closing():
            return
        pauses = self._resting or self.endpoint.is_full
        if pauses and not self._reading_paused:
            self._transport.pause_reading()
        elif self._reading_paused and not pauses:
            self._transport.resume_reading()
        self._reading_paused = pauses

    def _arm(self) -> None:
        deadline = self.endpoint.next_deadline(self._loop.time())
        if deadline is not None and (self._rings_at is None or self._rings_at > deadline):
            # An alarm that rings early asks again then.
            self._set_alarm(deadline)

    def _set_alarm(self, deadline: float) -> None:
        self._cancel_alarm()
        self._rings_at = self._alarms.set(self._loop, self, deadline)

    def _cancel_alarm(self) -> None:
        if self._rings_at is not None:
            self._alarms.cancel(self, self._rings_at)
            self._rings_at = None

    def on_alarm(self, moment: float) -> None:
        """Do what is due."""
        if moment != self._rings_at or self._transport is None:
            return
        self._rings_at = None
        if self.endpoint.is_over or self._transport.is_closing():
            self._transport.abort()
            return
        now = self._loop.time()
        if self.write_paused:
            unwritten = self._transport.get_write_buffer_size()
            if unwritten < self._unwritten:
                self.endpoint.write_progressed(now)
            self._unwritten = unwritten
        self.endpoint.handle_timeout(now)
        self._after_input()

    def _wind_up(self) -> None:
        """End our half of the stream, or the whole."""
        transport = self._transport
        assert transport is not None
        if self.endpoint.wants_abort:
            transport.abort()
            return
        if transport.is_closing():
            return
        if self.endpoint.is_over or not transport.can_write_eof():
            # What is written still has to leave; a peer that does not take it loses it.
            self._set_alarm(self._loop.time() + self._options.close_timeout)
            if not self.write_paused:
                transport.close()
        elif not self._half_closed and not self.write_paused:
            self._half_closed = True
            end_stream(transport)
