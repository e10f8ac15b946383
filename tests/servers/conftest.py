"""One running server for each module, which has to be as it was when a test is done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peer import Peer
from tests.running import Log, RunningServer, eventually, run_server


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """Give a server with the routes of `tests.servers.app`; it has to stop in good order.

    A module that wants others served says so in `TARGETS`; other settings of
    `tests.servers.standalone` are parameters of this fixture, such as `both_loops`.
    """
    log = tmp_path_factory.mktemp("server") / "log"
    targets = getattr(request.module, "TARGETS", ("tests.servers.app:ws",))
    with run_server(log, *targets, settings=getattr(request, "param", ())) as running:
        with Peer(running.port) as peer:
            peer.open("/echo").echo("warm up")
            busy = running.descriptors
            peer.close()
        eventually(lambda: running.descriptors < busy)
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
    eventually(lambda: server.descriptors <= before)  # for the next test to begin with
    printed = server.log[size:]
    assert printed.count("Traceback") == (expected.args[0] if expected else 0), printed


@pytest.fixture
def log(server: RunningServer) -> Log:
    """Give what the server prints from here on."""
    return Log(server)


@pytest.fixture
def peer(server: RunningServer) -> Iterator[Peer]:
    """Give a TCP connection to the server."""
    with Peer(server.port) as peer:
        yield peer


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Name a connection in the server's log after its test."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)
