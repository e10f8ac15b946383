"""A Unix socket is a file: it comes with the server and goes with it, and is nobody else's."""

from __future__ import annotations

import os
import signal
import socket
import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Start
from tests.cli.talking import UnixPeer
from tests.running import RunningServer

ROUTES = "tests.cli.service:ws"
modes = pytest.mark.parametrize("more", [[], ["--workers", "2"], ["--reload"]], ids=" ".join)


def check_serving(server: RunningServer, path: Path) -> None:
    with UnixPeer(path) as peer:
        peer.open("/echo").echo("hello")
        peer.close()


@modes
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_file_goes_with_the_server(
    start: Start, tmp_path: Path, more: list[str], number: int
) -> None:
    path = tmp_path / "socket"
    server = start(ROUTES, "--uds", str(path), *more)
    assert f" serves unix:{path}, routes: " in server.log
    check_serving(server, path)
    server.terminate(number)
    assert server.wait() == 0
    assert not path.exists()


def test_other_users_may_connect_where_the_folder_lets_them(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    start(ROUTES, "--uds", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


def test_file_that_was_left_behind_is_replaced(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    first = start(ROUTES, "--uds", str(path))
    first.process.kill()
    first.wait()
    assert path.is_socket()
    check_serving(start(ROUTES, "--uds", str(path)), path)


def test_file_that_has_become_another_servers_is_kept(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = start(ROUTES, "--uds", str(path))
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        server.terminate()
        assert server.wait() == 0
        assert path.is_socket()
