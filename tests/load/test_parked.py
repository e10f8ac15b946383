"""Thousands of sockets on one worker of a WSGI server, while it answers plain requests.

What is measured is printed with `-s`; what is judged has a wide margin, since machines differ.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.load.crowd import allow_descriptors, crowd, get, leave, talk
from tests.running import RunningServer, eventually, free_port, is_listening, run_command

#: How much memory one parked connection may take, in bytes; half as much where its handler
#: needs no way from threads to the loop. A thread of its own has a stack, and is not judged.
MEMORY = {"/": 12 * 1024, "/callbacks": 24 * 1024}
#: How long half of the plain requests may take beside all the others, in seconds.
PATIENCE = 0.1
#: How many handshakes are under way at once: some servers let only five wait for their turn.
AT_ONCE = 5
#: How many plain requests are timed.
REQUESTS = 300

Command = Callable[[int], list[str]]


def gunicorn(*options: str) -> Command:
    # Far less than a crowd takes: no worker is killed for holding it.
    fixed = ["gunicorn", "-w", "1", "--timeout", "3", *options, "tests.load.parked_app:app"]
    return lambda port: [*fixed, "-b", f"127.0.0.1:{port}"]


def launched(server: str) -> Command:
    return lambda port: ["tests.load.parked_app", server, str(port)]


@pytest.mark.fault(105)
@pytest.mark.parametrize(
    ("command", "path", "count"),
    [
        (gunicorn(), "/", 10_000),
        (gunicorn(), "/callbacks", 5_000),
        (gunicorn(), "/def", 500),
        (gunicorn("-k", "gthread", "--threads", "2"), "/", 10_000),
        (launched("waitress"), "/", 10_000),
        (launched("cheroot"), "/", 10_000),
        (launched("werkzeug"), "/", 10_000),
    ],
    ids=["sync", "sync-callbacks", "sync-def", "gthread", "waitress", "cheroot", "werkzeug"],
)
def test_one_worker_holds_them_all(command: Command, path: str, count: int, tmp_path: Path) -> None:
    with allow_descriptors(count), serving(command, tmp_path / "log") as server:
        worker = worker_of(server)
        before, threads = worker.memory_info().rss, worker.num_threads()
        with crowd(server.port, count, path, AT_ONCE) as peers:
            talk(peers, "hello ")
            memory = (worker.memory_info().rss - before) / count
            times = sorted(timed_get(server.port) for _ in range(REQUESTS))
            talk(peers, "still there ")
            print(f"\n{count} sockets: {memory / 1024:.1f} KiB each, plain HTTP {quantiles(times)}")
            assert worker.is_running()
            assert times[REQUESTS // 2] < PATIENCE
            if path in MEMORY:
                assert memory < MEMORY[path]
                assert worker.num_threads() - threads < 50
            server.terminate()
            leave(peers, 1001, by_server=True)
        server.wait()
        assert "Traceback" not in server.log


@contextmanager
def serving(command: Command, log: Path) -> Iterator[RunningServer]:
    port = free_port()
    with run_command([sys.executable, "-m", *command(port)], log) as server:
        server.port = port
        eventually(lambda: is_listening(port) and get(port) == 200)
        yield server


def worker_of(server: RunningServer) -> psutil.Process:
    process = psutil.Process(server.process.pid)
    return next(iter(process.children()), process)


def timed_get(port: int) -> float:
    began = time.perf_counter()
    assert get(port) == 200
    return time.perf_counter() - began


def quantiles(times: list[float]) -> str:
    return ", ".join(
        f"p{percent} {times[len(times) * percent // 100] * 1000:.1f} ms" for percent in (50, 99)
    )
