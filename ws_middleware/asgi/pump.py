"""Transports made of what a server calls and awaits, with a task for each direction.

Rule 1: `receive` is always pending unless reading is paused, or nobody would learn that the
peer left. Rule 2: nothing is sent behind the end. Rule 3: whatever a server raises means that
the connection is lost.
"""

from __future__ import annotations

import abc
import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from ws_middleware.asgi.types import Event, Receive

__all__ = ["Outlet", "Pump"]


class Outlet(asyncio.Transport):
    """Carry a protocol's events to a server, of whatever kind it takes."""

    def __init__(self, send: Callable[[Any], Awaitable[None]], high_water: int) -> None:
        super().__init__()
        self._send = send
        self._high_water = high_water
        self._loop = asyncio.get_running_loop()
        self._protocol: asyncio.Protocol | asyncio.BufferedProtocol
        self._outbox: deque[tuple[Any, int]] = deque()
        self._unsent = 0
        self._write_paused = False
        self._filled = asyncio.Event()  # the outbox has something, or nothing will follow
        self._readable = asyncio.Event()
        self._readable.set()
        self._said_goodbye = False  # by either side
        self._ending = self._closing = self._lost = False

    def start(self) -> None:
        """Begin to carry."""
        self._writer = self._loop.create_task(self._write())

    async def stop(self, timeout: float | None) -> None:
        """Let what was sent leave within `timeout` seconds, and stop."""
        self._ending = True
        self._filled.set()
        await asyncio.wait([self._writer], timeout=timeout)
        await _end(self._writer)
        self._lose(None)

    # --- to the server ---

    def _put(self, event: Any, size: int) -> None:
        """Queue an event that counts for `size` bytes."""
        if self._said_goodbye:
            return
        self._outbox.append((event, size))
        self._unsent += size
        self._filled.set()
        if self._unsent > self._high_water and not self._write_paused:
            self._write_paused = True
            self._protocol.pause_writing()

    async def _write(self) -> None:
        try:
            while await self._has_more():
                event, size = self._outbox.popleft()
                await self._hand_over(event)
                self._on_sent(size)
        except Exception as error:
            self._give_up_sending()
            self._lose(error)

    async def _has_more(self) -> bool:
        while not self._outbox and not self._ending:
            self._filled.clear()
            await self._filled.wait()
        return bool(self._outbox)

    async def _hand_over(self, event: Any) -> None:
        await self._send(event)

    def _on_sent(self, size: int) -> None:
        self._unsent -= size
        if self._write_paused and self._unsent <= self._high_water // 4 and not self._lost:
            self._write_paused = False
            self._protocol.resume_writing()

    def _give_up_sending(self) -> None:
        self._said_goodbye = True
        self._outbox.clear()

    def _lose(self, error: Exception | None) -> None:
        self._closing = True
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(error)

    # --- what the protocol calls ---

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Be told of `write_high_water`, which is known."""

    def get_write_buffer_size(self) -> int:
        """Tell how many bytes the server has not taken yet."""
        return self._unsent

    def can_write_eof(self) -> bool:
        """Tell that there are no halves of a stream here."""
        return False

    def pause_reading(self) -> None:
        """Ask for no further event."""
        self._readable.clear()

    def resume_reading(self) -> None:
        """Ask for events again."""
        self._readable.set()

    def is_reading(self) -> bool:
        """Tell whether events are asked for."""
        return self._readable.is_set()

    def is_closing(self) -> bool:
        """Tell whether the end was asked for."""
        return self._closing


class Pump(Outlet):
    """Carry events in both directions."""

    def __init__(
        self, receive: Receive, send: Callable[[Event], Awaitable[None]], high_water: int
    ) -> None:
        super().__init__(send, high_water)
        self._receive = receive

    def start(self) -> None:
        """Begin to carry."""
        self._reader = self._loop.create_task(self._read())
        super().start()

    async def stop(self, timeout: float | None) -> None:
        """Let what was sent leave within `timeout` seconds, and stop."""
        try:
            await super().stop(timeout)
        finally:
            await _end(self._reader)

    @abc.abstractmethod
    def _take(self, event: Event) -> None:
        """Give an event of the server to the protocol."""

    async def _read(self) -> None:
        try:
            while True:
                await self._readable.wait()
                event = await self._receive()
                ends = event["type"].endswith(".disconnect")
                if ends:
                    self._give_up_sending()
                self._take(event)
                if ends:
                    return
        except Exception as error:
            self._give_up_sending()
            self._lose(error)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
