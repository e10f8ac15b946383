"""Alarms ring in time, together where they may, and keep nobody alive whom they are done with."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from tests.inprocess import in_virtual_time
from ws_middleware.alarms import FAR, GRAIN, Alarms, alarms_of


class Sleeper:
    def __init__(self) -> None:
        self.woken: list[float] = []

    def on_alarm(self, moment: float) -> None:
        self.woken.append(moment)
        assert asyncio.get_running_loop().time() == pytest.approx(moment)


@in_virtual_time
async def test_what_is_near_rings_in_time() -> None:
    loop, sleeper, alarms = asyncio.get_running_loop(), Sleeper(), Alarms()
    deadline = loop.time() + 1.23
    assert alarms.set(loop, sleeper, deadline) == deadline
    await asyncio.sleep(1.22)
    assert not sleeper.woken
    await asyncio.sleep(0.02)
    assert sleeper.woken == [deadline]


@in_virtual_time
async def test_what_is_far_rings_together_and_a_little_late() -> None:
    loop, alarms = asyncio.get_running_loop(), Alarms()
    sleepers = [Sleeper() for _ in range(100)]
    moments = set()
    for number, sleeper in enumerate(sleepers):
        deadline = loop.time() + 20.001 + number / 1000
        moment = alarms.set(loop, sleeper, deadline)
        assert deadline <= moment < deadline + GRAIN
        moments.add(moment)
    assert len(moments) == 1
    await asyncio.sleep(FAR)
    assert not any(sleeper.woken for sleeper in sleepers)
    await asyncio.sleep(20)
    assert all(sleeper.woken == list(moments) for sleeper in sleepers)


@in_virtual_time
async def test_alarms_that_are_taken_back_do_not_ring() -> None:
    loop, kept, gone, alarms = asyncio.get_running_loop(), Sleeper(), Sleeper(), Alarms()
    moment = alarms.set(loop, kept, loop.time() + 10.0)
    assert alarms.set(loop, gone, loop.time() + 10.0) == moment
    alarms.cancel(gone, moment)
    alarms.cancel(gone, 99.0)
    await asyncio.sleep(20)
    assert (kept.woken, gone.woken) == ([moment], [])


@pytest.mark.parametrize("rings", [False, True])
@in_virtual_time
async def test_alarms_that_rang_or_were_taken_back_keep_nobody_alive(rings: bool) -> None:
    loop, alarms = asyncio.get_running_loop(), Alarms()
    sleeper = Sleeper()
    moment = alarms.set(loop, sleeper, loop.time() + 10.0)
    if rings:
        await asyncio.sleep(20)
    else:
        alarms.cancel(sleeper, moment)
    gone = weakref.ref(sleeper)
    del sleeper
    assert gone() is None


def test_each_loop_has_its_own_alarms_as_long_as_it_lives() -> None:
    async def find() -> Alarms:
        return alarms_of(asyncio.get_running_loop())

    loops = [asyncio.new_event_loop() for _ in range(2)]
    one, other = (loop.run_until_complete(find()) for loop in loops)
    assert one is not other
    assert loops[0].run_until_complete(find()) is one
    gone = weakref.ref(one)
    for loop in loops:
        loop.close()
    del loops, loop, one
    gc.collect()
    assert gone() is None
