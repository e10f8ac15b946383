"""One generator answers at once where it can, and later where it must."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Generator
from typing import Any

import pytest

from ws_middleware.auth.steps import in_steps


async def later(value: Any) -> Any:
    await asyncio.sleep(0)
    if isinstance(value, Exception):
        raise value
    return value


@in_steps
def add(*values: Any) -> Generator[Any, Any, Any]:
    """Add."""
    total = 0
    for value in values:
        try:
            total += yield value
        except KeyError:
            total += 100
    return total


def test_what_is_there_is_answered_at_once() -> None:
    assert add(1, 2) == 3
    assert add() == 0
    assert add.__doc__ == "Add."


def test_what_is_awaited_makes_the_rest_a_coroutine() -> None:
    async def run() -> None:
        for values in [(1, later(2)), (later(1), 2), (later(1), later(2)), (1, later(1), 1)]:
            found = add(*values)
            assert inspect.isawaitable(found)
            assert await found == 3

    asyncio.run(run())


def test_what_an_awaitable_raises_arrives_in_the_generator() -> None:
    async def run() -> None:
        assert await add(1, later(KeyError()), 2) == 103
        assert await add(later(KeyError())) == 100
        with pytest.raises(OSError, match="gone"):
            await add(1, later(OSError("gone")))

    asyncio.run(run())


def test_cancelling_ends_the_generator() -> None:
    ended = []

    @in_steps
    def wait() -> Generator[Any, Any, Any]:
        try:
            yield asyncio.sleep(3600)
        finally:
            ended.append(True)

    async def run() -> None:
        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert ended == [True]
