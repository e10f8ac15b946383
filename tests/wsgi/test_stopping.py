"""How WSGI servers stop: every peer is told, and nothing holds the process up."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import pytest

from tests.peer import CLOSE, TEXT, Peer
from tests.wsgi.kinds import KINDS, SHAPES, Kind, errors_in, kind_of, serve

#: How long a server may take to stop, in seconds, on a slow machine.
SOON = 15.0


def open_some(port: int, stack: contextlib.ExitStack, each: int = 3) -> list[Peer]:
    """Open connections to handlers of all shapes."""
    peers = [
        stack.enter_context(Peer(port)).open(f"/{shape}") for shape in SHAPES for _ in range(each)
    ]
    for peer in peers:
        peer.echo("before")
    return peers


def check_told(peers: list[Peer]) -> None:
    """Check that all are told that the server goes, before any of them has answered."""
    for peer in peers:
        code, reason = peer.read_close()
        assert (code, reason) == (1001, "the server is shutting down")
    for peer in peers:
        peer.send_frame(CLOSE, b"\x03\xe9")
        peer.read_end()
        peer.socket.close()


kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@pytest.mark.support("sigterm")
@kinds
def test_sigterm_tells_every_peer(kind: Kind, tmp_path: Path) -> None:
    with serve(kind, tmp_path / "log") as server, contextlib.ExitStack() as stack:
        peers = open_some(server.port, stack)
        if kind.ends_abruptly:
            server.wait_until_idle()
        server.terminate()
        check_told(peers)
        server.wait(SOON)
        assert not errors_in(server.log), server.log


@pytest.mark.support("sigint")
@kinds
def test_sigint_tells_every_peer_that_the_server_leaves(kind: Kind, tmp_path: Path) -> None:
    with serve(kind, tmp_path / "log") as server, contextlib.ExitStack() as stack:
        peers = open_some(server.port, stack)
        server.wait_until_idle()
        server.terminate(signal.SIGINT)
        check_told(peers)
        server.wait(SOON)
        printed = server.log.replace("KeyboardInterrupt\n", "")  # as gevent's loop reports it
        assert not errors_in(printed), printed


@pytest.mark.parametrize("name", ["gunicorn-gthread", "werkzeug", "apache-event", "apache-prefork"])
def test_nobody_holds_up_the_others(name: str, tmp_path: Path) -> None:
    """Neither peers that do not answer or do not even read, nor handlers that never return."""
    with serve(kind_of(name), tmp_path / "log") as server, contextlib.ExitStack() as stack:
        silent = open_some(server.port, stack, each=1)
        deaf = stack.enter_context(Peer(server.port, receive_buffer=4096))
        deaf.open("/def").send_frame(TEXT, "stream 1000")
        blocked = stack.enter_context(Peer(server.port)).open("/blocked")
        peers = open_some(server.port, stack, each=1)
        server.terminate()
        check_told([*peers, blocked])
        server.wait(SOON)
        for peer in silent:
            assert peer.read_close()[0] == 1001
