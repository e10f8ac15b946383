"""Servers for tests: real processes on loopback, stopped and looked at when the test ends."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

__all__ = [
    "PATIENCE",
    "ROOT",
    "Log",
    "RunningServer",
    "eventually",
    "free_port",
    "is_listening",
    "run_command",
    "run_server",
]

ROOT = Path(__file__).parents[1]
#: How long anything may take on a slow machine before a test gives up, in seconds.
PATIENCE = 30.0


class RunningServer:
    """Look at a server that runs in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log
        self._ps = psutil.Process(process.pid)
        self.port = 0

    @property
    def url(self) -> str:
        """Give the WebSocket URL of the root, without a slash behind."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Give everything that the server has printed so far."""
        return self._log.read_text(errors="replace")

    @property
    def descriptors(self) -> int:
        """Count the open file descriptors."""
        return int(self._ps.num_fds())

    @property
    def threads(self) -> int:
        """Count the threads."""
        return int(self._ps.num_threads())

    @property
    def memory(self) -> int:
        """Give the resident memory, in bytes."""
        return int(self._ps.memory_info().rss)

    @property
    def cpu_time(self) -> float:
        """Give the processor time used so far, in seconds."""
        times = self._ps.cpu_times()
        return float(times.user + times.system)

    def terminate(self, number: int = signal.SIGTERM) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for the end of the process; returns its exit status."""
        return self.process.wait(timeout)


class Log:
    """Read the lines that a server has printed since the test began; half a line does not count."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server
        self._start = len(server.log)

    def __str__(self) -> str:
        printed = self._server.log[self._start :]
        return printed[: printed.rfind("\n") + 1]

    def told(self, name: str, what: str) -> None:
        """Wait until a handler has reported what became of it, and check that it did so once."""
        eventually(lambda: f"[{name}: " in str(self))
        assert f"[{name}: {what}]" in str(self), str(self)
        assert str(self).count(f"[{name}: ") == 1

    def line_of(self, port: int) -> str:
        """Wait for the line that tells of a peer, by its port, and check that there is only one."""
        address = f" 127.0.0.1:{port} "
        eventually(lambda: address in str(self))
        (line,) = [line for line in str(self).splitlines() if address in line]
        return line


@contextmanager
def exclusively(folder: Path) -> Iterator[None]:
    """Keep other processes out that would make the same folder at the same time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # which closing the file gives back
        yield


@contextmanager
def run_command(
    command: list[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    *,
    cwd: Path = ROOT,
) -> Iterator[RunningServer]:
    """Run a server from its start to the end of the block; its output goes to `log`."""
    with (
        open(log, "wb") as output,
        subprocess.Popen(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        ) as process,
    ):
        try:
            yield RunningServer(process, log)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()


@contextmanager
def run_server(
    log: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    settings: Sequence[str] = (),
    cwd: Path = ROOT,
) -> Iterator[RunningServer]:
    """Run `python -m ws_middleware` with `arguments`, on a free port.

    `settings` are those of `tests.servers.standalone`.
    """
    module = ["tests.servers.standalone", *settings, "--"] if settings else ["ws_middleware"]
    command = [sys.executable, "-m", *module, *arguments, "--port", "0"]
    with run_command(command, log, environment, cwd=cwd) as server:

        def announced() -> bool:
            assert server.process.poll() is None, f"the server did not start:\n{server.log}"
            return "Ctrl+C stops" in server.log

        eventually(announced)
        match = re.search(r" serves https?://[^ ]*:(\d+)/", server.log)
        server.port = int(match.group(1)) if match else 0
        yield server


def eventually(condition: object, timeout: float = PATIENCE) -> None:
    """Wait until a callable is true; what another process does cannot be awaited otherwise."""
    assert callable(condition)
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{condition!r} did not become true within {timeout} s")
        time.sleep(0.01)


def free_port() -> int:
    """Find a port that nobody listens on, for servers that cannot tell which one they took."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def is_listening(port: int) -> bool:
    """Tell whether somebody accepts connections on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
