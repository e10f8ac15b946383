"""Workers that go while peers are connected: the peers are told, and another worker serves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from tests.peer import TEXT, Peer, frame
from tests.running import eventually
from tests.wsgi.asking import check_plain, get
from tests.wsgi.kinds import SHAPES, Kind, Served, errors_in, serve
from tests.wsgi.test_stopping import check_told, open_some

__all__ = ["check_all_shapes", "check_handed_on", "check_used_up"]

#: How many requests, handshakes included, a worker of `check_used_up` has to be given.
ENOUGH = 20


def check_handed_on(kind: Kind, log: Path, *options: str, end: Callable[[Served], object]) -> None:
    """Check what becomes of peers, one of each shape, when `end` makes the worker go."""
    with serve(kind, log, *options) as server, contextlib.ExitStack() as stack:
        former = server.worker.pid
        peers = open_some(server.port, stack, each=1)
        end(server)
        check_told(peers)
        _check_replaced(server, former)
        assert not errors_in(server.log), server.log


def check_used_up(kind: Kind, log: Path, *options: str) -> None:
    """Check the same where a worker goes by itself after `ENOUGH` requests."""
    check_handed_on(kind, log, *options, end=_use_up)


def _use_up(server: Served) -> None:
    for _ in range(ENOUGH - len(SHAPES)):
        with Peer(server.port) as visitor:
            assert get(visitor).body == b"plain page"


def _check_replaced(server: Served, former: int) -> None:
    check_plain(server.port)
    eventually(lambda: server.children and former not in [child.pid for child in server.children])
    with contextlib.ExitStack() as stack:
        for peer in open_some(server.port, stack, each=1):
            peer.close()


def check_all_shapes(port: int, size: int = 1) -> None:
    """Check that handlers of all shapes get what comes early, and echo text of some size."""
    for shape in SHAPES:
        with Peer(port) as peer:
            peer.open(f"/{shape}", early=frame(TEXT, "early"))
            assert peer.read_message() == "early"
            peer.echo("x" * size)
            peer.close()
