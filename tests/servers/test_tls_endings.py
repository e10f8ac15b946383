"""How connections end over TLS, where one half of a stream cannot be ended alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.peer import BINARY, CLOSE, TEXT, Peer, frame
from tests.running import Log, RunningServer, eventually, run_server
from tests.tls import Certificate, make_certificate

SHAPES = ["async", "threaded", "callbacks", "async-callbacks"]
shapes = pytest.mark.parametrize("shape", SHAPES)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def server(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    certificate: Certificate,
) -> Iterator[RunningServer]:
    log = tmp_path_factory.mktemp("server") / "log"
    arguments = ("tests.servers.behaviour:ws", *certificate.arguments)
    with run_server(log, *arguments, settings=(f"loop={request.param}",)) as running:
        secure(Peer(running.port), certificate).open("/echo").socket.close()
        yield running
        running.terminate()
        assert running.wait() == 0, running.log


def secure(peer: Peer, certificate: Certificate) -> Peer:
    context = certificate.client_context()
    peer.socket = context.wrap_socket(peer.socket, server_hostname="localhost")
    return peer


@pytest.fixture
def peer(server: RunningServer, certificate: Certificate) -> Iterator[Peer]:
    with secure(Peer(server.port), certificate) as peer:
        yield peer


@pytest.fixture(autouse=True)
def undisturbed(server: RunningServer, log: Log) -> Iterator[None]:
    """Check that a test leaves no traceback and no descriptor."""
    before = server.descriptors
    yield
    eventually(lambda: server.descriptors <= before)
    assert "Traceback" not in str(log)


@shapes
@pytest.mark.fault(76)
@pytest.mark.row(135, 136, 137)
def test_closing_handshake(peer: Peer, log: Log, name: str, shape: str) -> None:
    peer.open(f"/{shape}/watched/{name}").echo("before")
    peer.close(4000)
    log.told(name, "ended with 4000")


@shapes
@pytest.mark.fault(79)
@pytest.mark.row(154)
def test_peer_that_never_answers_our_close_is_dropped(
    peer: Peer, server: RunningServer, shape: str
) -> None:
    before = server.descriptors
    peer.open(f"/hasty/{shape}/returns").send_frame(TEXT, "go")
    assert peer.read_close() == (1000, "")
    eventually(lambda: server.descriptors < before)


@pytest.mark.fault(79)
@pytest.mark.row(154)
def test_peer_that_keeps_its_stream_open_is_dropped(peer: Peer, server: RunningServer) -> None:
    before = server.descriptors
    peer.open("/hasty/echo").send_frame(CLOSE, b"\x03\xe8")
    eventually(lambda: server.descriptors < before)
    assert peer.read_close() == (1000, "")


@pytest.mark.fault(80)
@pytest.mark.row(140, 156)
@pytest.mark.parametrize("shape", ["async", "threaded"])
@pytest.mark.parametrize("size", [1000, 10_000, 100_000])
@pytest.mark.parametrize(("last", "code"), [(b"", 1006), (frame(CLOSE, b"\x0f\xa0"), 4000)])
def test_messages_before_the_end_of_the_stream_are_received(
    peer: Peer, log: Log, name: str, shape: str, size: int, last: bytes, code: int
) -> None:
    peer.open(f"/{shape}/counts/{name}")
    peer.send(frame(BINARY, bytes(size)) * 40 + last)
    with contextlib.suppress(OSError):  # the server may be faster with its own end
        peer.socket.unwrap()  # type: ignore[attr-defined]
    log.told(name, f"40 messages, {code}")


@shapes
@pytest.mark.fault(81)
@pytest.mark.parametrize("begun", [b"", frame(TEXT, "half", fin=False), b"\x81"])
def test_reset(peer: Peer, log: Log, name: str, shape: str, begun: bytes) -> None:
    peer.open(f"/{shape}/watched/{name}").echo("before")
    peer.send(begun)
    peer.reset()
    log.told(name, "ended with 1006")


@pytest.mark.fault(84)
@pytest.mark.parametrize("shape", ["async", "threaded", "callbacks"])
def test_peer_that_takes_nothing_is_dropped(
    server: RunningServer, certificate: Certificate, log: Log, name: str, shape: str
) -> None:
    with secure(Peer(server.port, receive_buffer=4096), certificate) as peer:
        peer.open(f"/{shape}/flood/{name}")
        log.told(name, "ended with 1006")


@pytest.mark.fault(86)
@pytest.mark.row(137)
def test_our_close_arrives_over_unread_data(peer: Peer) -> None:
    # With much more of it asyncio's own TLS gives up, as it cannot end one half of a stream.
    peer.open("/echo").send(frame(0x3) + frame(BINARY, bytes(1000)))
    assert peer.read_close()[0] == 1002
