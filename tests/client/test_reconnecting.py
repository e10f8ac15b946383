"""Connecting again and again: how long is waited, for what, and what ends it."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest

from tests.client.scripted import accepting, refusing, scripted
from tests.inprocess import run_really, until
from tests.peer import CLOSE, TEXT, frame
from tests.running import eventually
from ws_middleware.client import reconnecting
from ws_middleware.client.backoff import (
    Backoff,
    asked_by_close,
    asked_by_refusal,
    is_worth_retrying,
)
from ws_middleware.client.reconnecting import Reconnecting
from ws_middleware.core.messages import Data
from ws_middleware.errors import HandshakeError, HandshakeRefused, ProxyError

# --- the delays, without a clock ---


@pytest.mark.row(91)
def test_first_delay_is_random_and_the_next_ones_double_up_to_a_limit() -> None:
    backoff = Backoff(1.0, 60.0, lambda: 1.0)
    assert [backoff.next_delay() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    drawn = [Backoff(5.0, 60.0, random.Random().random).next_delay() for _ in range(200)]
    assert all(0 <= delay <= 5 for delay in drawn)
    assert len(set(drawn)) > 100


@pytest.mark.row(91)
def test_delays_begin_anew_after_a_reset() -> None:
    backoff = Backoff(1.0, 60.0, lambda: 1.0)
    assert [backoff.next_delay(), backoff.next_delay()] == [1, 2]
    backoff.reset()
    assert backoff.next_delay() == 1


@pytest.mark.parametrize(("first", "most"), [(0, 1), (-1, 1), (2, 1)])
def test_delays_that_make_no_sense_are_refused(first: float, most: float) -> None:
    with pytest.raises(ValueError, match="delays from"):
        reconnecting("ws://a/", min_delay=first, max_delay=most)


def _refused(status: int, *headers: tuple[str, str]) -> HandshakeRefused:
    return HandshakeRefused(status, "no", headers)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("9" * 30, 3600),
        ("-1", 0),
        ("soon", 0),
        ("", 0),
        ("Thu, 01 Jan 1970 00:16:50 GMT", 10),
        ("Thu, 01 Jan 1970 00:16:50 -0000", 10),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 01 Jan 2970 00:00:00 GMT", 3600),
    ],
)
def test_retry_after_is_heeded_up_to_an_hour(value: str, seconds: float) -> None:
    assert asked_by_refusal(_refused(503, ("Retry-After", value)), 1000.0) == seconds


def test_nothing_is_asked_where_there_is_no_such_field() -> None:
    assert asked_by_refusal(_refused(503), 0) == 0
    assert asked_by_refusal(OSError(), 0) == 0


def test_restart_and_overload_ask_for_time() -> None:
    asked = [asked_by_close(code) for code in (1000, 1006, None, 1012, 1013)]
    assert asked == [0, 0, 0, 5, 15]


@pytest.mark.parametrize(
    ("error", "worth"),
    [
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (socket.gaierror(), True),
        (ssl.SSLError(), True),
        (ssl.SSLCertVerificationError(), False),
        (ProxyError(0, "gone"), True),
        (ProxyError(407, "who?"), False),
        (HandshakeError(101, "broken"), False),
        (ValueError(), False),
        *[(_refused(status), True) for status in (408, 425, 429, 500, 502, 503, 504)],
        *[(_refused(status), False) for status in (200, 302, 400, 401, 403, 404, 410, 426)],
    ],
)
def test_what_will_not_heal_is_not_tried_again(error: Exception, worth: bool) -> None:
    assert is_worth_retrying(error) == worth


# --- over the wire ---

HELLO = frame(TEXT, "hello", key=None) + frame(CLOSE, b"\x03\xe8", key=None)


def _read_blocking(connections: Reconnecting, wanted: int) -> list[Data]:
    messages: list[Data] = []
    for connection in connections:
        messages += connection
        if len(messages) == wanted:
            return messages
    return messages


def _read_asynchronous(connections: Reconnecting, wanted: int) -> list[Data]:
    async def run() -> list[Data]:
        messages: list[Data] = []
        async for connection in connections:
            messages += [message async for message in connection]
            if len(messages) == wanted:
                return messages
        return messages

    return run_really(run())


both_ways = pytest.mark.parametrize("read", [_read_blocking, _read_asynchronous])


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for no time at all, which other tests look at."""
    monkeypatch.setattr("random.random", lambda: 0.0)


@both_ways
def test_each_connection_that_ends_is_followed_by_another(read: object) -> None:
    assert callable(read)
    with scripted(accepting(), accepting(), accepting(), behind=HELLO) as server:
        assert read(reconnecting(server.url), 3) == ["hello"] * 3
    assert len(server.asked) == 3


@both_ways
def test_passing_failures_are_tried_again_and_logged(
    read: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(read)
    caplog.set_level(logging.INFO, logger="ws_middleware")
    answers = [refusing(503), None, refusing(429, "Retry-After: 0"), accepting()]
    with scripted(*answers, behind=HELLO) as server:
        assert read(reconnecting(server.url), 1) == ["hello"]
    assert "503" in caplog.text
    assert "the next attempt is in 0.0 s" in caplog.text


@both_ways
def test_failure_that_will_not_heal_is_raised(read: object) -> None:
    assert callable(read)
    with scripted(refusing(503), refusing(403)) as server:
        with pytest.raises(HandshakeRefused, match="403"):
            read(reconnecting(server.url), 1)
        assert len(server.asked) == 2


@both_ways
def test_connection_that_is_left_open_is_closed_before_the_next_one(read: object) -> None:
    with scripted(accepting(), accepting(), stays_open=True) as server:
        if read is _read_blocking:
            first, second = _take_two(iter(reconnecting(server.url, close_timeout=0.2)))
        else:
            first, second = run_really(_take_two_async(reconnecting(server.url, close_timeout=0.2)))
    assert first == 1006  # the script answers no close frame
    assert second is None


def _take_two(connections: Iterator[object]) -> tuple[object, object]:
    first, second = next(connections), next(connections)
    codes = first.close_code, second.close_code  # type: ignore[attr-defined]
    second.abort()  # type: ignore[attr-defined]
    return codes


async def _take_two_async(connections: Reconnecting) -> tuple[object, object]:
    iterator = aiter(connections)
    first, second = await anext(iterator), await anext(iterator)
    codes = first.close_code, second.close_code
    second.abort()
    await second.wait_closed()
    await iterator.aclose()  # type: ignore[attr-defined]
    return codes


@pytest.mark.parametrize("read", [_read_blocking, _read_asynchronous])
def test_waiting_can_be_stopped_from_another_thread(
    read: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(read)
    monkeypatch.setattr("random.random", lambda: 1.0)
    with scripted(refusing(503)) as server:
        connections = reconnecting(server.url, min_delay=3600, max_delay=3600)
        outcome: list[object] = []
        thread = threading.Thread(target=lambda: outcome.append(read(connections, 1)), daemon=True)
        thread.start()
        eventually(lambda: server.asked)
        connections.stop()
        thread.join(30)
    assert outcome == [[]]


def test_task_that_waits_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: 1.0)

    async def run(url: str) -> None:
        async def work() -> None:
            async for _ in reconnecting(url, min_delay=3600, max_delay=3600):
                pass

        task = asyncio.ensure_future(work())
        await until(lambda: server.asked)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with scripted(refusing(503)) as server:
        run_really(run(server.url))
