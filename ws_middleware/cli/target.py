"""What the command line is told to serve, loaded in whichever process serves it.

`TargetError` says in one sentence what is wrong with a target.
"""

from __future__ import annotations

import importlib
import itertools
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import ws_middleware
from ws_middleware.asgi.adapting import adapt_wsgi, is_asgi, takes
from ws_middleware.asgi.middleware import ASGIMiddleware
from ws_middleware.asgi.types import ASGIApp
from ws_middleware.cli.demo import make_demo
from ws_middleware.mounts import WebSockets
from ws_middleware.wsgi.middleware import WSGIMiddleware

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
        app = _combine(self.names) if self.names else make_demo()
        app.router.override(**self.overrides)
        return app


def load(name: str) -> Any:
    """Import `module:attribute`; `TargetError` where that fails."""
    module_name, colon, attributes = name.partition(":")
    if module_name.endswith(".py") or os.sep in module_name:
        module = os.path.normpath(module_name.removesuffix(".py")).replace(os.sep, ".")
        raise TargetError(f"{module_name!r} is a file: name the module, such as {module!r}")
    if not module_name or module_name.startswith(".") or (colon and not attributes):
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
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise TargetError(f"there is no module {error.name!r}") from None
        raise TargetError(f"importing {name!r} failed: {error}") from error
    except (Exception, SystemExit) as error:
        raise TargetError(
            f"importing {name!r} failed: {type(error).__name__}: {error}{_place(error)}"
        ) from error


#: How the names of this package's files begin.
_OURS = os.path.join(os.path.dirname(ws_middleware.__file__), "")


def _place(error: BaseException) -> str:
    """Say where a module failed: the innermost line of code that is not import machinery.

    Where it called us wrongly, the call is meant, not the place where we tell so.
    """
    if isinstance(error, SyntaxError):
        return ""  # it says so itself
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)[1:]  # the first one is ours
        if "importlib" not in frame.filename
    ]
    frames = list(itertools.takewhile(lambda frame: not frame.filename.startswith(_OURS), frames))
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _combine(names: Sequence[str]) -> ASGIMiddleware:
    targets = {name: load(name) for name in names}
    routers = [target for target in targets.values() if isinstance(target, WebSockets)]
    apps = {name: app for name, app in targets.items() if not isinstance(app, WebSockets)}
    if len(routers) > 1 or len(apps) > 1 or len(targets) < len(names):
        raise TargetError("name one WebSockets object and one app at the most")
    app = next((_as_asgi(name, target) for name, target in apps.items()), None)
    if routers:
        return routers[0].asgi(app)
    return app if isinstance(app, ASGIMiddleware) else WebSockets().asgi(app)


def _as_asgi(name: str, target: Any) -> ASGIApp:
    if is_asgi(target):
        return cast(ASGIApp, target)
    if not takes(target, 2):
        raise TargetError(
            f"{name!r} is neither a WebSockets object nor an app: "
            f"it is of the type {type(target).__name__!r}"
        )
    try:
        app = adapt_wsgi(target)
    except ImportError as error:
        raise TargetError(str(error)) from None
    # Routes that are mounted on it, as `app.wsgi_app = ws.wsgi(app.wsgi_app)`, are served too.
    mounted = getattr(target, "wsgi_app", target)
    return ASGIMiddleware(mounted.router, app) if isinstance(mounted, WSGIMiddleware) else app
