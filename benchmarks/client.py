"""Compare clients: `python -m benchmarks.client`, see README.md for how and why."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.clients import CLIENTS, MAX_SIZE
from benchmarks.measure import load_core, server_core
from benchmarks.report import make_report
from ws_middleware import AsyncConnection, WebSockets
from ws_middleware.listening import bind
from ws_middleware.server import ServerConfig, serve

RESULTS = Path(__file__).with_name("CLIENT_RESULTS.md")


class Described(NamedTuple):
    """Name what is measured, and in which unit."""

    title: str
    unit: str
    path: str = "/"


WORKLOADS = {
    "32": Described("32 B of text there and back", "µs per message"),
    "1k": Described("1 KiB of text there and back", "µs per message"),
    "receive": Described("receiving 1 MiB of binary", "µs per message", "/large"),
    "connect": Described("opening and closing a connection", "µs per connection"),
}
PAIRS = [
    ("websockets.sync", "connect"),
    ("websocket-client", "connect"),
    ("websockets", "aconnect"),
    ("aiohttp", "aconnect"),
    ("picows", "aconnect"),
]
PACKAGES = ("ws-middleware", "websockets", "websocket-client", "aiohttp", "picows", "uvloop")


def serve_all() -> None:
    """Be the server that all clients talk to; prints its port."""
    ws = WebSockets(extensions=(), max_message_size=MAX_SIZE)
    large = bytes(2**20)

    @ws.route("/")
    async def echo(connection: AsyncConnection) -> None:
        async for message in connection:
            await connection.send(message)

    @ws.route("/large")
    async def send_large(connection: AsyncConnection) -> None:
        async for _ in connection:
            await connection.send(large)

    with bind("127.0.0.1", 0) as sock:
        print(sock.getsockname()[1], flush=True)
        config = ServerConfig(ws.asgi(), options=ws.options, loop="uvloop", log_level="warning")
        serve(config, sock)


@contextlib.contextmanager
def _serving() -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.client", "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            if (core := load_core()) is not None:
                os.sched_setaffinity(process.pid, {core})
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


def measure(client: str, workload: str, port: int, seconds: float) -> float:
    """Measure once what a workload costs a client, in a process of its own."""
    url = f"ws://127.0.0.1:{port}{WORKLOADS[workload].path}"
    command = [sys.executable, "-m", "benchmarks.clients", client, workload, url, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        if (core := server_core()) is not None:
            os.sched_setaffinity(process.pid, {core})
        output, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{client} failed")
    return float(output)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.client", description=__doc__)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=CLIENTS)
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--seconds", type=float, default=1.5, metavar="S")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FILE")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Compare, print the report and write it."""
    parsed = _parse(arguments)
    if parsed.serve:
        serve_all()
        return 0
    load = os.getloadavg()[0]
    costs: dict[str, dict[str, list[float]]] = {
        workload: {client: [] for client in parsed.clients} for workload in parsed.workloads
    }
    with _serving() as port:
        for number in range(parsed.rounds):
            for workload, by_client in costs.items():
                for client, measured in by_client.items():
                    measured.append(measure(client, workload, port, parsed.seconds))
                    print(
                        f"round {number + 1}: {workload:8} {client:18} {measured[-1]:9.2f}",
                        file=sys.stderr,
                    )
    conditions = (
        f"Processor time of the client; {parsed.rounds} interleaved rounds of "
        f"{parsed.seconds:g} s; the load average before was {load:.1f}."
    )
    report = make_report(costs, conditions, workloads=WORKLOADS, pairs=PAIRS, packages=PACKAGES)
    print(report)
    parsed.output.write_text(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
