"""Which handler answers which path, and on which terms.

Rules are werkzeug's, with its converters. A route's options are those of its router with the
route's own on top. The path is decoded once, and matched as it is: nothing is redirected.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from ws_middleware.gate import Gate
from ws_middleware.handlers import HandlerLike, check_handler, check_parameters
from ws_middleware.options import Options

__all__ = ["Route", "Router"]

_Handler = TypeVar("_Handler", bound=HandlerLike)
#: Peers choose the paths that are remembered: no longer ones than this.
_SHORT = 200


def _same(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")


@dataclass(slots=True, eq=False)
class Route:
    """Hold one route: its rule, its handler and its options."""

    rule: str
    handler: HandlerLike
    options: Options


class Router:
    """Find the route for a path.

    >>> router = Router(Options())
    >>> router.add("/chat/<room>", lambda connection, room: None)
    >>> router.match("/chat/lobby")[1]
    {'room': 'lobby'}
    """

    def __init__(self, options: Options) -> None:
        self.options: Options = options
        self.gate: Gate = Gate()
        self.routes: list[Route] = []
        self._map = Map(strict_slashes=False, merge_slashes=False)
        self._adapter = self._map.bind("", url_scheme="ws")
        # Few paths are asked for again and again, and werkzeug takes ten microseconds for one.
        self._known = lru_cache(maxsize=256)(self._find)

    def add(self, rule: str, handler: HandlerLike, **options: Any) -> None:
        """Add a route; `options` are fields of `Options` that differ from the router's."""
        check_handler(handler)
        route = Route(rule, handler, self.options.replaced(**options))
        entry = Rule(rule, endpoint=route, websocket=True)
        check_parameters(handler, rule, self._parameters_of(entry))
        self._map.add(entry)
        self._known.cache_clear()
        self.routes.append(route)

    def _parameters_of(self, entry: Rule) -> set[str]:
        """Find what a rule takes from paths, and refuse one that can hardly be meant."""
        rule = entry.rule
        if any(_same(rule, route.rule) for route in self.routes):
            raise ValueError(f"{rule!r} has a handler already")
        fixed = re.sub("<[^<>]*>", "", rule)
        if "{" in fixed:
            raise ValueError(f"{rule!r}: the part of a path that varies is written <name>")
        if "?" in fixed:
            raise ValueError(
                f"{rule!r}: a rule is a path; the query is in connection.request.query"
            )
        probe = entry.empty()
        probe.bind(self._map)
        return probe.arguments

    def route(self, rule: str, **options: Any) -> Callable[[_Handler], _Handler]:
        """Decorate a handler with its route."""
        if not isinstance(rule, str):
            raise TypeError('a route has a rule: @ws.route("/path")')

        def decorate(handler: _Handler) -> _Handler:
            self.add(rule, handler, **options)
            return handler

        return decorate

    def override(self, **options: Any) -> None:
        """Change options of the router and of all its routes."""
        self.options = dataclasses.replace(self.options, **options)
        for route in self.routes:
            route.options = dataclasses.replace(route.options, **options)

    def match(self, path: str) -> tuple[Route, dict[str, Any]] | None:
        """Find the route for a decoded path and what the rule took from it."""
        found = self._known(path) if len(path) <= _SHORT else self._find(path)
        return None if found is None else (found[0], dict(found[1]))

    def _find(self, path: str) -> tuple[Route, Mapping[str, Any]] | None:
        if path.startswith("//"):
            return None  # werkzeug would see one slash
        try:
            route, params = self._adapter.match(path, websocket=True)
        except HTTPException:
            return None
        assert isinstance(route, Route)
        return route, params
