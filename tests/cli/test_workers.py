"""Several processes serve behind one port; they come and go with the first one."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from tests.cli.conftest import Connect, Start
from tests.cli.talking import say_goodbye
from tests.peer import Peer
from tests.running import RunningServer, eventually

ROUTES = "tests.cli.service:ws"


def connect_to_all(server: RunningServer, connect: Connect, count: int = 2) -> dict[int, Peer]:
    """Open connections until so many processes have one; returns one of each."""
    found: dict[int, Peer] = {}

    def found_all() -> bool:
        peer = connect(server, "/process")
        text = peer.read_message()
        found.setdefault(int(text), peer)
        if found[int(text)] is not peer:
            peer.close()
            peer.socket.close()
        return len(found) == count

    eventually(found_all)
    return found


@pytest.mark.fault(107)
def test_sigterm_ends_all_and_tells_the_peers_of_each(start: Start, connect: Connect) -> None:
    server = start(ROUTES, "--workers", "2")
    found = connect_to_all(server, connect)
    assert server.process.pid not in found
    server.terminate()
    for peer in found.values():
        say_goodbye(peer)
        peer.socket.close()
    assert server.wait() == 0
    assert not any(psutil.pid_exists(number) for number in found)
    assert "Traceback" not in server.log


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_worker_that_ends_is_replaced(start: Start, connect: Connect, number: int) -> None:
    server = start(ROUTES, "--workers", "2")
    found = connect_to_all(server, connect)
    killed, kept = found
    found[killed].socket.close()
    os.kill(killed, number)
    eventually(lambda: f"the worker process {killed} ended with " in server.log)
    now = connect_to_all(server, connect)
    assert killed not in now
    assert kept in now


def test_workers_end_with_the_first_process(start: Start, connect: Connect) -> None:
    server = start(ROUTES, "--workers", "2")
    found = connect_to_all(server, connect)
    server.terminate(signal.SIGKILL)
    for peer in found.values():
        say_goodbye(peer)
        peer.socket.close()
    eventually(lambda: not any(psutil.pid_exists(number) for number in found))
