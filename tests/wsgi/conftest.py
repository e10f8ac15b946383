"""One running server of each kind for the whole session, which has to stay in good order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peer import Peer
from tests.running import Log, eventually
from tests.tls import Certificate, make_certificate
from tests.wsgi.kinds import KINDS, Kind, Served, errors_in, serve, warm_up


@pytest.fixture(scope="session", params=KINDS, ids=lambda kind: kind.name)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Give a server of each kind, in turn."""
    kind: Kind = request.param
    with serve(kind, tmp_path_factory.mktemp(kind.name) / "log") as served:
        warm_up(served.port)
        yield served


@pytest.fixture
def undisturbed(request: pytest.FixtureRequest, server: Served) -> Iterator[None]:
    """Check that a test leaves no descriptor, and nothing wrong in the log.

    A test that provokes tracebacks is marked with `@pytest.mark.tracebacks(number)`.
    """
    marker = request.node.get_closest_marker("tracebacks")
    expected = marker.args[0] if marker else 0
    before, size = server.descriptors, len(server.log)
    yield
    eventually(lambda: server.descriptors <= before)
    printed = server.log[size:]
    assert printed.count("Traceback") == expected, printed
    assert expected or not errors_in(printed), printed


@pytest.fixture
def log(server: Served) -> Log:
    """Give what the server prints from here on."""
    return Log(server)


@pytest.fixture
def peer(server: Served) -> Iterator[Peer]:
    """Give a TCP connection to the server."""
    with Peer(server.port) as peer:
        yield peer


@pytest.fixture
def path(request: pytest.FixtureRequest) -> str:
    """Give a path for a handler of the test's shape that only this test uses."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.originalname)
    shape = request.node.callspec.params.get("shape", "async")
    return f"/{shape}/{name}"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Give a certificate for the loopback addresses."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))
