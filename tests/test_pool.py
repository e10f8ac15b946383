"""Calls in other threads: how many, how they end, and who makes room for whom."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable
from typing import NoReturn

import pytest

from tests.inprocess import in_real_time
from tests.running import PATIENCE, eventually
from ws_middleware.pool import Pool, call_in, start_thread, waiting


def run_now(work: Callable[[], object]) -> None:
    work()


def fail(error: BaseException) -> NoReturn:
    raise error


# --- one call ---


@in_real_time
async def test_outcome_of_a_call_comes_back_from_another_thread() -> None:
    thread = await call_in(start_thread, threading.current_thread)
    assert thread is not threading.main_thread()
    assert thread.daemon, "it must not keep the program alive"


@in_real_time
async def test_exception_of_a_call_comes_back_with_its_traceback() -> None:
    with pytest.raises(LookupError, match="on purpose") as error:
        await call_in(start_thread, lambda: fail(LookupError("on purpose")))
    assert error.traceback[-1].name == "fail"


@pytest.mark.parametrize(
    "error", [StopIteration(7), SystemExit(7), KeyboardInterrupt(7), asyncio.CancelledError(7)]
)
@in_real_time
async def test_exceptions_of_special_meaning_are_told_as_errors(error: BaseException) -> None:
    with pytest.raises(RuntimeError, match=rf"raised {type(error).__name__}\(7\)") as told:
        await call_in(start_thread, lambda: fail(error))
    assert told.traceback[-1].name == "fail"


@in_real_time
async def test_outcome_that_nobody_waits_for_is_dropped() -> None:
    gate = threading.Event()
    waiter = asyncio.create_task(call_in(start_thread, lambda: gate.wait(PATIENCE)))
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait([waiter])
    gate.set()
    await call_in(start_thread, threading.current_thread)


def test_outcome_behind_the_end_of_the_loop_is_dropped() -> None:
    works: list[Callable[[], object]] = []

    async def begin() -> None:
        waiter = asyncio.create_task(call_in(works.append, threading.current_thread))
        await asyncio.sleep(0)
        waiter.cancel()

    asyncio.run(begin())
    (work,) = works
    work()


# --- many calls ---


class Gates:
    """Make calls that go on until they are let go."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.started: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.gates: list[threading.Event] = []

    def submit(self, *, wait: bool = False) -> None:
        """Submit a call; one that will `wait` makes room for another."""
        number, gate = len(self.gates), threading.Event()
        self.gates.append(gate)

        def work() -> None:
            self.started.put(number)
            if wait:
                with waiting():
                    gate.wait(PATIENCE)
            else:
                gate.wait(PATIENCE)

        self.pool.submit(work)

    def next_started(self) -> int:
        return self.started.get(timeout=PATIENCE)

    def let_all_go(self) -> None:
        for gate in self.gates:
            gate.set()


def count_new(before: list[threading.Thread]) -> int:
    """Count the threads that have begun since and not ended yet."""
    return len(set(threading.enumerate()) - set(before))


def test_calls_run_in_daemons_of_the_pool() -> None:
    done: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()
    Pool(2).submit(lambda: done.put(threading.current_thread()))
    assert done.get(timeout=PATIENCE).daemon


def test_no_more_calls_run_than_the_pool_has_threads() -> None:
    before = threading.enumerate()
    gates = Gates(Pool(2))
    for _ in range(5):
        gates.submit()
    first, second = gates.next_started(), gates.next_started()
    assert {first, second} == {0, 1}
    assert count_new(before) == 2
    assert gates.started.empty()
    gates.gates[0].set()
    assert gates.next_started() == 2
    gates.let_all_go()
    assert [gates.next_started() for _ in range(2)] == [3, 4]


def test_call_that_waits_makes_room_for_those_that_are_there() -> None:
    pool = Pool(1)
    gates = Gates(pool)
    gates.submit()
    for _ in range(5):
        gates.submit(wait=True)
    gates.submit()
    assert gates.next_started() == 0
    gates.gates[0].set()
    assert [gates.next_started() for _ in range(6)] == [1, 2, 3, 4, 5, 6]
    gates.let_all_go()


def test_call_that_waits_makes_room_for_those_that_come() -> None:
    gates = Gates(Pool(1))
    for number in range(5):
        gates.submit(wait=True)
        assert gates.next_started() == number
    gates.let_all_go()


def test_pool_shrinks_to_its_size_behind_a_crowd_that_waits() -> None:
    before = threading.enumerate()
    gates = Gates(Pool(1))
    for number in range(5):
        gates.submit(wait=True)
        assert gates.next_started() == number
    assert count_new(before) == 5
    gates.let_all_go()
    eventually(lambda: count_new(before) == 1)


def test_waiting_elsewhere_makes_room_for_nobody() -> None:
    with waiting():
        pass


# --- where the system gives no more threads ---


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


def test_calls_wait_for_the_threads_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    gates = Gates(Pool(2))
    gates.submit()
    assert gates.next_started() == 0
    with monkeypatch.context() as patch:
        patch.setattr(
            threading.Thread, "start", lambda self: fail(RuntimeError("can't start new thread"))
        )
        gates.submit()
    gates.let_all_go()
    assert gates.next_started() == 1


@pytest.mark.usefixtures("no_threads")
def test_pool_without_any_thread_tells_of_it() -> None:
    with pytest.raises(RuntimeError, match="can't start new thread"):
        Pool(2).submit(lambda: None)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        start_thread(lambda: None)


@pytest.mark.fault(104)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_child_of_a_fork_has_threads_of_its_own() -> None:
    pool = Pool(1)
    ran = threading.Event()
    pool.submit(ran.set)
    assert ran.wait(PATIENCE)
    child = os.fork()
    if child == 0:
        ran = threading.Event()
        pool.submit(ran.set)
        os._exit(0 if ran.wait(PATIENCE) else 1)
    assert os.waitpid(child, 0)[1] == 0
