"""The background loop, and the connections that are told when a process ends."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import threading
from collections.abc import Iterator

import pytest

from tests.running import PATIENCE, eventually
from ws_middleware.waiting import waiting_for
from ws_middleware.wsgi.parking import Parked, Parking, open_parking, parking


class Connection:
    """Be a connection that notes what it is told, and where."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def start_closing(self, code: int = 0, reason: str = "") -> None:
        self.told.append((f"{code} {reason}", threading.current_thread().name))

    def abort(self) -> None:
        self.told.append(("abort", threading.current_thread().name))


@pytest.fixture
def park() -> Iterator[Parking]:
    """Give a parking that is empty."""
    park = Parking()
    yield park
    park.stop()


def test_work_runs_on_one_loop_in_the_context_of_its_caller(park: Parking) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
    seen: list[tuple[int, asyncio.AbstractEventLoop]] = []

    async def work() -> None:
        seen.append((variable.get(), asyncio.get_running_loop()))

    for number in range(3):
        variable.set(number)
        park.start(work)
    eventually(lambda: len(seen) == 3)
    assert seen == [(number, park.loop) for number in range(3)]


def test_tasks_are_not_collected_while_they_run(park: Parking) -> None:
    done = threading.Event()
    held: list[asyncio.Future[None]] = []

    async def work() -> None:
        future = asyncio.get_running_loop().create_future()
        held.append(future)
        await future
        done.set()

    park.start(work)
    eventually(lambda: held)
    gc.collect()
    park.loop.call_soon_threadsafe(held.pop().set_result, None)
    assert done.wait(PATIENCE)


def test_everybody_is_told_where_he_lives(park: Parking) -> None:
    on_loop, in_thread, gone = (Connection() for _ in range(3))
    park.enter(on_loop, None)
    park.enter(in_thread, waiting_for(object()))
    park.enter(gone, None)
    park.leave(gone)
    park.leave(gone)
    park.tell_all(lambda connection: connection.start_closing(1001, "leaving"))
    for connection in (on_loop, in_thread):
        eventually(lambda connection=connection: connection.told)
        ((said, thread),) = connection.told
        assert said == "1001 leaving"
        assert thread != threading.current_thread().name
    assert gone.told == []


def test_dismissal_ends_when_the_last_has_left(park: Parking) -> None:
    connections = [Connection() for _ in range(2)]
    for connection in connections:
        park.enter(connection, waiting_for(object()))
    park.dismiss(park.leave, PATIENCE)
    park.tell_all(lambda connection: connection.abort())
    assert [connection.told for connection in connections] == [[], []]


def test_dismissal_has_an_end_and_is_told_once(park: Parking) -> None:
    connection = Connection()
    park.enter(connection, None)
    park.dismiss(lambda connection: connection.start_closing(1001, "leaving"), 0.1)
    eventually(lambda: connection.told)
    assert [said for said, _ in connection.told] == ["1001 leaving"]


def test_newcomers_are_dismissed_too(park: Parking) -> None:
    first, newcomer = Connection(), Connection()

    def say(connection: Parked) -> None:
        if connection is first:
            park.enter(newcomer, waiting_for(object()))
        park.leave(connection)

    park.enter(first, waiting_for(object()))
    park.dismiss(say, PATIENCE)
    park.tell_all(lambda connection: connection.abort())
    assert newcomer.told == []


def test_stop_ends_the_thread(park: Parking) -> None:
    loop = park.loop
    eventually(loop.is_running)
    park.stop()
    eventually(lambda: not loop.is_running())
    loop.close()


@pytest.mark.fault(104)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_child_process_has_a_parking_of_its_own() -> None:
    parents = parking()
    child = os.fork()
    if child == 0:
        os._exit(0 if open_parking() is None and parking() is not parents else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert parking() is parents
