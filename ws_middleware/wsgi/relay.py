"""Carrying bytes between a socket that cannot leave its thread and our loop.

TLS of the server's, greenlets: there the request's own thread or greenlet passes on what comes,
both ways, with at most one block in flight each way.
"""

from __future__ import annotations

from ws_middleware.stream import Stream
from ws_middleware.waiting import Interest, waiting_for

__all__ = ["relay"]


class _Direction:
    """Carry bytes from one stream to the other."""

    def __init__(self, source: Stream, target: Stream) -> None:
        self._source = source
        self._target = target
        self._held = memoryview(b"")
        self._ended = False
        self.is_over = False

    def move(self) -> None:
        """Carry what goes; `OSError` where one side was lost."""
        while not self.is_over:
            if self._held:
                taken = self._target.send(self._held)
                self._held = self._held[taken:]
                if not taken:
                    return
            elif self._ended:
                self._target.end_writing()
                self.is_over = True
            else:
                data = self._source.receive()
                if data is None:
                    return
                self._held, self._ended = memoryview(data), not data

    @property
    def waits_for_source(self) -> bool:
        """Tell whether more has to come before anything moves."""
        return not self.is_over and not self._held

    @property
    def waits_for_target(self) -> bool:
        """Tell whether the target has to take something first."""
        return bool(self._held)


def relay(one: Stream, other: Stream) -> None:
    """Carry bytes both ways until both streams have ended, and release both."""
    there, back = _Direction(one, other), _Direction(other, one)
    waiting = waiting_for(one.sock)
    try:
        while not (there.is_over and back.is_over):
            there.move()
            back.move()
            interests = (
                _interest(one, there.waits_for_source, back.waits_for_target),
                _interest(other, back.waits_for_source, there.waits_for_target),
            )
            wanted = [interest for interest in interests if interest.read or interest.write]
            if wanted:
                waiting.wait_for(*wanted, timeout=None)
    except OSError:
        pass  # one is gone: the other one's owner finds out below
    finally:
        for stream in (one, other):
            stream.shut_down()
            stream.close()


def _interest(stream: Stream, read: bool, write: bool) -> Interest:
    return Interest(stream.sock, read or stream.wants_read, write or stream.wants_write)
