"""The blocking driver: it moves bytes and time between a socket and an endpoint.

Rule 1: one lock guards it, and nobody waits while holding it. Rule 2: of those who wait for
one direction of the socket one leads, the others wait for the leader's word. Rule 3: only the
leader reads; an attendant of the process looks in now and then, reads while there is no leader,
and rings in time while he waits in the kernel.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import NoReturn, TypeVar

from ws_middleware.attendant import look_after
from ws_middleware.core.endpoint import Endpoint
from ws_middleware.options import Options
from ws_middleware.stream import BLOCK, Stream
from ws_middleware.waiting import Event, Interest, Waiting, waiting_for

__all__ = ["SocketDriver"]

_Result = TypeVar("_Result")

#: How many blocks are read in one go.
BLOCKS = 4
#: How many pieces any system takes in one go.
PIECES = 16


class _Turn:
    """Say whether somebody leads in one direction, and who waits for him."""

    __slots__ = ("others", "taken")

    def __init__(self) -> None:
        self.taken = False
        self.others: list[Event] = []

    def take(self) -> bool:
        """Lead, if nobody does."""
        if self.taken:
            return False
        self.taken = True
        return True

    def tell(self) -> None:
        """Let the others look again."""
        others, self.others = self.others, []
        for event in others:
            event.set()


class SocketDriver:
    """Drive an endpoint over a socket, for threads or greenlets that block."""

    def __init__(
        self,
        endpoint: Endpoint,
        stream: Stream,
        options: Options,
        *,
        preface: bytes = b"",
        leftover: bytes = b"",
        on_over: Callable[[], object] | None = None,
        carrier: int | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.lock: threading.Lock = threading.Lock()
        self._stream = stream
        self.waiting: Waiting = waiting_for(stream.sock)
        self._close_timeout = options.close_timeout
        self._on_over = on_over  # called once, under the lock, before the peer can see the end
        self._carrier = carrier  # the thread of an event loop, which must not wait
        self._unsent: deque[memoryview] = deque()
        self._sent = 0  # bytes taken by the socket, of all
        self._queued = 0  # bytes given to it, of all
        self._reading = _Turn()
        self._writing = _Turn()
        self._ended = False  # the peer's stream
        self._half_closed = False
        self._give_up_at: float | None = None
        self._deadline: float | None = None
        #: Who alone sends messages now, as he sends one in fragments (§5.4).
        self.fragmenter: object | None = None
        #: Pings that somebody waits for, by payload: their latency in seconds once answered.
        self.pings: dict[bytes, float | None] = {}
        with self.lock:
            look_after(self, self.waiting)  # fails, if it does, before anything has changed
            if leftover:
                endpoint.receive_data(leftover, time.monotonic())
            if not self.waiting.is_cooperative:
                stream.allow_waiting()
            if preface:
                self._send([preface])
            self._settle(time.monotonic())

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more will be moved."""
        return self.endpoint.is_over and not self._unsent

    # --- what the connection calls ---

    def wait(self, take: Callable[[], _Result | None], timeout: float | None = None) -> _Result:
        """Read until `take`, which is called under the lock, gives something.

        `TimeoutError` after `timeout` seconds, `ConnectionClosed` when nothing can come any more.
        """
        if get_ident() == self._carrier:
            self._refuse_to_wait()
        if timeout is None and self._stream.can_wait:
            taken = self._wait_in_kernel(take)
            if taken is not None:
                return taken
        return self._wait(self._reading, take, timeout)

    def send(self, action: Callable[[], None], sender: object | None = None) -> bool:
        """Send what is, or is part of, a message, and wait until the socket took it.

        The action is done under the lock, once `fragmenter` is `sender`; `ConnectionClosed` if
        it never is. False when the connection ended before the socket took everything.
        """
        goal: int | None = None
        with self.lock:
            if self.fragmenter is sender:
                goal = self._act(action)
                if self._sent >= goal:
                    return True
        return self._wait_until_sent(
            goal, lambda: self._act(action) if self.fragmenter is sender else None
        )

    def run(self, action: Callable[[], None]) -> bool:
        """Do something else to the endpoint, under the lock, and wait in the same way."""
        with self.lock:
            goal = self._act(action)
        return self._wait_until_sent(goal, lambda: goal)

    def _wait_until_sent(self, goal: int | None, act: Callable[[], int | None]) -> bool:
        def is_sent() -> bool | None:
            nonlocal goal
            if goal is None:
                goal = act()
            return True if goal is not None and (self._sent >= goal or self.is_over) else None

        if get_ident() == self._carrier:
            self._refuse_to_wait()
        self._wait(self._writing, is_sent, None)
        assert goal is not None
        return self._sent >= goal

    def do(self, action: Callable[[], None]) -> None:
        """Do something to the endpoint, and wait for nothing."""
        with self.lock:
            self._act(action)

    def _refuse_to_wait(self) -> NoReturn:
        raise RuntimeError("a blocking connection would stop the event loop that carries it")

    def attend(self) -> None:
        """Look after the connection while nobody waits for input."""
        with self.lock:
            if self.is_over:
                return
            if not self._reading.taken:
                self._read(time.monotonic())
            # Also for a leader who waits in the kernel alone, where no time rings.
            self._settle(time.monotonic())

    # --- waiting ---

    def _wait_in_kernel(self, take: Callable[[], _Result | None]) -> _Result | None:
        """Wait as most do, for the peer's bytes alone; None where that is not enough."""
        endpoint, turn = self.endpoint, self._reading
        with self.lock:
            taken = take()
            if endpoint.output or endpoint.changed:  # a close frame may have waited for that
                self._settle(time.monotonic())
            if taken is not None or not self._may_block or not turn.take():
                return taken
        leads = True
        try:
            while True:
                room = endpoint.room
                came = self._wait_for_input(room)
                with self.lock:
                    if came is not None:
                        self._receive(came, time.monotonic(), room)
                        room = None  # it stays where it is if nobody else holds it
                    taken = take()
                    if endpoint.output or endpoint.changed or turn.others:
                        self._settle(time.monotonic())
                        if taken is None:
                            taken = take()  # which may have been after a pong
                    if taken is not None or came is None or not self._may_block:
                        leads = False
                        self._give(turn)
                        return taken
        finally:
            if leads:
                with self.lock:
                    self._give(turn)

    @property
    def _may_block(self) -> bool:
        """Tell whether nothing is worth waiting for but the peer's bytes."""
        endpoint = self.endpoint
        is_full = endpoint.queue and endpoint.is_full
        return not (is_full or self._unsent or self._ended or endpoint.is_over)

    def _wait(
        self, turn: _Turn, take: Callable[[], _Result | None], timeout: float | None
    ) -> _Result:
        limit = None if timeout is None else time.monotonic() + timeout
        leads = looked = False
        came: bytes | int | None = None
        try:
            while True:
                with self.lock:
                    leads = leads or turn.take()
                    now = time.monotonic()
                    if came is not None:
                        self._receive(came, now)
                    elif looked and leads and turn is self._reading:
                        self._read(now)
                    self._settle(now)
                    taken = take()
                    if self.endpoint.output or self.endpoint.changed:
                        self._settle(now)  # a close frame may have waited for that
                    if taken is not None:
                        return taken
                    if self.is_over:
                        raise self.endpoint.closed
                    if limit is not None and now >= limit:
                        raise TimeoutError(f"nothing came within {timeout} s")
                    pause = self._pause(now, limit)
                    interest = self._interest(turn)
                    waits_for_socket = leads and (interest.read or interest.write)
                    event = None if waits_for_socket else self._join(turn)
                came = None
                if event is not None:
                    event.wait(pause)
                elif limit is None and self._stream.can_wait and not interest.write:
                    came = self._wait_for_input()
                elif not self._stream.has_pending:
                    self.waiting.wait_for(interest, timeout=pause)
                looked = True
        finally:
            if leads:
                with self.lock:
                    self._give(turn)

    def _wait_for_input(self, room: memoryview | None = None) -> bytes | int | None:
        """Wait for bytes, or how many come into the room; None where the connection was lost."""
        try:
            return self._stream.wait() if room is None else self._stream.wait_into(room)
        except OSError as error:
            with self.lock:
                self._lose(error)
            return None

    def _give(self, turn: _Turn) -> None:
        turn.taken = False
        if turn.others:
            turn.tell()
        if self.endpoint.is_over:
            self._release()

    def _join(self, turn: _Turn) -> Event:
        event = self.waiting.make_event()
        turn.others.append(event)
        return event

    def _interest(self, turn: _Turn) -> Interest:
        """Tell what is worth waiting for at the socket."""
        stream, unsent = self._stream, bool(self._unsent)
        if turn is self._writing:
            return Interest(stream.sock, stream.wants_read, unsent)
        reads = not self._ended and not self.endpoint.is_full
        writes = stream.wants_write or (unsent and not self._writing.taken)
        return Interest(stream.sock, reads, writes)

    def _pause(self, now: float, limit: float | None) -> float | None:
        """Tell how long to wait at the most."""
        deadline = self._deadline
        if deadline is None or (limit is not None and limit < deadline):
            deadline = limit
        return None if deadline is None else max(0.0, deadline - now)

    # --- moving, under the lock ---

    def _act(self, action: Callable[[], None]) -> int:
        """Do something to the endpoint; tells how much will have been sent once that is."""
        action()
        self._gather()
        goal = self._queued
        if self.endpoint.changed or self._reading.others or self._writing.others:
            self._settle(time.monotonic())
        return goal

    def _read(self, now: float) -> None:
        endpoint, stream = self.endpoint, self._stream
        for _ in range(BLOCKS):
            if self._ended or endpoint.is_full:
                return
            try:
                data = stream.receive()
            except OSError as error:
                self._lose(error)
                return
            if data is None:
                return
            self._receive(data, now)
            if len(data) < BLOCK and not stream.has_pending:
                return  # there was no more

    def _receive(self, came: bytes | int, now: float, room: memoryview | None = None) -> None:
        """Take bytes, or how many came into the room, which may be given up by now."""
        self._ended = not came
        if isinstance(came, bytes):
            self.endpoint.receive_data(came, now)
            return
        assert room is not None
        if came and room is self.endpoint.room:
            self.endpoint.room_filled(came, now)
        else:
            self.endpoint.receive_data(room[:came], now)

    def _settle(self, now: float) -> None:
        """Carry out what the endpoint wants: write, ring in time, end."""
        endpoint = self.endpoint
        if self._unsent:
            self._write(now)
        elif endpoint.output:
            self._gather()
        if endpoint.changed or (self._deadline is not None and now >= self._deadline):
            self._attend(now)
        if endpoint.wants_half_close or endpoint.is_over:
            self._wind_up(now)
        if self._reading.others:
            self._reading.tell()
        if self._writing.others:
            self._writing.tell()

    def _attend(self, now: float) -> None:
        """Do what is beside writing: ring in time, and tell those who wait for a pong."""
        endpoint = self.endpoint
        deadline = endpoint.next_deadline(now)
        if deadline is not None and now >= deadline:
            endpoint.handle_timeout(now)
            self._gather()
            deadline = endpoint.next_deadline(now)
        self._deadline = deadline
        for payload, latency in endpoint.acknowledged:
            if payload in self.pings:
                self.pings[payload] = latency
        endpoint.acknowledged = ()

    def _gather(self) -> None:
        """Send what the endpoint has to send, behind what was not sent yet."""
        pieces = self.endpoint.pieces_to_send()
        if len(pieces) > 1 and (len(pieces) > PIECES or not self._stream.can_wait):
            pieces = [b"".join(pieces)]  # TLS wants to be given the same again
        if pieces:
            self._send(pieces)

    def _send(self, pieces: list[bytes]) -> None:
        size = sum(map(len, pieces))
        self._queued += size
        taken = 0 if self._unsent else self._take(pieces)
        if taken < size and not self.is_over:
            for piece in pieces:
                if taken < len(piece):
                    self._unsent.append(memoryview(piece)[taken:])
                taken = max(0, taken - len(piece))
            self.endpoint.write_blocked = True

    def _write(self, now: float) -> None:
        """Send what the socket did not take before."""
        unsent = self._unsent
        while unsent:
            data = unsent[0]
            taken = self._take([data])
            if not taken:
                return
            self.endpoint.write_progressed(now)
            if taken < len(data):
                unsent[0] = data[taken:]
            else:
                unsent.popleft()
        self.endpoint.write_blocked = False
        self._gather()

    def _take(self, pieces: Sequence[bytes | memoryview]) -> int:
        """Let the socket take some of the pieces; tells how much it took."""
        try:
            taken = self._stream.send(*pieces)
        except OSError as error:
            self._lose(error)
            return 0
        self._sent += taken
        return taken

    def _lose(self, error: OSError) -> None:
        self.endpoint.lose(f"the connection was lost: {error}")
        self._unsent.clear()

    def _wind_up(self, now: float) -> None:
        """End our half of the stream, or the whole."""
        endpoint = self.endpoint
        if endpoint.wants_abort:
            self._unsent.clear()
        if self._unsent and endpoint.is_over:
            # What is written still has to leave; a peer that does not take it loses it.
            if self._give_up_at is None:
                self._give_up_at = self._deadline = now + self._close_timeout
            if now >= self._give_up_at:
                self._unsent.clear()
        if self._unsent:
            return
        if endpoint.is_over:
            self._release()
        elif not self._half_closed:
            self._half_closed = True
            self._stream.end_writing()

    def _release(self) -> None:
        """Let go of the socket, once nobody waits for it any more."""
        stream = self._stream
        if stream.is_closed or not self.is_over:
            return
        on_over, self._on_over = self._on_over, None
        if on_over is not None:
            on_over()
        stream.shut_down()
        if not self._reading.taken and not self._writing.taken:
            stream.close()
