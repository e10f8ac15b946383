"""The two ways to connect, so that each test is one test of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from tests.inprocess import run_really
from ws_middleware.aio import AsyncConnection
from ws_middleware.client import aconnect, connect
from ws_middleware.connection import Connection
from ws_middleware.core.messages import Data

__all__ = ["Open", "both_ways", "read_all", "standard_ways"]

#: Open a connection with settings, and abort it: what it knows of itself stays.
Open = Callable[..., Connection | AsyncConnection]


def _blocking(url: str, **settings: Any) -> Connection:
    connection = connect(url, **settings)
    connection.abort()
    return connection


def _asynchronous(url: str, **settings: Any) -> AsyncConnection:
    return run_really(_open(url, settings))


def _on_uvloop(url: str, **settings: Any) -> AsyncConnection:
    return run_really(_open(url, settings), uvloop.new_event_loop)


async def _open(url: str, settings: Any) -> AsyncConnection:
    connection = await aconnect(url, **settings)
    connection.abort()
    await connection.wait_closed()
    return connection


_WAYS: dict[str, Open] = {"connect": _blocking, "aconnect": _asynchronous, "uvloop": _on_uvloop}
both_ways = pytest.mark.parametrize("open_", _WAYS.values(), ids=_WAYS)
#: Without uvloop, which looks up names by itself and tries one address after the other.
standard_ways = pytest.mark.parametrize(
    "open_", [_blocking, _asynchronous], ids=["connect", "aconnect"]
)


def read_all(open_: Open, url: str, **settings: Any) -> tuple[list[Data], int | None]:
    """Give all messages that a server sends, and the code that it closes with."""
    if open_ is _blocking:
        with connect(url, **settings) as connection:
            return list(connection), connection.close_code

    async def run() -> tuple[list[Data], int | None]:
        async with aconnect(url, **settings) as connection:
            return [message async for message in connection], connection.close_code

    return run_really(run(), uvloop.new_event_loop if open_ is _on_uvloop else None)
