"""Putting our classes into a server that was started without a word of them.

Servers start the application before they listen, and the `receive` of that call belongs to an
object of theirs. Rule 1: one name is set where the server looks its class up. Rule 2: a
protocol class that somebody chose by name stays. Rule 3: what cannot be done is told once.
"""

from __future__ import annotations

import functools
import importlib
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
#: Ours for other servers, by the module of what calls an application.
_DROP_INS = {
    "hypercorn.asyncio.lifespan": "ws_middleware.asgi.hypercorn",
    "gunicorn.asgi.lifespan": "ws_middleware.asgi.gunicorn",
    "gunicorn.asgi.protocol": "ws_middleware.asgi.gunicorn",  # below a mount, with a request
    "gunicorn.asgi.websocket": "ws_middleware.asgi.gunicorn",
}
#: How many objects behind a `receive` are looked at: other middlewares may have wrapped it.
_REACH = 100


def install(receive: object) -> bool:
    """Let the server behind an ASGI `receive` open WebSockets with our class.

    False where there is no server that we know, where somebody chose another class, or where
    the environment variable `WS_MIDDLEWARE_INSTALL` is 0; the connections then come as ASGI events.
    """
    if os.environ.get(SWITCH) == "0":
        return False
    for owner in _owners_behind(receive):
        if isinstance(config := getattr(owner, "config", None), Config):
            return _install_in_uvicorn(config)
        if (ours := _DROP_INS.get(type(owner).__module__)) is not None:
            return _install_in(owner, ours)
    return False


def _install_in(owner: object, ours: str) -> bool:
    server = type(owner).__module__.partition(".")[0]
    try:
        importlib.import_module(ours).install(owner)
    except Exception as error:  # whatever a version of it does that nobody has seen yet
        logger.warning("this %s is not known: WebSockets come as ASGI events (%r)", server, error)
        return False
    logger.info("%s opens WebSockets with ws_middleware from now on", server)
    return True


def _install_in_uvicorn(config: Config) -> bool:
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


def _owners_behind(receive: object) -> Iterator[object]:
    """Find the objects of a server: `receive` is a method of one, or wraps one."""
    waiting, seen = [receive], set[int]()
    while waiting and len(seen) < _REACH:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        owner = getattr(one, "__self__", None)
        yield owner
        waiting += filter(None, [getattr(owner, "on_response", None)])
        waiting += [one.func] if isinstance(one, functools.partial) else []
        waiting += filter(callable, map(_content, getattr(one, "__closure__", None) or ()))


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty yet
        return None
