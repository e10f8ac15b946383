"""Asking from a thread, for a connection that is not on the loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from tests.running import PATIENCE
from ws_middleware.asking import asking_from_thread, run_in_place
from ws_middleware.errors import HandshakeError


def ask_beside(loop: asyncio.AbstractEventLoop, function: Callable[..., Any], *args: Any) -> Any:
    """Ask in the calling thread."""
    asking = cast(Coroutine[Any, Any, Any], asking_from_thread(loop)(function, *args))
    return run_in_place(asking)


def name_thread(suffix: str) -> str:
    return threading.current_thread().name + suffix


async def name_thread_later(suffix: str) -> str:
    await asyncio.sleep(0)
    return name_thread(suffix)


@pytest.mark.parametrize(
    ("function", "on_loop"),
    [(name_thread, False), (name_thread_later, True), (lambda x: name_thread_later(x), True)],
)
def test_plain_functions_stay_and_coroutines_go_to_the_loop(
    function: Callable[..., Any], on_loop: bool
) -> None:
    async def scene() -> str:
        loop = asyncio.get_running_loop()
        name: str = await asyncio.to_thread(ask_beside, loop, function, "!")
        return name

    name = asyncio.run(scene())
    assert (name == name_thread("!")) is on_loop
    assert name.endswith("!")


def test_question_that_ends_with_the_loop_is_given_up() -> None:
    async def scene() -> None:
        async def hang() -> None:
            asking = asyncio.current_task()
            assert asking is not None
            asking.cancel()
            await asyncio.sleep(60)

        with pytest.raises(HandshakeError, match="given up"):
            await asyncio.to_thread(ask_beside, asyncio.get_running_loop(), hang)

    asyncio.run(scene())


def test_question_that_a_loop_takes_and_never_asks_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, taken = asyncio.new_event_loop(), threading.Event()
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *_: taken.set())
    answers: queue.SimpleQueue[object] = queue.SimpleQueue()

    def ask() -> None:
        with pytest.raises(HandshakeError, match="given up"):
            ask_beside(loop, name_thread_later, "!")
        answers.put(None)

    threading.Thread(target=ask, daemon=True).start()
    assert taken.wait(PATIENCE)
    loop.close()
    answers.get(timeout=PATIENCE)
