"""What all refused handshakes have in common, and what to ask of a server beside them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tests.peer import Peer
from tests.running import RunningServer

__all__ = ["MEBIBYTE", "Refusal", "innocent", "read_refusal", "refused", "stays_small"]

MEBIBYTE = 2**20


class Refusal(NamedTuple):
    """Hold a refusal: status, fields by their names in lower case, the body's text."""

    status: int
    fields: dict[str, str]
    text: str


def read_refusal(peer: Peer) -> Refusal:
    """Read a refusal, which is one complete HTTP response and then the end (RFC 9112 §9.6)."""
    reply = peer.reply()
    assert 400 <= reply.status < 600, reply.raw
    text = peer.body(reply).decode()
    assert "close" in reply.fields["connection"].split(", ")
    peer.read_end()
    # Of what the peer sent, nothing but printable ASCII may be in it.
    assert all(32 <= byte < 127 or byte in b"\r\n" for byte in reply.raw), reply.raw
    assert text.rstrip("\n").replace("§", "").isascii(), text
    assert text.rstrip("\n").isprintable(), text
    return Refusal(reply.status, reply.fields, text)


def refused(
    server: RunningServer,
    path: str = "/echo",
    *,
    fields: dict[str, str | None] | None = None,
    extra: bytes = b"",
    line: str = "",
    behind: bytes = b"",
) -> Refusal:
    """Send one handshake, see `Peer.request`, and read its refusal."""
    with Peer(server.port) as peer:
        peer.send(peer.request(path, fields=fields, extra=extra, line=line) + behind)
        return read_refusal(peer)


class _Innocent:
    """Be a client that only wants to be served."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._times: list[float] = []

    def echo(self) -> None:
        """Ask once, and note how long the answer takes."""
        begin = time.monotonic()
        self._peer.echo("innocent")
        self._times.append(time.monotonic() - begin)

    @property
    def usual_time(self) -> float:
        """Give the median: one slow answer may be the machine's fault."""
        return statistics.median(self._times)


@contextmanager
def innocent(server: RunningServer) -> Iterator[_Innocent]:
    """Let a client echo in the block and behind it: it is answered within a second."""
    with Peer(server.port) as peer:
        client = _Innocent(peer.open("/echo"))
        client.echo()
        yield client
        for _ in range(3):
            client.echo()
        assert client.usual_time < 1.0


@contextmanager
def stays_small(server: RunningServer, margin: int = 16 * MEBIBYTE) -> Iterator[None]:
    """Check that the server's memory does not grow by more than `margin` bytes."""
    before = server.memory
    yield
    assert server.memory - before < margin
