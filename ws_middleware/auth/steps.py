"""Code that asks others on its way, written once for answers that come now or later.

A function becomes a generator that yields what it asked for. If everything is there at once it
runs in place; from the first awaitable on, the rest is a coroutine.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from typing import Any, ParamSpec

__all__ = ["in_steps"]

_P = ParamSpec("_P")
Steps = Generator[Any, Any, Any]


def in_steps(function: Callable[_P, Steps]) -> Callable[_P, Any]:
    """Make a generator a function: its result, or an awaitable of it where one was yielded."""

    @functools.wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> Any:
        steps = function(*args, **kwargs)
        try:
            answer = next(steps)
            while not inspect.isawaitable(answer):
                answer = steps.send(answer)
        except StopIteration as end:
            return end.value
        return _go_on(steps, answer)

    return run


async def _go_on(steps: Steps, answer: Any) -> Any:
    try:
        while True:
            try:
                answer = await answer if inspect.isawaitable(answer) else answer
            except Exception as error:
                answer = steps.throw(error)
            else:
                answer = steps.send(answer)
    except StopIteration as end:
        return end.value
    finally:
        steps.close()
