"""A server under faults of all kinds, for as long as `SOAK_SECONDS` says: nothing grows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.admission.checks import key
from tests.peer import BINARY, CLOSE, PING, TEXT, Peer
from tests.running import RunningServer, eventually, run_server
from tests.servers.asking import MEBIBYTE

#: An hour before a release; the rest of the time enough to find what grows with each connection.
SECONDS = float(os.environ.get("SOAK_SECONDS", "6"))
#: How much the allocator may take without anything being kept.
MARGIN = 8 * MEBIBYTE

SHAPES = ["async", "def", "callbacks"]
Fault = Callable[[Peer, str], object]


def talk(peer: Peer, shape: str) -> None:
    peer.open(f"/door/{shape}/key", fields=key("ann")).read_message()
    peer.echo("hello")
    peer.close()


def vanish(peer: Peer, shape: str) -> None:
    peer.open(f"/door/{shape}/open").read_message()
    peer.reset()


def say_nothing(peer: Peer, shape: str) -> None:
    peer.send(peer.request(f"/door/{shape}/open")[:-2])
    peer.reset()


def vanish_while_asked(peer: Peer, shape: str) -> None:
    peer.send(peer.request(f"/door/{shape}/later", fields=key("ann")))
    peer.reset()


def guess(peer: Peer, shape: str) -> None:
    for _ in range(5):
        peer.send(peer.request(f"/door/{shape}/key", fields=key("mallory")))
        peer.read_until(b"authentication is required\n")
    peer.read_end()


def say_the_wrong_word(peer: Peer, shape: str) -> None:
    peer.open(f"/door/{shape}/word").send_frame(TEXT, "open barley")
    assert peer.read_close()[0] == 4403


def break_the_rules(peer: Peer, shape: str) -> None:
    peer.open(f"/door/{shape}/open").read_message()
    peer.send_frame(TEXT, b"\xff")
    peer.expect_failure(1007)


def expire(peer: Peer, shape: str) -> None:
    peer.open(f"/door/{shape}/moment", fields=key("bob"))
    peer.send_frame(BINARY, bytes(100_000))
    peer.reset()


def close_badly(peer: Peer, shape: str) -> None:
    peer.open(f"/door/{shape}/open").read_message()
    peer.send_frame(PING, b"x")
    peer.send_frame(CLOSE, b"\x03\xe8")
    peer.finish()


FAULTS: list[Fault] = [
    talk,
    vanish,
    say_nothing,
    vanish_while_asked,
    guess,
    say_the_wrong_word,
    break_the_rules,
    expire,
    close_badly,
]


def torment(server: RunningServer, until: float) -> int:
    """Do everything in turn until a moment; gives how many connections that were."""
    count = 0
    while time.monotonic() < until:
        for shape in SHAPES:
            for fault in FAULTS:
                with Peer(server.port) as peer:
                    fault(peer, shape)
                count += 1
    return count


@pytest.mark.fault(106)
def test_nothing_grows(tmp_path: Path) -> None:
    targets = ("tests.admission.doors:ws", "tests.admission.doors:pages")
    with run_server(tmp_path / "log", *targets) as server:
        torment(server, time.monotonic() + SECONDS / 3)
        eventually(lambda: server.descriptors < 30)
        before = (server.descriptors, server.threads, server.memory)
        count = torment(server, time.monotonic() + SECONDS)
        eventually(lambda: server.descriptors <= before[0])
        eventually(lambda: server.threads <= before[1])
        grown = server.memory - before[2]
        print(f"{count} connections: {grown / MEBIBYTE:.1f} MiB more")
        assert grown < MARGIN
        assert "Traceback" not in server.log
