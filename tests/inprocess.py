"""What tests of the drivers run on: a clock that they turn, and a transport that they play.

Nothing here waits in real time: where nothing else is to be done, the clock jumps to the next
timer, and a test that could only hang fails at once.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar, cast

from tests.core.wire import read_frames
from tests.peer import PATIENCE, Received
from ws_middleware.aio import AsyncConnection
from ws_middleware.core.endpoint import Endpoint
from ws_middleware.core.extensions import ActiveExtension
from ws_middleware.core.handshake import RequestHead
from ws_middleware.driver import StreamDriver
from ws_middleware.options import Options
from ws_middleware.pool import call_in, start_thread
from ws_middleware.request import Request

__all__ = [
    "FakeTransport",
    "Line",
    "VirtualLoop",
    "in_real_time",
    "in_thread",
    "in_virtual_time",
    "make_request",
    "run_really",
    "run_virtually",
    "settled",
    "until",
]

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class _Jump(selectors.DefaultSelector):
    """Turn the clock of its loop instead of waiting."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing will ever happen again, and somebody waits for it")
        if not ready:
            self.loop.now += timeout or 0
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Be a loop in virtual time, which counts its timers and keeps what goes wrong."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers = 0
        self.failures: list[dict[str, Any]] = []
        jump = _Jump()
        jump.loop = self
        super().__init__(jump)
        self.set_exception_handler(lambda _, context: self.failures.append(context))

    def time(self) -> float:
        return self.now

    def call_at(  # type: ignore[override]
        self, when: float, *arguments: Any, **named: Any
    ) -> asyncio.TimerHandle:
        self.timers += 1
        return super().call_at(when, *arguments, **named)


def run_virtually(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in virtual time; nothing may go wrong beside it."""
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(work)
    assert loop.failures == []


def in_virtual_time(
    test: Callable[_Parameters, Coroutine[Any, Any, None]],
) -> Callable[_Parameters, None]:
    """Make an ordinary test of an asynchronous one."""

    @functools.wraps(test)
    def run(*arguments: _Parameters.args, **named: _Parameters.kwargs) -> None:
        run_virtually(test(*arguments, **named))

    return run


def in_real_time(
    test: Callable[_Parameters, Coroutine[Any, Any, None]],
) -> Callable[_Parameters, None]:
    """Make an ordinary test of an asynchronous one that needs threads or sockets."""

    @functools.wraps(test)
    def run(*arguments: _Parameters.args, **named: _Parameters.kwargs) -> None:
        run_really(test(*arguments, **named))

    return run


def run_really(
    work: Coroutine[Any, Any, _Result],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> _Result:
    """Run a coroutine, within a generous time; nothing may go wrong beside it."""
    failures: list[dict[str, Any]] = []

    async def run() -> _Result:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failures.append(context))
        async with asyncio.timeout(PATIENCE):
            return await work

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        result = runner.run(run())
    assert failures == []
    return result


def in_thread(work: Callable[[], _Result]) -> asyncio.Future[_Result]:
    """Run a function in a thread that does not keep a failed test alive."""
    return asyncio.ensure_future(call_in(start_thread, work))


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is true that another thread does."""
    while not condition():  # noqa: ASYNC110 - it has no event to set
        await asyncio.sleep(0.001)


async def settled() -> None:
    """Let everybody run who can without time going by."""
    await asyncio.sleep(0.001)


class FakeTransport(asyncio.Transport):
    """Be a transport whose other end the test plays; `calls` is what was done to it.

    A `stuck` one takes what is written into its buffer and gets rid of none of it.
    """

    def __init__(self, *, half_closes: bool = True, **extra: Any) -> None:
        super().__init__(extra)
        self.half_closes = half_closes
        self.protocol: asyncio.BaseProtocol | None = None
        self.calls: list[str] = []
        self.writes: list[bytes] = []
        self.stuck = False
        self.unsent = 0
        self._lost = False
        self.reset_behind: Exception | None = None  # what `write_eof` raises
        self._limit = 65_536
        self._is_full = False
        self._closing = False
        self._taken = 0
        self._unread = b""

    # --- what the driver calls ---

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self.protocol is not None
        return self.protocol

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")
        if self._unread:
            asyncio.get_running_loop().call_soon(self._read)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        self._limit = high

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not data:
            return
        assert "eof" not in self.calls, "written behind the end of the stream"
        assert not self._closing, "written behind the end of the connection"
        self.calls.append("write")
        self.writes.append(bytes(data))
        if self.stuck:
            self.unsent += len(data)
            if self.unsent > self._limit and not self._is_full:
                self._is_full = True
                self.get_protocol().pause_writing()

    def writelines(self, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
        for piece in pieces:
            self.write(piece)

    def can_write_eof(self) -> bool:
        return self.half_closes

    def write_eof(self) -> None:
        assert self.half_closes
        self.calls.append("eof")
        if self.reset_behind is not None:
            raise self.reset_behind

    def close(self) -> None:
        self.calls.append("close")
        if not self._closing:
            self._closing = True
            if not self.unsent:
                asyncio.get_running_loop().call_soon(self.lose)

    def abort(self) -> None:
        self.calls.append("abort")
        self._closing = True
        asyncio.get_running_loop().call_soon(self.lose)

    # --- what the test calls ---

    def is_reading(self) -> bool:
        """Tell whether the driver wants to be given bytes."""
        turns = [call for call in self.calls if call in ("pause", "resume")]
        return not self._closing and turns[-1:] != ["pause"]

    def feed(self, *data: bytes) -> None:
        """Be a peer that sends; it is read at once, unless reading is paused."""
        assert not self._closing, "a transport that closes does not read"
        self._unread += b"".join(data)
        self._read()

    def _read(self) -> None:
        while self._unread and self.is_reading():
            protocol = self.get_protocol()
            if isinstance(protocol, asyncio.BufferedProtocol):
                buffer = memoryview(protocol.get_buffer(-1))
                part, self._unread = self._unread[: len(buffer)], self._unread[len(buffer) :]
                buffer[: len(part)] = part
                protocol.buffer_updated(len(part))
            else:
                part, self._unread = self._unread, b""
                cast(asyncio.Protocol, protocol).data_received(part)

    def feed_eof(self) -> None:
        """Be a peer that ends its stream, behind what it sent."""
        if self._unread:
            asyncio.get_running_loop().call_soon(self.feed_eof)
        elif not self._protocol.eof_received():
            self.close()

    def drain(self, size: int | None = None) -> None:
        """Be a peer that takes `size` bytes, or everything."""
        self.unsent = 0 if size is None else self.unsent - size
        if self._is_full and self.unsent <= self._limit // 4:
            self._is_full = False
            self._protocol.resume_writing()
        if self._closing and not self.unsent:
            self.lose()

    def lose(self, error: Exception | None = None) -> None:
        """Lose the connection."""
        self._closing = True
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(error)

    def is_lost(self) -> bool:
        """Tell whether the driver was told of the loss."""
        return self._lost

    @property
    def sent(self) -> bytes:
        """Give everything that was written."""
        return b"".join(self.writes)

    def skip(self, size: int) -> None:
        """Leave out the first `size` bytes written, which are no frames."""
        self._taken = max(self._taken, size)

    def take_frames(self) -> list[Received]:
        """Give the frames that were written since this was called last."""
        data = self.sent[self._taken :]
        self._taken += len(data)
        return read_frames(data)

    @property
    def _protocol(self) -> asyncio.Protocol:
        return cast(asyncio.Protocol, self.get_protocol())


def make_request(target: str = "/chat", **settings: Any) -> Request:
    """Make a request to the host `test`."""
    head = RequestHead("GET", target, "1.1", [("Host", "test")])
    return Request(head, remote_address=("127.0.0.1", 9), **settings)


class Line:
    """Be an open connection of a server over a fake transport."""

    def __init__(
        self,
        *,
        half_closes: bool = True,
        observe_control: bool = False,
        leftover: bytes = b"",
        active: Sequence[ActiveExtension] = (),
        **options: Any,
    ) -> None:
        settings = Options(**{"extensions": (), **options})
        now = asyncio.get_running_loop().time()
        self.transport = FakeTransport(half_closes=half_closes)
        self.endpoint = Endpoint(
            "server", settings, active, now=now, observe_control=observe_control
        )
        self.losses: list[Exception | None] = []
        self.driver = StreamDriver(self.endpoint, self.transport, settings, self.losses.append)
        self.connection = AsyncConnection(self.driver, make_request())
        self.driver.start(leftover)
