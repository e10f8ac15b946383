"""A server that has no descriptor left for another connection."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterator

import pytest

from tests.peer import Peer
from tests.running import RunningServer, eventually
from tests.servers.standalone import both_loops

pytestmark = both_loops


@contextlib.contextmanager
def few_descriptors(server: RunningServer, more: int) -> Iterator[None]:
    """Let the server open only so many more descriptors than it has."""
    process = server.process.pid
    former = resource.prlimit(process, resource.RLIMIT_NOFILE)
    resource.prlimit(process, resource.RLIMIT_NOFILE, (server.descriptors + more, former[1]))
    try:
        yield
    finally:
        resource.prlimit(process, resource.RLIMIT_NOFILE, former)


def is_served(server: RunningServer) -> bool:
    try:
        with Peer(server.port) as peer:
            peer.open("/echo").echo("again")
    except (OSError, EOFError):
        return False
    return True


@pytest.mark.fault(100)
def test_server_without_descriptors_waits_and_serves_again(server: RunningServer) -> None:
    with Peer(server.port) as old, contextlib.ExitStack() as crowd:
        old.open("/echo").echo("before")
        with few_descriptors(server, 5):
            for _ in range(30):
                crowd.enter_context(Peer(server.port))
            begun, used = time.monotonic(), server.cpu_time
            for _ in range(8):
                time.sleep(0.25)
                old.echo("still served")
            assert server.cpu_time - used < 0.5 * (time.monotonic() - begun)
            crowd.close()
            eventually(lambda: is_served(server))
    eventually(lambda: is_served(server))
