"""Floods, and an eye on the server meanwhile: its memory, and how others are served."""

from __future__ import annotations

import resource
import select
import statistics
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest

from tests.peer import CONTINUATION, TEXT, Peer, Received, frame
from tests.running import PATIENCE, RunningServer

__all__ = [
    "DEFLATE",
    "MEBIBYTE",
    "exchange",
    "fragmented",
    "many_descriptors",
    "push",
    "read_frames",
    "sparing",
    "watched",
]

MEBIBYTE = 2**20
#: Offers compression, with any window for the client.
DEFLATE: dict[str, str | None] = {
    "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"
}


class _Observer(threading.Thread):
    """Echo over a connection of its own and look at the server's memory, again and again."""

    def __init__(self, server: RunningServer) -> None:
        super().__init__()
        self._server = server
        self._finished = threading.Event()
        self.times: list[float] = []
        self.peak = 0

    def run(self) -> None:
        with Peer(self._server.port) as peer:
            peer.open("/echo")
            while not self._finished.wait(0.02) or not self.times:
                begin = time.monotonic()
                peer.echo("innocent")
                self.times.append(time.monotonic() - begin)
                self.peak = max(self.peak, self._server.memory)
            peer.close()

    def finish(self) -> None:
        self._finished.set()
        self.join()


@contextmanager
def watched(server: RunningServer, growth: int = 8 * MEBIBYTE) -> Iterator[None]:
    """Check that memory grows by less than `growth` bytes and others wait less than a second.

    Half of the answers may be late: machines stop now and then, and have other things to do.
    """
    before = server.memory
    observer = _Observer(server)
    observer.start()
    try:
        yield
    finally:
        observer.finish()
    assert observer.peak - before < growth
    assert statistics.median(observer.times) < 1.0


@contextmanager
def many_descriptors(count: int = 4096) -> Iterator[None]:
    """Let this process, and those that it starts, open so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def sparing(server: RunningServer, seconds: float) -> Iterator[None]:
    """Check that the server needs less than `seconds` of processor time."""
    before = server.cpu_time
    yield
    assert server.cpu_time - before < seconds


def exchange(peer: Peer, data: bytes, times: int, size: int) -> bytes:
    """Send `data` so many times, and read `size` bytes meanwhile and behind."""
    sock = peer.socket
    received, waiting = bytearray(), memoryview(data)
    while times or len(received) < size:
        writers = [sock] if times else []
        readable, writable, _ = select.select([sock], writers, [], PATIENCE)
        assert readable or writable, f"nothing moves behind {len(received)} of {size} bytes"
        if readable:
            chunk = sock.recv(MEBIBYTE)
            assert chunk, f"the stream ended behind {bytes(received[-100:])!r}"
            received += chunk
        if writable:
            waiting = waiting[sock.send(waiting, 0x40) :]  # MSG_DONTWAIT
            if not waiting:
                times -= 1
                waiting = memoryview(data)
    return bytes(received)


def push(peer: Peer, chunks: Iterable[bytes], patience: float = 1.0) -> int:
    """Send and never read, until nothing more is taken for a while; returns what was taken."""
    taken = 0
    for chunk in chunks:
        waiting = memoryview(chunk)
        while waiting:
            if not select.select([], [peer.socket], [], patience)[1]:
                return taken
            sent = peer.socket.send(waiting, 0x40)  # MSG_DONTWAIT
            taken += sent
            waiting = waiting[sent:]
    pytest.fail(f"the server took all of {taken} bytes")


def fragmented(payload: bytes, size: int, opcode: int = TEXT, rsv: int = 0) -> list[bytes]:
    """Cut a message into frames of `size` bytes of payload; `rsv` stands in the first one."""
    parts = [payload[start : start + size] for start in range(0, len(payload), size)] or [b""]
    return [
        frame(
            CONTINUATION if index else opcode,
            part,
            fin=index == len(parts) - 1,
            rsv=0 if index else rsv,
        )
        for index, part in enumerate(parts)
    ]


def read_frames(peer: Peer) -> list[Received]:
    """Read frames up to the end of the stream, where no frame may be left unfinished."""
    frames: list[Received] = []
    while True:
        try:
            frames.append(peer.read_frame())
        except EOFError:
            assert peer.buffer == b""
            return frames
