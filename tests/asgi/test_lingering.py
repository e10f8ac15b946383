"""The last bytes of a connection: they arrive, and the peer gets a bounded time to take them."""

from __future__ import annotations

import asyncio

from tests.inprocess import FakeTransport, in_virtual_time, settled
from ws_middleware.asgi.lingering import LingeringClose


class Lingering:
    """Be a transport in the hands of a `LingeringClose`."""

    def __init__(self, *, half_closes: bool = True) -> None:
        self.transport = FakeTransport(half_closes=half_closes)
        self.losses: list[Exception | None] = []
        self.last = LingeringClose(self.transport, 3.0, self.losses.append)


@in_virtual_time
async def test_stream_ends_behind_the_last_bytes() -> None:
    lingering = Lingering()
    lingering.last.send(b"a", last=False)
    assert "eof" not in lingering.transport.calls
    lingering.last.send(b"b", last=True)
    assert lingering.transport.sent == b"ab"
    assert lingering.transport.calls[-1] == "eof"
    assert not lingering.transport.is_closing()


@in_virtual_time
async def test_what_the_peer_still_sends_is_dropped_until_its_end() -> None:
    lingering = Lingering()
    lingering.last.send(b"a", last=True)
    assert lingering.transport.is_reading()
    lingering.transport.feed(b"x" * 100_000)
    lingering.transport.feed_eof()
    await settled()
    assert lingering.transport.calls[-1] == "close"
    assert lingering.losses == [None]


@in_virtual_time
async def test_peer_that_does_not_end_its_stream_is_dropped() -> None:
    lingering = Lingering()
    lingering.last.send(b"a", last=True)
    await asyncio.sleep(2.9)
    assert not lingering.transport.is_lost()
    await asyncio.sleep(0.2)
    assert lingering.transport.calls[-1] == "abort"
    assert lingering.losses == [None]


@in_virtual_time
async def test_transport_that_cannot_half_close_is_closed() -> None:
    lingering = Lingering(half_closes=False)
    lingering.last.send(b"a", last=True)
    await settled()
    assert lingering.transport.calls[-2:] == ["write", "close"]
    assert lingering.losses == [None]


@in_virtual_time
async def test_reset_that_was_not_noticed_yet_is_the_end() -> None:
    lingering = Lingering()
    lingering.transport.reset_behind = OSError("not connected")
    lingering.last.send(b"a", last=True)
    await settled()
    assert lingering.losses == [None]


@in_virtual_time
async def test_nothing_is_written_behind_the_end() -> None:
    lingering = Lingering()
    lingering.last.send(b"a", last=False)
    error = ConnectionResetError()
    lingering.transport.lose(error)
    lingering.last.send(b"b", last=True)
    assert lingering.transport.sent == b"a"
    await asyncio.sleep(10)
    assert lingering.losses == [error]
    assert "abort" not in lingering.transport.calls


@in_virtual_time
async def test_stopping_server_does_not_wait() -> None:
    lingering = Lingering()
    lingering.last.send(b"a", last=True)
    lingering.last.shutdown()
    await settled()
    assert lingering.losses == [None]
