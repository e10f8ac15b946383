"""One running server for each module, which has to be as it was when a test is done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peer import Peer
from tests.running import RunningServer, eventually, run_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Give a server with the routes of `tests.servers.app`; it has to stop in good order."""
    log = tmp_path_factory.mktemp("server") / "log"
    with run_server(log, "tests.servers.app:ws") as running:
        with Peer(running.port) as peer:
            peer.open("/echo").echo("warm up")
            peer.close()
        yield running
        running.terminate()
        assert running.wait() == 0, running.log


@pytest.fixture(autouse=True)
def undisturbed(request: pytest.FixtureRequest, server: RunningServer) -> Iterator[None]:
    """Check that a test leaves no traceback, no descriptor, and a server that answers.

    A test that provokes tracebacks is marked with `@pytest.mark.tracebacks(number)`.
    """
    expected = request.node.get_closest_marker("tracebacks")
    before, size = server.descriptors, len(server.log)
    yield
    eventually(lambda: server.descriptors <= before)
    with Peer(server.port) as peer:
        peer.open("/echo").echo("still there")
    printed = server.log[size:]
    assert printed.count("Traceback") == (expected.args[0] if expected else 0), printed
