"""Compare servers: `python -m benchmarks`, see README.md for how and why."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from benchmarks.load import LoadError, build
from benchmarks.measure import WORKLOADS, Timing, Workload, measure
from benchmarks.plot import make_plot
from benchmarks.report import make_report
from benchmarks.servers import BROADCASTING, SERVERS, WITHOUT_COMPRESSION, WITHOUT_CROWDS

RESULTS = Path(__file__).with_name("RESULTS.md")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS))
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--seconds", type=float, default=Timing.seconds, metavar="S")
    parser.add_argument(
        "--quick", action="store_true", help="one short round: whether it runs, not what it costs"
    )
    parser.add_argument(
        "--output", type=Path, default=RESULTS, metavar="FILE", help="(%(default)s)"
    )
    parsed = parser.parse_args(arguments)
    if parsed.quick:
        parsed.rounds = 1
    return parsed


def _timing(parsed: argparse.Namespace) -> Timing:
    if parsed.quick:
        return Timing(seconds=0.2, warmup=0.1, connections=100)
    return Timing(seconds=parsed.seconds)


def _can(server: str, workload: Workload) -> bool:
    if workload.compression and server in WITHOUT_COMPRESSION:
        return False
    if workload.crowded and server in WITHOUT_CROWDS:
        return False
    return workload.broadcast == (server in BROADCASTING)


def _compare(parsed: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Measure everything, round by round, so that noise meets all servers alike."""
    costs: dict[str, dict[str, list[float]]] = {
        workload: {server: [] for server in parsed.servers} for workload in parsed.workloads
    }
    for number in range(parsed.rounds):
        for workload in parsed.workloads:
            for server in parsed.servers:
                if not _can(server, WORKLOADS[workload]):
                    continue
                cost = measure(server, WORKLOADS[workload], _timing(parsed))
                costs[workload][server].append(cost)
                print(f"round {number + 1}: {workload:12} {server:24} {cost:9.2f}", file=sys.stderr)
    return costs


def main(arguments: list[str] | None = None) -> int:
    """Compare, print the report and write it."""
    parsed = _parse(arguments)
    began, load = time.monotonic(), os.getloadavg()[0]
    try:
        build()
        costs = _compare(parsed)
    except LoadError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    conditions = (
        f"{parsed.rounds} interleaved rounds of {_timing(parsed).seconds:g} s; "
        f"{(time.monotonic() - began) / 60:.0f} minutes; the load average before was {load:.1f}."
    )
    report = make_report(costs, conditions)
    print(report)
    parsed.output.write_text(report)
    parsed.output.with_suffix(".svg").write_text(make_plot(costs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
