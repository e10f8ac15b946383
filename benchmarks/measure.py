"""One measurement: a fresh server on one core, a load on another, one number.

The number is a cost: microseconds of the server's CPU time for one message or handshake, or
KiB of its resident memory for one connection. Less is better.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import psutil

from benchmarks.load import hold, run

__all__ = ["WORKLOADS", "Timing", "Workload", "load_core", "measure", "server_core"]

#: The marginal connection is measured, behind so many that warm the server up.
FIRST_CONNECTIONS = 100


@dataclass(frozen=True)
class Timing:
    """Say how long one measurement takes, in seconds, and how many connections it holds."""

    seconds: float = 2.0
    warmup: float = 0.5
    connections: int = 1000


@dataclass(frozen=True)
class Workload:
    """Name what is measured, in which unit, and how: from a server to a cost."""

    title: str
    unit: str
    cost: Callable[[psutil.Process, int, Timing], float]
    compression: bool = False
    broadcast: bool = False
    crowded: bool = False


def _cpu_cost(server: psutil.Process, port: int, timing: Timing, mode: str, **load: int) -> float:
    result = run(
        mode,
        core=load_core(),
        port=port,
        pid=server.pid,
        seconds=timing.seconds,
        warmup=timing.warmup,
        **load,
    )
    return float(result["server_cpu"]) / int(result["done"]) * 1e6


def _memory_cost(server: psutil.Process, port: int, timing: Timing, **options: int) -> float:
    load = {"core": load_core(), "port": port, **options}
    with hold(connections=FIRST_CONNECTIONS, **load):
        before = server.memory_info().rss
        with hold(connections=timing.connections, **load):
            return float(server.memory_info().rss - before) / timing.connections / 1024


_ECHO, _HANDSHAKE = "µs per message", "µs per handshake"

WORKLOADS: Mapping[str, Workload] = {
    "32": Workload(
        "echo of 32 B text, 64 connections",
        _ECHO,
        partial(_cpu_cost, mode="echo", connections=64, size=32),
    ),
    "1k": Workload(
        "echo of 1 KiB text, 64 connections",
        _ECHO,
        partial(_cpu_cost, mode="echo", connections=64, size=1024),
    ),
    "64k": Workload(
        "echo of 64 KiB binary, 8 connections",
        _ECHO,
        partial(_cpu_cost, mode="echo", connections=8, size=65536, binary=True),
    ),
    "1m": Workload(
        "echo of 1 MiB binary, 4 connections",
        _ECHO,
        partial(_cpu_cost, mode="echo", connections=4, size=2**20, binary=True),
    ),
    "deflate": Workload(
        "echo of 1 KiB JSON with permessage-deflate, 64 connections",
        _ECHO,
        partial(_cpu_cost, mode="echo", connections=64, size=1024, deflate=True),
        compression=True,
    ),
    "32x16": Workload(
        "echo of 32 B text, 64 connections, 16 messages in flight on each",
        _ECHO,
        partial(_cpu_cost, mode="echo", connections=64, size=32, depth=16),
    ),
    "broadcast": Workload(
        "128 B of text from one to 1,000 connections",
        "µs per message delivered",
        partial(_cpu_cost, mode="broadcast", connections=1000, size=128),
        broadcast=True,
    ),
    "broadcast-deflate": Workload(
        "1 KiB of JSON from one to 1,000 connections with permessage-deflate",
        "µs per message delivered",
        partial(_cpu_cost, mode="broadcast", connections=1000, size=1024, deflate=True),
        compression=True,
        broadcast=True,
    ),
    "handshake": Workload(
        "opening and closing handshake, 32 at a time",
        _HANDSHAKE,
        partial(_cpu_cost, mode="handshake", connections=32),
    ),
    "idle": Workload(
        "memory of an open connection that echoed 32 B of text",
        "KiB per connection",
        partial(_memory_cost, size=32),
        crowded=True,
    ),
    "idle-deflate": Workload(
        "memory of one with permessage-deflate that echoed 1 KiB of JSON",
        "KiB per connection",
        partial(_memory_cost, size=1024, deflate=True),
        compression=True,
        crowded=True,
    ),
}


def server_core() -> int | None:
    """Give the core for what is measured, None where there is but one."""
    return None if len(os.sched_getaffinity(0)) < 2 else min(os.sched_getaffinity(0))


def load_core() -> int | None:
    """Give the core for the other end."""
    return None if len(os.sched_getaffinity(0)) < 2 else max(os.sched_getaffinity(0))


@contextmanager
def _running(name: str, compression: bool) -> Iterator[tuple[psutil.Process, int]]:
    """Run a server of `benchmarks.servers`; gives its process and its port."""
    command = [sys.executable, "-m", "benchmarks.servers", name]
    with subprocess.Popen(
        [*command, "--compression"] if compression else command, stdout=subprocess.PIPE
    ) as process:
        try:
            if (core := server_core()) is not None:
                os.sched_setaffinity(process.pid, {core})
            assert process.stdout is not None
            port = int(process.stdout.readline())
            with hold(connections=1, port=port, size=32, core=load_core()):
                server = psutil.Process(process.pid)
                worker = next(iter(server.children()), server)
            yield worker, port
        finally:
            for child in psutil.Process(process.pid).children():
                child.kill()
            process.kill()


def measure(server: str, workload: Workload, timing: Timing) -> float:
    """Measure once what a workload costs a server."""
    with _running(server, workload.compression) as (process, port):
        return workload.cost(process, port, timing)
