"""Authentication alone, without sockets: `python -m benchmarks.auth`, checks a second on one core.

Every number is the best of some rounds, as noise only ever takes away. The last line is what a
million challenges that nobody answers leave behind.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil

from ws_middleware.auth import Basic, Bearer, Digest, Ticket
from ws_middleware.auth.answers import basic_credentials, digest_credentials
from ws_middleware.auth.schemes import parse_challenges
from ws_middleware.core.handshake import RequestHead
from ws_middleware.errors import Unauthorized
from ws_middleware.request import Request

USERS = {f"user{number}": f"password{number}" for number in range(1000)}
USER, PASSWORD = "user7", "password7"
#: What a browser sends beside its credentials.
FIELDS = [
    ("Host", "chat.example"),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0"),
    ("Origin", "https://chat.example"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Extensions", "permessage-deflate"),
]

#: Makes one more request, and the function that has to admit it.
Maker = Callable[[], Request]
Check = Callable[[Request], object]


def _request(authorization: str = "", target: str = "/chat") -> Request:
    fields = [*FIELDS, ("Authorization", authorization)] if authorization else FIELDS
    return Request(RequestHead("GET", target, "1.1", fields), secure=True)


def basic() -> tuple[Check, Maker]:
    return Basic(USERS), lambda: _request(basic_credentials(USER, PASSWORD))


def digest(algorithm: str) -> tuple[Check, Maker]:
    check, counts = Digest(USERS, algorithms=[algorithm]), itertools.count(1)
    [challenge] = parse_challenges(check.challenges())

    def make() -> Request:
        terms = {"uri": "/chat", "cnonce": "0a4f113b"}
        value = digest_credentials(challenge, USER, PASSWORD, count=next(counts), **terms)
        return _request(value)

    return check, make


def bearer() -> tuple[Check, Maker]:
    tokens = {password: user for user, password in USERS.items()}
    return Bearer(tokens), lambda: _request(f"Bearer {PASSWORD}")


def ticket() -> tuple[Check, Maker]:
    check = Ticket(lifetime=3600.0)
    return check, lambda: _request(target=f"/chat?ticket={check.issue(USER, path='/chat')}")


ROWS: dict[str, Callable[[], tuple[Check, Maker]]] = {
    "Basic, a mapping": basic,
    "Digest, SHA-256": lambda: digest("SHA-256"),
    "Digest, SHA-512-256": lambda: digest("SHA-512-256"),
    "Digest, MD5": lambda: digest("MD5"),
    "Bearer, a mapping": bearer,
    "Ticket": ticket,
}


def _rate(check: Check, make: Maker, count: int, rounds: int) -> float:
    """Give how many requests a second are admitted; each of them is a new one."""
    return count / min(_time(check, [make() for _ in range(count)]) for _ in range(rounds))


def _time(check: Check, requests: list[Request]) -> float:
    began = time.perf_counter()
    for request in requests:
        check(request)
    return time.perf_counter() - began


def _growth(count: int) -> float:
    """Give by how many KiB the process grows over so many challenges."""
    check, process = Digest(USERS), psutil.Process()
    _challenge(check, 1000)
    before = process.memory_info().rss
    _challenge(check, count)
    return (process.memory_info().rss - before) / 1024


def _challenge(check: Check, count: int) -> None:
    request = _request()
    for _ in range(count):
        with suppress(Unauthorized):
            check(request)


def _lines(count: int, rounds: int, challenges: int) -> Iterator[str]:
    yield "| | checks a second |"
    yield "|---|---:|"
    for title, make in ROWS.items():
        yield f"| {title} | {_rate(*make(), count, rounds):,.0f} |"
    yield ""
    yield f"{challenges:,} challenges: {_growth(challenges):+,.0f} KiB"


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.auth", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="run everything, measure nothing")
    smoke = parser.parse_args(arguments).smoke
    for line in _lines(*((1, 1, 10) if smoke else (1000, 20, 1_000_000))):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
