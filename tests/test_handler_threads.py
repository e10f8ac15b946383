"""The bounded threads of `def` handlers."""

from __future__ import annotations

import contextvars
import logging
import os
import threading

import pytest

from tests.running import PATIENCE, eventually
from ws_middleware.errors import HandshakeError
from ws_middleware.handler_threads import HandlerThreads
from ws_middleware.pool import OutOfThreadsError


class Work:
    """Be work that goes on until it may end."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        self.may_end.wait(PATIENCE)


def start(threads: HandlerThreads) -> Work:
    work = Work()
    threads.reserve()
    threads.run(work)
    return work


def has_room(threads: HandlerThreads) -> bool:
    try:
        threads.check_room()
    except HandshakeError:
        return False
    return True


def test_as_many_run_as_may_and_the_next_wait_for_their_turn() -> None:
    threads = HandlerThreads(2, 2)
    works = [start(threads) for _ in range(4)]
    for work in works[:2]:
        assert work.begun.wait(PATIENCE)
    assert [work.begun.is_set() for work in works] == [True, True, False, False]
    works[1].may_end.set()
    assert works[2].begun.wait(PATIENCE)
    assert not works[3].begun.is_set()
    works[0].may_end.set()
    assert works[3].begun.wait(PATIENCE)
    for work in works:
        work.may_end.set()


def test_no_place_is_given_twice() -> None:
    threads = HandlerThreads(1, 1)
    threads.reserve()
    threads.reserve()
    with pytest.raises(HandshakeError, match="max_threads=1 handlers are running") as refused:
        threads.reserve()
    assert (refused.value.status, *refused.value.headers) == (503, ("Retry-After", "5"))
    threads.give_back()
    threads.reserve()
    assert not has_room(threads)


def test_work_that_starts_at_once_finds_a_place_or_is_refused() -> None:
    threads = HandlerThreads(1, 0)
    work = Work()
    threads.start(work)
    assert work.begun.wait(PATIENCE)
    with pytest.raises(OutOfThreadsError, match="max_threads=1 handlers are running"):
        threads.start(Work())
    work.may_end.set()
    eventually(lambda: has_room(threads))


@pytest.mark.parametrize(("most", "waiting"), [(0, 0), (1, -1)])
def test_numbers_that_make_no_sense_are_refused(most: int, waiting: int) -> None:
    with pytest.raises(ValueError, match="is less than"):
        HandlerThreads(most, waiting)


def test_ended_work_makes_room() -> None:
    threads = HandlerThreads(1, 0)
    work = start(threads)
    assert not has_room(threads)
    work.may_end.set()
    eventually(lambda: has_room(threads))


def test_work_runs_in_the_context_of_its_caller() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")
    seen: list[str] = []
    done = threading.Event()

    def work() -> None:
        seen.append(variable.get())
        variable.set("changed inside")
        done.set()

    threads = HandlerThreads(1, 0)
    threads.reserve()
    variable.set("of the caller")
    threads.run(work)
    assert done.wait(PATIENCE)
    assert (seen, variable.get()) == (["of the caller"], "of the caller")


@pytest.mark.parametrize("error", [LookupError("on purpose"), SystemExit(3)])
def test_failure_is_told_and_makes_room(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def work() -> None:
        raise error

    threads = HandlerThreads(1, 0)
    threads.reserve()
    with caplog.at_level(logging.ERROR, "ws_middleware"):
        threads.run(work)
        eventually(lambda: has_room(threads))
    assert [record.message for record in caplog.records] == ["a handler's thread failed"]


def test_threads_end_with_their_work() -> None:
    before = threading.active_count()
    threads = HandlerThreads(10, 0)
    works = [start(threads) for _ in range(10)]
    for work in works:
        work.may_end.set()
    eventually(lambda: threading.active_count() <= before)


@pytest.mark.fault(99)
def test_work_waits_for_its_turn_where_the_system_has_no_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = HandlerThreads(5, 0)
    first = start(threads)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        second = start(threads)
    assert not second.begun.is_set()
    first.may_end.set()
    assert second.begun.wait(PATIENCE)
    second.may_end.set()


@pytest.mark.fault(99)
def test_place_comes_back_where_no_thread_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = HandlerThreads(1, 0)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            with pytest.raises(OutOfThreadsError, match="can't start new thread"):
                start(threads)
    start(threads).may_end.set()


@pytest.mark.fault(104)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_child_of_a_fork_has_all_places() -> None:
    threads = HandlerThreads(1, 0)
    work = start(threads)
    assert work.begun.wait(PATIENCE)
    child = os.fork()
    if child == 0:
        os._exit(0 if start(threads).begun.wait(PATIENCE) else 1)
    work.may_end.set()
    assert os.waitpid(child, 0)[1] == 0
