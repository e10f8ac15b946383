"""Endpoints for tests, and what is asked of them: bytes in and bytes out, in one line each."""

from __future__ import annotations

from typing import Any

from tests.core.wire import read_frames
from tests.peer import Received
from ws_middleware.core.endpoint import Endpoint, Item
from ws_middleware.core.extensions import ActiveExtension, Role
from ws_middleware.errors import ConnectionClosed
from ws_middleware.options import Options

__all__ = ["NOW", "ended", "make", "output", "receive", "ring", "wishes"]

NOW = 100.0


def make(
    *extensions: ActiveExtension,
    role: Role = "server",
    observe_control: bool = False,
    **options: Any,
) -> Endpoint:
    settings = Options(extensions=(), **options)
    return Endpoint(role, settings, extensions, now=NOW, observe_control=observe_control)


def receive(endpoint: Endpoint, *data: bytes, now: float = NOW) -> list[Item]:
    """Feed bytes, and take all items there are, up to the end if it is there."""
    for piece in data:
        endpoint.receive_data(piece, now)
    items: list[Item] = []
    while (item := endpoint.next_message()) is not None:
        items.append(item)
        if isinstance(item, ConnectionClosed):
            break
    return items


def output(endpoint: Endpoint) -> list[Received]:
    return read_frames(endpoint.data_to_send())


def ended(endpoint: Endpoint) -> ConnectionClosed:
    """Give the end of the connection, which has to be the next item."""
    item = endpoint.next_message()
    assert isinstance(item, ConnectionClosed), item
    return item


def ring(endpoint: Endpoint, now: float) -> float:
    """Call `handle_timeout` when `now` says that it is wanted; returns when that was."""
    deadline = endpoint.next_deadline(now)
    assert deadline is not None
    endpoint.handle_timeout(deadline)
    return deadline


def wishes(endpoint: Endpoint) -> list[str]:
    """Tell what the endpoint wants of its driver."""
    facts = {
        "half close": endpoint.wants_half_close,
        "over": endpoint.is_over,
        "abort": endpoint.wants_abort,
    }
    return [name for name, wanted in facts.items() if wanted]
