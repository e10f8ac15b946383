"""Who is let in by the standalone server, and what it says to those who are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.admission.attacks import ATTACKS
from tests.admission.checks import CHECKS, SHAPE_CHECKS, SHAPES, enter, key, our_origin
from tests.peer import Peer
from tests.running import RunningServer, run_server
from tests.wsgi.asking import ask

TARGETS = ("tests.admission.doors:ws", "tests.admission.doors:pages")

PATH = "/door/async/key"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("check", SHAPE_CHECKS)
def test_door_of_each_shape(
    server: RunningServer, check: Callable[[RunningServer, str], None], shape: str
) -> None:
    check(server, shape)


@pytest.mark.parametrize("check", [*CHECKS, *ATTACKS])
def test_door(server: RunningServer, check: Callable[[RunningServer], None]) -> None:
    check(server)


# --- challenges on one TCP connection ---


@pytest.mark.fault(14)
def test_challenge_keeps_the_connection(peer: Peer) -> None:
    answer = ask(peer, peer.request(PATH))
    assert (answer.status, answer.closes) == (401, False)
    assert enter(peer, PATH, key("ann"))["identity"] == "ann"


def test_page_may_come_between(peer: Peer) -> None:
    assert ask(peer, peer.request(PATH)).status == 401
    peer.send(f"GET / HTTP/1.1\r\nHost: {peer.host}\r\n\r\n".encode())
    reply = peer.reply()
    assert (reply.status, peer.body(reply)) == (200, b"plain page")
    assert enter(peer, PATH, key("ann"))["identity"] == "ann"


@pytest.mark.fault(13, 14)
def test_pipelined_requests_are_answered_in_order(peer: Peer) -> None:
    page = f"GET / HTTP/1.1\r\nHost: {peer.host}\r\n\r\n".encode()
    requests = [peer.request(PATH), page, peer.request("/door/async/later", fields=key("ann"))]
    peer.send(b"".join(requests))
    assert (read_status(peer), read_status(peer)) == (401, 200)
    assert peer.reply().status == 101
    peer.read_message()
    peer.echo("hello")


def read_status(peer: Peer) -> int:
    # The two challenges are two lines of one name, which `Peer.reply` does not take.
    head = peer.read_until(b"\r\n\r\n").decode().lower()
    length = head.partition("content-length: ")[2].partition("\r\n")[0]
    peer.read(int(length))
    return int(head.split(" ", 2)[1])


def test_connection_is_closed_for_whoever_wants_that(peer: Peer) -> None:
    fields: dict[str, str | None] = {"Connection": "Upgrade, close"}
    answer = ask(peer, peer.request(PATH, fields=fields))
    assert (answer.status, answer.closes) == (401, True)
    peer.read_end()


def test_browser_that_answers_for_ever_is_stopped(peer: Peer) -> None:
    closes = [ask(peer, peer.request(PATH, fields=key("mallory"))).closes for _ in range(5)]
    assert closes == [False, False, False, False, True]
    peer.read_end()


def test_other_refusals_close_the_connection(server: RunningServer, peer: Peer) -> None:
    answer = ask(peer, peer.request("/door/async/nobody", fields=our_origin(server)))
    assert (answer.status, answer.closes) == (403, True)


# --- while somebody is asked ---


@pytest.mark.fault(109)
def test_server_that_stops_does_not_wait_for_the_answer(tmp_path: Path) -> None:
    with run_server(tmp_path / "log", *TARGETS) as server, Peer(server.port) as peer:
        peer.send(peer.request("/door/async/hang-long"))
        with Peer(server.port) as other:
            other.open("/echo").echo("the request before was read")
            server.terminate()
            reply = peer.reply()
            assert (reply.status, peer.body(reply)) == (503, b"the server is shutting down\n")
            assert other.read_close()[0] == 1001
        assert server.wait() == 0
        assert "Traceback" not in server.log
