"""The same figures as a picture: how much work a second of processor time does, in SVG.

Each group of bars is a workload; the bar of `REFERENCE` is as long in every group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from statistics import median

__all__ = ["make_plot"]

REFERENCE = "websockets"
#: Who is drawn, from the top to the bottom of a group, and in which colour.
SERVERS = {
    "ws_middleware": "#1f6feb",
    "picows": "#8c959f",
    "picows.websockets": "#afb8c1",
    "websockets": "#d0d7de",
}
#: Which workloads, and how they are called here.
GROUPS = {
    "32": "32 B",
    "32x16": "32 B, 16 in flight",
    "1k": "1 KiB",
    "64k": "64 KiB",
    "1m": "1 MiB",
    "deflate": "1 KiB JSON, compressed",
    "handshake": "handshakes",
}
WIDTH, LEFT, BAR, GAP, TOP = 760, 190, 14, 14, 64
#: How long the bar of the reference is; longer ones than the space end at its edge.
UNIT, MOST = 62.0, 480.0


def make_plot(costs: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Draw the workloads of which the reference was measured, too."""
    body: list[str] = []
    y = TOP
    for workload, title in GROUPS.items():
        rates = _rates(costs.get(workload, {}))
        if REFERENCE not in rates:
            continue
        body.append(_text(LEFT - 12, y + BAR - 3, title, anchor="end"))
        for server, rate in rates.items():
            body += _bar(y, server, rate)
            y += BAR + 2
        y += GAP
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{y}" fill="#ffffff"/>',
        _text(16, 22, f"Work per second of processor time, {REFERENCE} = 1", size=14),
        *_legend(),
    ]
    return "\n".join([*head, *body, "</svg>"]) + "\n"


def _rates(by_server: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Give how many times the work of the reference each server does."""
    if not by_server.get(REFERENCE):
        return {}
    reference = median(by_server[REFERENCE])
    return {name: reference / median(by_server[name]) for name in SERVERS if by_server.get(name)}


def _bar(y: int, server: str, rate: float) -> Iterable[str]:
    length = min(rate * UNIT, MOST)
    fill = SERVERS[server]
    title = escape(f"{server} {rate:.2f}")
    yield (
        f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{fill}">'
        f"<title>{title}</title></rect>"
    )
    yield _text(LEFT + length + 6, y + BAR - 3, f"{rate:.2f}", size=11)


def _legend() -> Iterable[str]:
    x = LEFT
    for server, fill in SERVERS.items():
        yield f'<rect x="{x}" y="36" width="{BAR}" height="{BAR}" fill="{fill}"/>'
        yield _text(x + BAR + 5, 47, server)
        x += 40 + 8 * len(server)


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.0f}" y="{y}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="#1f2328">{escape(text)}</text>'
    )
