"""Telling WSGI apps from ASGI apps, and serving the former under ASGI."""

from __future__ import annotations

import inspect
from typing import Any, cast

from ws_middleware.asgi.types import ASGIApp

__all__ = ["adapt_wsgi", "check_app", "is_asgi", "takes"]


def is_asgi(app: Any) -> bool:
    """Tell an ASGI app from a WSGI app: it is asynchronous, or needs three arguments."""
    if not takes(app, 3):
        return False
    is_async = inspect.iscoroutinefunction
    return is_async(app) or is_async(type(app).__call__) or not takes(app, 2)


def check_app(app: Any) -> None:
    """Refuse, with `TypeError`, what no server can call."""
    if not callable(app):
        raise TypeError(f"an app is something that a server calls, not {type(app).__name__}")
    if not (takes(app, 2) or takes(app, 3)):
        raise TypeError(f"{app!r} takes the arguments of neither an ASGI app nor a WSGI app")


def takes(app: Any, count: int) -> bool:
    """Tell whether something can be called with so many arguments."""
    try:
        inspect.signature(app).bind(*range(count))
    except TypeError:  # it cannot be called at all, or not like that
        return False
    except ValueError:  # it does not say
        return True
    return True


def adapt_wsgi(app: Any) -> ASGIApp:
    """Make an ASGI app of a WSGI app, which answers plain requests in threads."""
    try:
        from a2wsgi import WSGIMiddleware
    except ImportError:
        raise ImportError("to serve a WSGI app: pip install 'ws-middleware[wsgi]'") from None
    return cast(ASGIApp, WSGIMiddleware(app))
