"""From measurements to Markdown: medians, how far the rounds are apart, and ratios.

Rounds are interleaved, so the ratio of two servers is also known round by round.
"""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from statistics import median
from typing import Protocol

from benchmarks.measure import WORKLOADS

__all__ = ["PAIRS", "Costs", "Described", "make_report"]

#: By workload, then by server, the costs of the rounds.
Costs = Mapping[str, Mapping[str, Sequence[float]]]

#: Who is set against whom.
Pairs = Sequence[tuple[str, str]]
PAIRS: Pairs = (
    ("websockets", "ws_middleware"),
    ("websockets-asyncio", "ws_middleware-asyncio"),
    ("websockets", "ws_middleware-python"),
    ("websockets", "ws_middleware-isal"),
    ("websockets-threads", "ws_middleware-threads"),
    ("websockets-broadcast", "ws_middleware-broadcast"),
    ("picows", "ws_middleware"),
    ("picows.websockets", "ws_middleware"),
    ("uvicorn", "uvicorn-ws_middleware"),
    ("gunicorn-flask-sock", "gunicorn-parked"),
    ("gunicorn-flask-sock", "gunicorn-in-place"),
    ("gunicorn-flask-sock", "gunicorn-async"),
)


class Described(Protocol):
    """Name what is measured, and in which unit."""

    @property
    def title(self) -> str:
        """Say what it is."""

    @property
    def unit(self) -> str:
        """Say what the numbers are."""


_PACKAGES = (
    *("ws-middleware", "websockets", "picows", "uvicorn", "uvloop", "httptools"),
    *("gunicorn", "flask-sock", "simple-websocket"),
)


def make_report(
    costs: Costs,
    conditions: str,
    *,
    workloads: Mapping[str, Described] = WORKLOADS,
    pairs: Pairs = PAIRS,
    packages: Sequence[str] = _PACKAGES,
) -> str:
    """Make the whole page."""
    parts = ["# Results", _describe_machine(packages), conditions, *_ratio_section(costs, pairs)]
    for name, by_server in costs.items():
        workload = workloads[name]
        parts += [f"## {name}: {workload.title}", _cost_table(workload.unit, by_server)]
    return "\n\n".join(parts) + "\n"


def _describe_machine(packages: Sequence[str]) -> str:
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return (
        f"{datetime.date.today():%Y-%m-%d}, Python {platform.python_version()}, "
        f"{platform.system()} on {os.cpu_count()} x {_processor()}, {versions}."
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model n")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


def _ratio_section(costs: Costs, pairs: Pairs) -> Iterable[str]:
    rows = []
    for other, ours in pairs:
        cells = [_ratio(by_server, other, ours) for by_server in costs.values()]
        if any(cells):
            rows.append([f"{other} : {ours}", *cells])
    if rows:
        yield "## How many times what ours costs"
        yield _table(["", *costs], rows)


def _ratio(by_server: Mapping[str, Sequence[float]], other: str, ours: str) -> str:
    if not by_server.get(other) or not by_server.get(ours):
        return ""
    rounds = [a / b for a, b in zip(by_server[other], by_server[ours], strict=True)]
    ratio = median(by_server[other]) / median(by_server[ours])
    return f"**{ratio:.2f}** ({min(rounds):.2f} to {max(rounds):.2f})"


def _cost_table(unit: str, by_server: Mapping[str, Sequence[float]]) -> str:
    rows = [
        [name, f"{median(costs):.2f}", f"{min(costs):.2f} to {max(costs):.2f}", _rate(unit, costs)]
        for name, costs in by_server.items()
        if costs
    ]
    return _table(["", unit, "rounds", "per CPU second"], rows)


def _rate(unit: str, costs: Sequence[float]) -> str:
    return f"{1e6 / median(costs):,.0f}" if unit.startswith("µs") else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
