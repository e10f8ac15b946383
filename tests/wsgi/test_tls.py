"""TLS that the WSGI server ends: its socket cannot leave it, and is served where it is."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peer import CLOSE, TEXT, Peer, frame
from tests.running import Log, eventually
from tests.tls import Certificate
from tests.wsgi.apps import CLOSE_CODE, PIECE
from tests.wsgi.asking import Answer, flood, get
from tests.wsgi.kinds import KINDS, SHAPES, Kind, Served, errors_in, serve, shapes

LARGE = PIECE * 16
#: How many sockets are open at once where greenlets serve them.
MANY = 20


class SecurePeer(Peer):
    """Be a peer over TLS that notices when the stream is cut instead of ended."""

    def __init__(self, port: int, certificate: Certificate) -> None:
        super().__init__(port)
        self.socket = certificate.client_context().wrap_socket(
            self.socket, server_hostname="127.0.0.1", suppress_ragged_eofs=False
        )


KINDS_WITH_TLS = [kind for kind in KINDS if kind.tls]


@pytest.fixture(scope="module", params=KINDS_WITH_TLS, ids=lambda kind: kind.name)
def server(
    request: pytest.FixtureRequest,
    certificate: Certificate,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """Give a server that ends TLS itself."""
    kind: Kind = request.param
    log = tmp_path_factory.mktemp(f"{kind.name}-tls") / "log"
    with serve(kind, log, certificate=certificate) as served:
        yield served


@pytest.fixture
def undisturbed(request: pytest.FixtureRequest, server: Served) -> Iterator[None]:
    """Check that a test leaves nothing wrong in the log."""
    marker = request.node.get_closest_marker("tracebacks")
    size = len(server.log)
    yield
    printed = server.log[size:]
    assert printed.count("Traceback") == (marker.args[0] if marker else 0), printed
    assert marker or not errors_in(printed), printed


@pytest.fixture
def peer(server: Served, certificate: Certificate, undisturbed: None) -> Iterator[SecurePeer]:
    """Give a connection to the server."""
    with SecurePeer(server.port, certificate) as peer:
        yield peer


@pytest.mark.support("tls")
@shapes
def test_conversation(peer: SecurePeer, shape: str) -> None:
    peer.open(f"/{shape}", early=frame(TEXT, "early"))
    assert peer.read_message() == "early"
    for message in ("text", b"binary", "x" * 70_000):
        peer.echo(message)
    peer.send_frame(TEXT, "tell")
    told = peer.read_message()
    assert isinstance(told, str)
    assert json.loads(told)["secure"] is True
    peer.close()


@pytest.mark.support("tls")
@pytest.mark.parametrize("shape", ["async", "def"])
def test_large_messages_both_ways(peer: SecurePeer, shape: str) -> None:
    peer.open(f"/{shape}").echo(LARGE)
    peer.send_frame(TEXT, "stream 320")
    assert peer.read_message() == PIECE * 320
    peer.close()


@shapes
@pytest.mark.parametrize(("order", "code"), [("return", 1000), ("close", CLOSE_CODE)])
def test_server_closes(peer: SecurePeer, shape: str, order: str, code: int) -> None:
    peer.open(f"/{shape}").send_frame(TEXT, order)
    assert peer.read_close()[0] == code
    peer.send_frame(CLOSE, code.to_bytes(2, "big"))
    peer.read_end()


@shapes
@pytest.mark.tracebacks(1)
def test_handler_that_raises(peer: SecurePeer, server: Served, shape: str) -> None:
    log = Log(server)
    peer.open(f"/{shape}").send_frame(TEXT, "raise")
    peer.expect_failure(1011)
    assert str(log).count("LookupError: on purpose") == 1


@shapes
def test_reset(peer: SecurePeer, server: Served, shape: str) -> None:
    peer.open(f"/{shape}").echo("before")
    log = Log(server)
    peer.reset()
    eventually(lambda: "closed with 1006" in str(log))


def test_four_writers_at_once_arrive_intact(peer: SecurePeer) -> None:
    count, size = 100, 100_000
    peer.open(f"/writers/{count}/{size}")
    numbers = [number for number in range(4) for _ in range(count)]
    messages = [peer.read_message() for _ in numbers]
    assert sorted(messages) == [bytes([number]) * size for number in numbers]
    assert peer.read_close() == (1000, "")
    peer.send_frame(CLOSE, b"\x03\xe8")
    peer.read_end()


def test_flood_that_nobody_receives_holds_up_nobody(
    server: Served, certificate: Certificate
) -> None:
    with SecurePeer(server.port, certificate) as flooding:
        flood(flooding.open("/deaf"))
        if not server.kind.threads:
            with SecurePeer(server.port, certificate) as visitor:
                assert get(visitor).body == b"plain page"
        flooding.reset()


@pytest.mark.support("tls")
@shapes
def test_each_socket_takes_a_thread_or_a_greenlet(
    server: Served, certificate: Certificate, shape: str
) -> None:
    answers: list[Answer] = []

    def ask() -> None:
        with SecurePeer(server.port, certificate) as visitor:
            answers.append(get(visitor))

    visit = threading.Thread(target=ask)
    with contextlib.ExitStack() as stack:
        peers = [
            stack.enter_context(SecurePeer(server.port, certificate)).open(f"/{shape}")
            for _ in range(server.kind.threads or MANY)
        ]
        visit.start()
        if not server.kind.threads:
            visit.join()
        for _ in range(3):
            for peer in peers:
                peer.echo("each of them")
        # Where all threads are taken by connections, a page has to wait for the end of one.
        assert len(answers) == (0 if server.kind.threads else 1)
        for peer in peers:
            peer.close()
    visit.join()
    assert [answer.body for answer in answers] == [b"plain page"]


@pytest.mark.support("tls")
@pytest.mark.parametrize("kind", KINDS_WITH_TLS, ids=lambda kind: kind.name)
def test_sigterm_tells_every_peer(kind: Kind, certificate: Certificate, tmp_path: Path) -> None:
    with (
        serve(kind, tmp_path / "log", certificate=certificate) as server,
        contextlib.ExitStack() as stack,
    ):
        peers = []
        for shape in SHAPES[: kind.threads or None]:
            peer = stack.enter_context(SecurePeer(server.port, certificate))
            peer.open(f"/{shape}").echo("before")
            peers.append(peer)
        server.terminate()
        for peer in peers:
            assert peer.read_close() == (1001, "the server is shutting down")
        for peer in peers:
            peer.send_frame(CLOSE, b"\x03\xe9")
            peer.read_end()
            peer.socket.close()
        server.wait(15)
        assert not errors_in(server.log), server.log
