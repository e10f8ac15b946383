"""Whether a handshake is decided, and those who wait for that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

__all__ = ["Outcome"]


class Outcome:
    """Be known once the handshake is accepted or refused, or the peer is gone."""

    __slots__ = ("_loop", "_waiter", "is_known")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None  # made for the first who waits
        self.is_known: bool = False

    def note(self) -> None:
        """Wake everybody: it is known."""
        self.is_known = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Wait until it is known."""
        await asyncio.shield(self._expect())

    @contextlib.contextmanager
    def given_up_when_known(self) -> Iterator[None]:
        """Cancel the block's task where that becomes known meanwhile."""
        task = asyncio.current_task()
        assert task is not None

        def give_up(_: asyncio.Future[None]) -> None:
            task.cancel()

        waiter = self._expect()
        waiter.add_done_callback(give_up)
        try:
            yield
        finally:
            waiter.remove_done_callback(give_up)

    def _expect(self) -> asyncio.Future[None]:
        if self._waiter is None:
            self._waiter = self._loop.create_future()
            if self.is_known:
                self._waiter.set_result(None)
        return self._waiter
