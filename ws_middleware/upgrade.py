"""From a request to the decision: the one order of checks of every mode.

An upgrade at all? -> route -> RFC 6455 §4.2.1 -> host and origin -> subprotocol and
extensions. Only then is anything taken. The first breach is the answer, as a `HandshakeError`.
Where a foreign server has spoken the handshake itself, everything else is still decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ws_middleware.core.extensions import Agreement, accept_offers
from ws_middleware.core.handshake import (
    check_request,
    choose_subprotocol,
    offered_extensions,
    offered_subprotocols,
    upgrade_fields,
)
from ws_middleware.core.headers import Fields, field_values, parse_host, safe_text
from ws_middleware.core.origins import parse_origin
from ws_middleware.errors import HandshakeError
from ws_middleware.options import Options
from ws_middleware.request import Request
from ws_middleware.routing import Route, Router

__all__ = ["Upgrade", "find_route", "prepare", "prepare_events"]


class Upgrade(NamedTuple):
    """Hold what an accepted handshake agrees on; `fields` are those of its 101."""

    subprotocol: str | None
    agreements: Sequence[Agreement]
    fields: Fields


def find_route(router: Router, request: Request) -> Route:
    """Find the route of a request and note its path parameters; 404 where there is none."""
    found = router.match(request.path)
    if found is None:
        raise HandshakeError(404, "there is no WebSocket at this path")
    route, request.path_params = found
    return route


def prepare(request: Request, options: Options) -> Upgrade:
    """Check a request on a route's terms, and agree on subprotocol and extensions."""
    fields = request.head.fields
    key = check_request(request.head)
    check_host(request, options)
    check_origin(request, options)
    subprotocol = choose_subprotocol(offered_subprotocols(fields), options.subprotocols)
    agreements = accept_offers(offered_extensions(fields), options.extensions)
    return Upgrade(subprotocol, agreements, upgrade_fields(key, subprotocol, agreements))


def prepare_events(request: Request, options: Options) -> str | None:
    """Check what a server leaves open that speaks the handshake itself; gives the subprotocol."""
    if len(field_values(request.head.fields, "host")) > 1:
        raise HandshakeError(400, "the Host field is there more than once")
    check_host(request, options)
    check_origin(request, options)
    return choose_subprotocol(offered_subprotocols(request.head.fields), options.subprotocols)


def check_host(request: Request, options: Options) -> None:
    """Check the Host field against the allow list; a name listed without a port has any."""
    if options.hosts is None:
        return
    name, port = parse_host(request.host)
    if port is None:
        port = 443 if request.secure else 80
    if not {(name, port), (name, None)} & set(map(parse_host, options.hosts)):
        raise HandshakeError(
            421, f"the host {safe_text(request.host)} is not served here (setting: hosts)"
        )


def check_origin(request: Request, options: Options) -> None:
    """Check the Origin field against the policy (RFC 6455 §10.2)."""
    origins = field_values(request.head.fields, "origin")
    if not origins:
        _check_fetch_site(request, options)
        return
    if len(origins) > 1:
        raise HandshakeError(400, "the Origin field is there more than once")
    try:
        origin = None if origins[0] == "null" else parse_origin(origins[0])
        # Browsers send ASCII (RFC 6454 §6.2): only settings may spell a name in Unicode.
        allowed = origins[0].isascii() and options.origin_policy()(
            origin, request.host, request.secure
        )
    except ValueError:
        allowed = False
    if not allowed:
        raise HandshakeError(
            403, f"the origin {safe_text(origins[0])} may not connect (setting: origins)"
        )


def _check_fetch_site(request: Request, options: Options) -> None:
    # Only browsers send Sec-Fetch-Site: one that leaves out Origin is still a browser.
    sites = set(field_values(request.head.fields, "sec-fetch-site"))
    if sites - {"none", "same-origin"} and options.origins != "*":
        raise HandshakeError(
            403, "a cross-site request without an Origin may not connect (setting: origins)"
        )
