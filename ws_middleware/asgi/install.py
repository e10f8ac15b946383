"""Putting our protocol class into a uvicorn that was started without a word of it.

uvicorn starts the application before it listens, and the `receive` of that call belongs to an
object that knows the configuration. Rule 1: one attribute is set, nothing is patched. Rule 2: a
protocol class that somebody chose by name stays. Rule 3: what cannot be done is told once.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterator
from typing import Any

from uvicorn.config import WS_PROTOCOLS, Config

from ws_middleware.asgi.uvicorn import WebSocketProtocol

__all__ = ["SWITCH", "install"]

logger: logging.Logger = logging.getLogger("ws_middleware")

#: The environment variable that, set to 0, leaves every server as it is.
SWITCH = "WS_MIDDLEWARE_INSTALL"
#: How many objects behind a `receive` are looked at: other middlewares may have wrapped it.
_REACH = 100


def install(receive: object) -> bool:
    """Let the uvicorn behind an ASGI `receive` open WebSockets with our class.

    False where there is no uvicorn, where somebody chose another class, or where the environment
    variable `WS_MIDDLEWARE_INSTALL` is 0; the connections then come as ASGI events.
    """
    if os.environ.get(SWITCH) == "0":
        return False
    config = next(_configs_behind(receive), None)
    if config is None:
        return False
    if not hasattr(config, "ws_protocol_class"):
        logger.warning("this uvicorn is not known: WebSockets come as ASGI events")
        return False
    if _is_ours(config.ws_protocol_class):
        return True
    if config.ws not in WS_PROTOCOLS:
        logger.warning("uvicorn keeps its own WebSockets: ws=%r was chosen", config.ws)
        return False
    config.ws_protocol_class = WebSocketProtocol
    logger.info("uvicorn opens WebSockets with ws_middleware from now on")
    return True


def _is_ours(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, WebSocketProtocol)


def _configs_behind(receive: object) -> Iterator[Config]:
    """Find uvicorn's configuration: `receive` is a method of what has it, or wraps one."""
    waiting, seen = [receive], set[int]()
    while waiting and len(seen) < _REACH:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        owner = getattr(one, "__self__", None)
        if isinstance(config := getattr(owner, "config", None), Config):
            yield config
        waiting += filter(None, [getattr(owner, "on_response", None)])
        waiting += [one.func] if isinstance(one, functools.partial) else []
        waiting += filter(callable, map(_content, getattr(one, "__closure__", None) or ()))


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty yet
        return None
