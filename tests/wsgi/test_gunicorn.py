"""What gunicorn does to its workers, and what becomes of the connections that they gave up."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import pytest

from tests.peer import PING, PONG, TEXT, Peer
from tests.wsgi.asking import check_plain
from tests.wsgi.kinds import SHAPES, errors_in, kind_of, serve, shapes
from tests.wsgi.replacing import ENOUGH, check_handed_on, check_used_up
from tests.wsgi.test_stopping import open_some

#: Longer than any test takes: a worker that hangs makes a test fail.
PATIENT = ("--timeout", "120", "--graceful-timeout", "120")


def test_sockets_outlive_the_timeout_of_a_worker(tmp_path: Path) -> None:
    """A sync worker that holds a request for longer than this is killed."""
    options = ("--timeout", "2")
    with (
        serve(kind_of("gunicorn-sync"), tmp_path / "log", *options) as server,
        contextlib.ExitStack() as stack,
    ):
        peers = open_some(server.port, stack, each=1)
        worker = server.worker.pid
        clock = stack.enter_context(Peer(server.port)).open("/watched")
        for _ in range(4):  # a ping for each second of silence
            ping = clock.read_frame()
            assert ping.opcode == PING
            clock.send_frame(PONG, ping.payload)
        for peer in peers:
            peer.echo("still there")
        check_plain(server.port)
        assert server.worker.pid == worker
        assert not errors_in(server.log), server.log


def change_code(code: Path) -> tuple[str, ...]:
    """Write a file of the app's; gives the options that watch it."""
    code.write_text("changed = 0\n")
    return "--reload", "--reload-engine", "poll", "--reload-extra-file", str(code)


#: Two that park, and one that waits for what it serves in place.
workers = pytest.mark.parametrize("name", ["gunicorn-sync", "gunicorn-gthread", "gunicorn-gevent"])


@workers
def test_max_requests(name: str, tmp_path: Path) -> None:
    options = (*PATIENT, "--max-requests", str(ENOUGH))
    check_used_up(kind_of(name), tmp_path / "log", *options)


@workers
def test_sighup(name: str, tmp_path: Path) -> None:
    check_handed_on(
        kind_of(name),
        tmp_path / "log",
        *PATIENT,
        end=lambda one: one.terminate(signal.SIGHUP),
    )


@workers
def test_reload(name: str, tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    options = (*PATIENT, *change_code(code))
    check_handed_on(
        kind_of(name), tmp_path / "log", *options, end=lambda _: code.write_text("changed = 1\n")
    )


def test_greenlets_beside_the_standard_librarys_loop(tmp_path: Path) -> None:
    """Without uvloop the background loop waits in its own thread, not in gevent's hub."""
    (tmp_path / "uvloop.py").write_text("raise ImportError")
    options = ("--pythonpath", str(tmp_path))
    with (
        serve(kind_of("gunicorn-gevent"), tmp_path / "log", *options) as server,
        contextlib.ExitStack() as stack,
    ):
        peers = open_some(server.port, stack)
        check_plain(server.port)
        for peer in peers:
            peer.echo("x" * 300_000)
            peer.close()
        assert not errors_in(server.log), server.log


@shapes
def test_in_place_a_socket_takes_a_thread(shape: str, tmp_path: Path) -> None:
    """With `park=False` as many sockets fit as the server has threads."""
    with (
        serve(kind_of("gunicorn-gthread"), tmp_path / "log", settings=", park=False") as server,
        contextlib.ExitStack() as stack,
    ):
        peers = [stack.enter_context(Peer(server.port)).open(f"/{shape}") for _ in range(2)]
        waiting = stack.enter_context(Peer(server.port))
        waiting.send(f"GET /plain HTTP/1.1\r\nHost: {waiting.host}\r\n\r\n".encode())
        for peer in peers:
            peer.echo("in place")
        waiting.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            waiting.socket.recv(1)
        waiting.socket.settimeout(30)
        for peer in peers:
            peer.close()
            peer.finish()
        assert waiting.read_until(b"\r\n") == b"HTTP/1.1 200 OK\r\n"
        assert not errors_in(server.log), server.log


def test_in_place_a_handler_that_raises_leaves_one_traceback(tmp_path: Path) -> None:
    with serve(kind_of("gunicorn-gthread"), tmp_path / "log", settings=", park=False") as server:
        for shape in SHAPES:
            with Peer(server.port) as peer:
                peer.open(f"/{shape}").send_frame(TEXT, "raise")
                peer.expect_failure(1011)
        assert server.log.count("Traceback") == len(SHAPES)


def test_in_place_a_sync_worker_is_killed_by_its_timeout(tmp_path: Path) -> None:
    """What parking is for; the peer is told, and gets not one byte of HTTP."""
    with (
        serve(
            kind_of("gunicorn-sync"),
            tmp_path / "log",
            "--timeout",
            "2",
            settings=", park=False",
        ) as server,
        Peer(server.port) as peer,
    ):
        peer.open("/def").echo("before")
        assert peer.read_close()[0] == 1001
        peer.finish()
        peer.read_end()
        check_plain(server.port)
