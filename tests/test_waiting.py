"""The ways of waiting: for threads, and for the greenlets of gevent and eventlet, unpatched."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.running import PATIENCE
from ws_middleware import waiting
from ws_middleware.waiting import Interest, Waiting, waiting_for, waiting_here

with warnings.catch_warnings():
    # eventlet advises against itself; and the first thread that imports it can be no other than
    # the main one, or `threading` loses sight of that.
    warnings.simplefilter("ignore")
    import eventlet.greenio
    import gevent.socket

#: The class of a socket, which decides how is waited for it.
SOCKETS: dict[str, Callable[[], Any]] = {
    "threads": socket.socket,
    "gevent": gevent.socket.socket,
    "eventlet": eventlet.greenio.GreenSocket,
}


@pytest.fixture(params=SOCKETS)
def way(request: pytest.FixtureRequest) -> str:
    """Name a way of waiting."""
    name: str = request.param
    return name


def in_thread(work: Callable[[Waiting], Any], way: str) -> Any:
    """Run a test in a thread of its own, which has a hub of its own where it needs one."""

    def run() -> Any:
        with SOCKETS[way]() as sock:
            return work(waiting_for(sock))

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result(PATIENCE)


@contextlib.contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_class_of_the_socket_decides(way: str) -> None:
    assert in_thread(lambda found: found.is_cooperative, way) is (way != "threads")


def test_whoever_waits_decides_where_there_is_no_socket_yet(way: str) -> None:
    def work(found: Waiting) -> None:
        ways: list[Waiting] = []
        done = found.make_event()

        def look() -> None:
            ways.append(waiting_here())
            done.set()

        found.spawn(look, "looker")
        done.wait(PATIENCE)
        assert ways == [found]

    in_thread(work, way)


def test_thread_without_greenlets_is_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "greenlet")
    assert not waiting_here().is_cooperative


def test_readable_and_writable_sockets_are_waited_for(way: str) -> None:
    def work(found: Waiting) -> None:
        with connected() as (ours, theirs):
            found.wait_for(Interest(ours, read=True, write=True), timeout=None)
            theirs.send(b"x")
            found.wait_for(Interest(ours, read=True, write=False), timeout=None)
            assert ours.recv(1) == b"x"

    in_thread(work, way)


def test_one_of_several_is_enough(way: str) -> None:
    def work(found: Waiting) -> None:
        with connected() as (quiet, _), connected() as (ours, theirs):
            theirs.send(b"x")
            interests = (Interest(sock, read=True, write=False) for sock in (quiet, ours))
            found.wait_for(*interests, timeout=None)

    in_thread(work, way)


def test_end_of_the_stream_wakes(way: str) -> None:
    def work(found: Waiting) -> None:
        with connected() as (ours, theirs):
            theirs.close()
            found.wait_for(Interest(ours, read=True, write=False), timeout=None)

    in_thread(work, way)


def test_wait_for_a_socket_has_a_time_out(way: str) -> None:
    def work(found: Waiting) -> float:
        begun = time.monotonic()
        with connected() as (ours, _):
            found.wait_for(Interest(ours, read=True, write=False), timeout=0.05)
        return time.monotonic() - begun

    assert in_thread(work, way) >= 0.04


def test_others_run_while_one_waits(way: str) -> None:
    def work(found: Waiting) -> None:
        with connected() as (ours, theirs):
            found.spawn(lambda: theirs.sendall(b"x"), "helper")
            found.wait_for(Interest(ours, read=True, write=False), timeout=None)

    in_thread(work, way)


def test_event_is_waited_for(way: str) -> None:
    def work(found: Waiting) -> None:
        event = found.make_event()
        event.wait(0.01)

        def set_twice() -> None:
            event.set()
            event.set()

        found.spawn(set_twice, "helper")
        event.wait()
        event.wait(PATIENCE)

    in_thread(work, way)


def test_spawner_works_from_other_threads(way: str) -> None:
    def work(found: Waiting) -> str:
        spawn = found.spawner()
        names: list[str] = []
        event = found.make_event()

        def note() -> None:
            names.append(threading.current_thread().name)
            event.set()

        helper = threading.Thread(target=spawn, args=(note,), name="asker")
        helper.start()
        while not names:  # eventlet's hub learns of it when it wakes up
            event.wait(0.05)
        helper.join()
        greenlets_run_here = names == [threading.current_thread().name]
        assert greenlets_run_here is found.is_cooperative
        return names[0]

    assert in_thread(work, way) != "asker"


def test_selectors_do_where_there_is_no_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_poll", None)
    test_readable_and_writable_sockets_are_waited_for("threads")
    test_wait_for_a_socket_has_a_time_out("threads")
