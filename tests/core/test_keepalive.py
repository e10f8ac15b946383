"""When a silent peer is asked, and when it is given up."""

from __future__ import annotations

from ws_middleware.core.keepalive import Keepalive


def keepalive(interval: float | None = 20.0, timeout: float | None = 5.0) -> Keepalive:
    return Keepalive(interval, timeout, now=100.0)


def test_peer_is_asked_after_the_interval_without_a_sign_of_life() -> None:
    alive = keepalive()
    assert alive.next_deadline() == 120
    assert not alive.is_due(119.9)
    assert alive.is_due(120)


def test_each_sign_of_life_begins_the_interval_anew() -> None:
    alive = keepalive()
    alive.heard(110)
    assert alive.next_deadline() == 130
    assert not alive.is_due(129.9)


def test_peer_is_lost_when_it_stays_silent_for_the_timeout() -> None:
    alive = keepalive()
    assert not alive.is_lost(1000), "nobody has asked it"
    alive.asked(120)
    assert alive.next_deadline() == 125
    assert not alive.is_lost(124.9)
    assert alive.is_lost(125)


def test_peer_is_asked_once_before_it_is_lost() -> None:
    alive = keepalive()
    alive.asked(120)
    assert not alive.is_due(125)


def test_answer_ends_the_asking() -> None:
    alive = keepalive()
    alive.asked(120)
    alive.heard(124)
    alive.heard(119)
    assert alive.next_deadline() == 144
    assert not alive.is_lost(125)


def test_without_an_interval_nobody_is_asked() -> None:
    alive = keepalive(interval=None)
    assert alive.next_deadline() is None
    assert not alive.is_due(1e9)
    assert not alive.is_lost(1e9)


def test_without_a_timeout_the_peer_is_asked_again_and_never_lost() -> None:
    alive = keepalive(timeout=None)
    alive.asked(120)
    assert alive.next_deadline() == 140
    assert not alive.is_due(139.9)
    assert alive.is_due(140)
    assert not alive.is_lost(1e9)
