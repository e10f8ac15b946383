"""Once is once: in order, in a race, and after much was forgotten."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_middleware.auth.spent import Spent


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_second_use_is_refused() -> None:
    spend = Spent(clock=Clock())
    assert [spend("a", 10.0), spend("b", 10.0), spend("a", 10.0), spend("a", 20.0)] == [
        True,
        True,
        False,
        False,
    ]
    assert len(spend) == 2


def test_memory_is_given_back_when_it_expires() -> None:
    clock = Clock()
    spend = Spent(clock=clock)
    assert spend("a", 10.0)
    clock.now = 10.0
    assert spend("b", 20.0)
    assert len(spend) == 1
    assert spend("a", 10.0) is None


def test_clock_that_is_put_back_brings_nothing_back() -> None:
    clock = Clock()
    spend = Spent(clock=clock)
    assert spend("a", 10.0)
    clock.now = 11.0
    assert spend("b", 20.0)
    clock.now = 0.0
    assert spend("a", 10.0) is None


@pytest.mark.fault(45)
def test_memory_is_bounded_and_what_it_lost_cannot_be_used_again() -> None:
    spend = Spent(capacity=100, clock=Clock())
    uses = [(str(number), 100.0 + number) for number in range(1000)]
    assert all(spend(*use) for use in uses)
    assert len(spend) == 100
    assert not any(spend(*use) for use in uses)
    assert spend("old", 500.0) is None


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 30), st.integers(0, 4)), max_size=60))
def test_no_key_is_ever_used_twice(uses: list[tuple[int, int, int]]) -> None:
    clock = Clock()
    spend = Spent(capacity=3, clock=clock)
    used = set()
    for key, expires, passed in uses:
        clock.now += passed
        if spend(f"{key}@{expires}", float(expires)):
            assert (key, expires) not in used
            used.add((key, expires))
        assert len(spend) <= 3


@pytest.mark.fault(44)
def test_32_threads_use_a_key_once() -> None:
    spend = Spent()
    barrier = threading.Barrier(32)
    outcomes: list[bool | None] = []

    def run() -> None:
        barrier.wait()
        outcomes.extend([spend(str(number), 1e12) for number in range(200)])

    threads = [threading.Thread(target=run) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(True) == 200
    assert outcomes.count(False) == 31 * 200


@pytest.mark.fault(104)
def test_lock_held_during_a_fork_is_free_in_the_child() -> None:
    spend = Spent()
    lock = spend._lock
    spend._begin_anew()  # as is done after a fork
    assert spend._lock is not lock


def test_no_room_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="no room"):
        Spent(capacity=0)
