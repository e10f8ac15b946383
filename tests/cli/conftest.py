"""Servers started by the command, as many as a test wants, and peers that are closed for it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.peer import Peer
from tests.running import ROOT, RunningServer, run_command, run_server

__all__ = ["Connect", "Start"]

Start = Callable[..., RunningServer]
Connect = Callable[..., Peer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Give a function that runs the command on a free port; wait until it says that it serves."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, cwd: Path = ROOT) -> RunningServer:
            return stack.enter_context(run_server(tmp_path / "log", *arguments, cwd=cwd))

        yield start


@pytest.fixture
def start_exactly(tmp_path: Path) -> Iterator[Start]:
    """Give a function that runs the command with these arguments, and waits for nothing."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, cwd: Path = ROOT) -> RunningServer:
            command = [sys.executable, "-m", "ws_middleware", *arguments]
            return stack.enter_context(run_command(command, tmp_path / "log", cwd=cwd))

        yield start


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Give a function that opens a WebSocket."""
    with contextlib.ExitStack() as stack:

        def connect(server: RunningServer, path: str = "/echo", host: str = "127.0.0.1") -> Peer:
            return stack.enter_context(Peer(server.port, host=host)).open(path)

        yield connect
