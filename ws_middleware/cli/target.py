"""What the command line is told to serve, loaded in whichever process serves it.

`TargetError` says in one sentence what is wrong with a target.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
import traceback
from dataclasses import dataclass, field
from typing import Any, cast

from ws_middleware.asgi.middleware import ASGIMiddleware
from ws_middleware.asgi.types import ASGIApp
from ws_middleware.cli.demo import make_demo
from ws_middleware.mounts import WebSockets

__all__ = ["TargetError", "Targets"]


class TargetError(Exception):
    """Tell why a target cannot be served."""


@dataclass(frozen=True)
class Targets:
    """Make the ASGI app of the targets; it can be sent to another process, the app cannot."""

    names: tuple[str, ...]
    overrides: dict[str, Any] = field(default_factory=dict)

    def __call__(self) -> ASGIMiddleware:
        """Load the targets and put them together."""
        app = _combine([load(name) for name in self.names]) if self.names else make_demo()
        app.router.override(**self.overrides)
        return app


def load(name: str) -> Any:
    """Import `module:attribute`; `TargetError` where that fails."""
    module_name, colon, attributes = name.partition(":")
    if not module_name or (colon and not attributes):
        raise TargetError(f"{name!r} is not module:name")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    target = _import(module_name)
    for attribute in (attributes or "ws").split("."):
        try:
            target = getattr(target, attribute)
        except AttributeError:
            raise TargetError(f"the module {module_name!r} has no {attribute!r}") from None
    return target


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and name.startswith(error.name):
            raise TargetError(f"there is no module {error.name!r}") from None
        raise TargetError(f"importing {name!r} failed: {error}") from error
    except Exception as error:
        raise TargetError(
            f"importing {name!r} failed: {type(error).__name__}: {error}{_place(error)}"
        ) from error


def _place(error: BaseException) -> str:
    """Say where a module failed: the innermost line of code that is not import machinery."""
    if isinstance(error, SyntaxError):
        return ""  # it says so itself
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _combine(targets: list[Any]) -> ASGIMiddleware:
    routers = [target for target in targets if isinstance(target, WebSockets)]
    apps = [_as_asgi(target) for target in targets if not isinstance(target, WebSockets)]
    if len(routers) > 1 or len(apps) > 1:
        raise TargetError("name one WebSockets object and one app at the most")
    app = apps[0] if apps else None
    if routers:
        return routers[0].asgi(app)
    return app if isinstance(app, ASGIMiddleware) else WebSockets().asgi(app)


def _as_asgi(target: Any) -> ASGIApp:
    if not callable(target):
        raise TargetError(f"{target!r} is neither a WebSockets object nor an app")
    if is_asgi(target):
        app: ASGIApp = target
        return app
    try:
        from a2wsgi import WSGIMiddleware
    except ImportError:
        raise TargetError("to serve a WSGI app, install ws-middleware[wsgi]") from None
    return cast(ASGIApp, WSGIMiddleware(target))


def is_asgi(app: Any) -> bool:
    """Tell an ASGI app from a WSGI app: it is asynchronous, or takes three arguments."""
    while isinstance(app, functools.partial):
        app = app.func
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(type(app).__call__):
        return True
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return False
    required = [p for p in parameters if p.default is p.empty and p.kind in _POSITIONAL]
    return len(required) == 3


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
