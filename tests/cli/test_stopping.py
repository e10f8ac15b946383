"""Ctrl+C, in a terminal: the first one says goodbye to every peer, the second one stops at once."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.cli.conftest import Start
from tests.cli.talking import GOODBYE, UnixPeer
from tests.running import PATIENCE, ROOT, eventually

ROUTES = "tests.cli.service:ws"
modes = pytest.mark.parametrize("more", [[], ["--workers", "2"], ["--reload"]], ids=" ".join)


#: What the log says where the peers had all the time they may have.
GRACE_IS_OVER = "graceful shutdown exceeded"
#: The first terminal that the leader of a session opens becomes that of the session.
_IN_TERMINAL = ["sh", "-c", ': <"$0"; exec "$@"']


class Terminal:
    """Run the command in a terminal of its own."""

    def __init__(self, arguments: Sequence[str], cwd: Path, environment: dict[str, str]) -> None:
        self.screen = ""
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [*_IN_TERMINAL, os.ttyname(slave), sys.executable, "-m", "ws_middleware", *arguments],
            cwd=cwd,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, **environment},
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the last process that had it has ended
            while data := os.read(self._master, 4096):
                self.screen += data.decode().replace("\r\n", "\n")

    def press_ctrl_c(self) -> None:
        os.write(self._master, b"\x03")

    def wait(self) -> int:
        """Wait until no process is left, and give the exit status."""
        self._reader.join(PATIENCE)
        assert not self._reader.is_alive(), self.screen
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self._reader.is_alive():
            os.killpg(self.process.pid, signal.SIGKILL)
            self._reader.join()
        self.process.wait()
        os.close(self._master)


Type = Callable[..., Terminal]
Peers = Callable[..., UnixPeer]


@pytest.fixture
def type_in() -> Iterator[Type]:
    """Give a function that types the command's arguments in a terminal."""
    with contextlib.ExitStack() as stack:

        def type_in(*arguments: str, cwd: Path = ROOT, **environment: str) -> Terminal:
            terminal = Terminal(arguments, cwd, environment)
            return stack.enter_context(contextlib.closing(terminal))

        yield type_in


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socket"


@pytest.fixture
def peers(path: Path) -> Iterator[Peers]:
    with contextlib.ExitStack() as stack:
        yield lambda route="/echo": stack.enter_context(UnixPeer(path)).open(route)


def serve_in(type_in: Type, path: Path, more: list[str]) -> Terminal:
    terminal = type_in(ROUTES, "--uds", str(path), *more)
    eventually(lambda: "(Ctrl+C stops)" in terminal.screen)
    return terminal


@modes
@pytest.mark.fault(107)
def test_ctrl_c_says_goodbye_to_every_peer(
    type_in: Type, path: Path, peers: Peers, more: list[str]
) -> None:
    terminal = serve_in(type_in, path, more)
    opened = [peers() for _ in range(10)]
    terminal.press_ctrl_c()
    for peer in opened:
        assert peer.read_close() == GOODBYE
        peer.socket.close()
    assert terminal.wait() == 0
    assert "Traceback" not in terminal.screen
    assert terminal.screen.endswith(" INFO stopped\n")


@pytest.mark.parametrize("more", [[], ["--workers", "2"]], ids=" ".join)
@pytest.mark.fault(109)
def test_second_ctrl_c_stops_at_once(
    type_in: Type, path: Path, peers: Peers, more: list[str]
) -> None:
    terminal = serve_in(type_in, path, more)
    silent = peers("/patient")
    terminal.press_ctrl_c()
    assert silent.read_close() == GOODBYE
    eventually(lambda: "Ctrl+C again stops at once" in terminal.screen)
    terminal.press_ctrl_c()
    assert terminal.wait() == 0
    assert "Traceback" not in terminal.screen
    assert GRACE_IS_OVER not in terminal.screen


@pytest.mark.parametrize("more", [[], ["--workers", "2"]], ids=" ".join)
@pytest.mark.fault(109)
def test_second_sigint_stops_at_once_where_only_the_first_process_gets_it(
    start: Start, path: Path, peers: Peers, more: list[str]
) -> None:
    server = start(ROUTES, "--uds", str(path), *more)
    silent = peers("/patient")
    server.terminate(signal.SIGINT)
    assert silent.read_close() == GOODBYE
    server.terminate(signal.SIGINT)
    assert server.wait() == 0
    assert GRACE_IS_OVER not in server.log


@modes
def test_ctrl_c_while_the_code_is_loaded(type_in: Type, tmp_path: Path, more: list[str]) -> None:
    (tmp_path / "slow.py").write_text(
        "import os, threading\nos.write(2, b'loading')\nthreading.Event().wait()"
    )
    terminal = type_in("slow", "--port", "0", *more, cwd=tmp_path)
    eventually(lambda: "loading" in terminal.screen)
    terminal.press_ctrl_c()
    assert terminal.wait() == 0
    assert "Traceback" not in terminal.screen


@pytest.mark.parametrize("more", [["--workers", "2"], ["--reload"]], ids=" ".join)
def test_ctrl_c_while_workers_start(type_in: Type, tmp_path: Path, more: list[str]) -> None:
    (tmp_path / "sitecustomize.py").write_text(  # what an interpreter imports first
        "import os, sys, threading\n"
        "if any('spawn_main' in argument for argument in sys.orig_argv):\n"
        "    os.write(2, b'loading')\n"
        "    threading.Event().wait()\n"
    )
    terminal = type_in(ROUTES, "--port", "0", *more, PYTHONPATH=str(tmp_path))
    eventually(lambda: "loading" in terminal.screen)
    terminal.press_ctrl_c()
    assert terminal.wait() == 0
    assert "Traceback" not in terminal.screen
