"""Five thousand connections on one process: echoes, plain HTTP, goodbye, and nothing left over.

The server is what users get: `python -m ws_middleware`, with its defaults.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.load.crowd import allow_descriptors, crowd, get, leave, talk
from tests.peer import Peer
from tests.running import RunningServer, eventually, run_server
from ws_middleware.server import GRACE_TIME

CROWD = 5000
#: One in so many talks, the others listen.
QUIET = 100
ROUNDS = 20
#: A heap finds its level after some crowds; what leaks makes it grow with each of them.
CROWDS = 7
#: By how much, per connection, it may grow with the one that it grows least with.
MARGIN = 256


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with allow_descriptors(CROWD), run_server(tmp_path / "log") as running:
        with Peer(running.port) as peer:
            peer.open().echo("warm up")
            occupied = running.descriptors
            peer.close()
        eventually(lambda: running.descriptors < occupied)
        yield running


@pytest.mark.fault(105, 107)
def test_a_crowd_is_served_and_dismissed(server: RunningServer) -> None:
    with crowd(server.port, CROWD) as peers:
        for number in range(ROUNDS):
            talk(peers[number::QUIET], f"round {number}, ")
            assert get(server.port) == 200
        server.terminate()
        began = time.monotonic()
        leave(peers, 1001, by_server=True)
        assert server.wait(GRACE_TIME) == 0
        assert time.monotonic() - began < GRACE_TIME
    assert "Traceback" not in server.log


def test_a_crowd_leaves_nothing_behind(server: RunningServer) -> None:
    descriptors, threads = server.descriptors, server.threads
    memory = [_memory_after_a_crowd(server, descriptors) for _ in range(CROWDS)]
    assert server.descriptors == descriptors
    assert server.threads == threads
    assert min(after - before for before, after in pairwise(memory)) < MARGIN * CROWD, memory
    assert "Traceback" not in server.log


def _memory_after_a_crowd(server: RunningServer, descriptors: int) -> int:
    with crowd(server.port, CROWD) as peers:
        talk(peers, "hello from ")
        leave(peers, 1000)
    eventually(lambda: server.descriptors == descriptors)
    return server.memory
