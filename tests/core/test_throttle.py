"""How often a key may do something: at once, again, and with how much memory."""

from __future__ import annotations

import pytest

from ws_middleware.core.throttle import Throttle


def test_burst_is_taken_at_once_and_comes_back_one_by_one() -> None:
    throttle = Throttle()
    taken = [throttle.take("a", 100.0, rate=2.0, burst=3) for _ in range(4)]
    assert taken == [0.0, 0.0, 0.0, 0.5]
    assert throttle.take("a", 100.5, rate=2.0, burst=3) == 0.0
    assert throttle.take("a", 100.5, rate=2.0, burst=3) == 0.5


def test_waiting_takes_nothing() -> None:
    throttle = Throttle()
    assert [throttle.wait("a", 0.0, rate=1.0, burst=1) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert len(throttle) == 0


def test_refused_attempt_costs_nothing() -> None:
    throttle = Throttle()
    throttle.take("a", 0.0, rate=1.0, burst=1)
    for now in (0.25, 0.5, 0.75):
        assert throttle.take("a", now, rate=1.0, burst=1) == 1.0 - now
    assert throttle.take("a", 1.0, rate=1.0, burst=1) == 0.0


def test_rest_does_not_pile_up_beyond_the_burst() -> None:
    throttle = Throttle()
    throttle.take("a", 0.0, rate=1.0, burst=2)
    assert [throttle.take("a", 1000.0, rate=1.0, burst=2) for _ in range(3)] == [0.0, 0.0, 1.0]


def test_keys_do_not_share() -> None:
    throttle = Throttle()
    assert throttle.take("a", 0.0, rate=1.0, burst=1) == 0.0
    assert throttle.take("b", 0.0, rate=1.0, burst=1) == 0.0
    assert throttle.take("a", 0.0, rate=1.0, burst=1) == 1.0


def test_memory_is_bounded_and_the_idlest_key_is_forgotten() -> None:
    throttle = Throttle(max_keys=2)
    for key in ("a", "b", "a", "c"):
        throttle.take(key, 0.0, rate=0.1, burst=2)
    assert len(throttle) == 2
    assert throttle.wait("a", 0.0, rate=0.1, burst=2) == pytest.approx(10.0)
    assert throttle.wait("b", 0.0, rate=0.1, burst=1) == 0.0
