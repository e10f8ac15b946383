"""From a request to the decision: the one order of checks of every mode.

An upgrade at all? -> route -> RFC 6455 §4.2.1 -> limits -> host and origin -> identity ->
subprotocol and extensions. Only then is anything taken. The first breach is the answer, as a
`HandshakeError`, or as a connection that says so and closes where a browser is to read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ws_middleware.admission import NOBODY, Admission
from ws_middleware.aio import AsyncConnection
from ws_middleware.asking import Ask, answers_at_once, ask_in_place, run_in_place
from ws_middleware.auth.first_message import FirstMessage
from ws_middleware.auth.identity import Admitted
from ws_middleware.core.endpoint import Endpoint
from ws_middleware.core.extensions import ActiveExtension, Agreement, accept_offers
from ws_middleware.core.frames import truncate_reason
from ws_middleware.core.handshake import (
    check_request,
    choose_subprotocol,
    offered_extensions,
    offered_subprotocols,
    upgrade_fields,
)
from ws_middleware.core.headers import Fields, field_values
from ws_middleware.errors import HandshakeError
from ws_middleware.gate import Gate, Place, Teller
from ws_middleware.introduction import Introduction
from ws_middleware.logs import handshake_refused, subprotocol_missing
from ws_middleware.options import Options
from ws_middleware.policy import check_host, check_origin, heed_proxies
from ws_middleware.request import Request
from ws_middleware.routing import Route, Router
from ws_middleware.socket_connection import SocketConnection

__all__ = ["Upgrade", "decide", "decide_at_once", "find_route", "is_immediate"]


class Upgrade(NamedTuple):
    """Hold what an accepted handshake agrees on; `fields` are those of its 101."""

    subprotocol: str | None
    agreements: Sequence[Agreement]
    fields: Fields
    admitted: Admitted = NOBODY
    #: What has to be heard before the handler sees the connection.
    introduction: Introduction | None = None
    place: Place | None = None

    def make_endpoint(
        self,
        options: Options,
        now: float,
        *,
        observe_control: bool = False,
        beside: Sequence[ActiveExtension] = (),
    ) -> Endpoint:
        """Make the server's end of the connection; `beside` are extensions nobody agreed on."""
        agreed = [agreement.activate("server") for agreement in self.agreements]
        return Endpoint(
            "server", options, [*agreed, *beside], now=now, observe_control=observe_control
        )

    def opened(self, connection: AsyncConnection | SocketConnection, teller: Teller) -> None:
        """Note that the connection is open."""
        connection.request.pack()
        connection.identity = self.admitted.identity
        connection.renew(self.admitted.expires_at)
        if self.place is not None:
            self.place.occupy(connection, teller)

    def ended(self) -> None:
        """Note that the connection has ended, or will never be."""
        if self.place is not None:
            self.place.leave()


def find_route(router: Router, request: Request) -> Route | None:
    """Find the route of a request and note its path parameters; None where there is none."""
    found = router.match(request.path)
    if found is None:
        return None
    route, request.path_params = found
    return route


def is_immediate(route: Route | None) -> bool:
    """Tell whether a decision asks nobody who might wait."""
    if route is None:
        return True
    return answers_at_once(route.options.authenticate) and answers_at_once(route.options.admit)


def decide_at_once(router: Router, request: Request, route: Route | None) -> tuple[Route, Upgrade]:
    """Decide where the decision is immediate."""
    return run_in_place(decide(router, request, route, ask_in_place))


async def decide(
    router: Router, request: Request, route: Route | None, ask: Ask, *, foreign: bool = False
) -> tuple[Route, Upgrade]:
    """Check a request on its route's terms; gives the route to serve, and what was agreed on.

    A `foreign` handshake is spoken by the server, which has checked it by then. Whoever calls
    tells the upgrade when the connection has opened, and that it has ended.
    """
    try:
        if route is None:
            raise HandshakeError(404, "there is no WebSocket at this path")
        return route, await _admit(router.gate, request, route, ask, foreign)
    except HandshakeError as error:
        options = router.options if route is None else route.options
        if options.readable != "browser" or request.origin is None:
            raise
        farewell = _Farewell(error).serve(request, options, foreign)
        handshake_refused(request.remote_address, request.target, error)
        return farewell


async def _admit(gate: Gate, request: Request, route: Route, ask: Ask, foreign: bool) -> Upgrade:
    options = route.options
    key = _check_handshake(request, foreign)
    heed_proxies(request, options)
    admission = Admission(request, options, gate)
    try:
        check_host(request, options)
        check_origin(request, options)
        admitted = await admission.by_request(ask)
        return _agree(request, route, key, admitted, admission)
    except BaseException:
        admission.place.leave()
        raise


def _check_handshake(request: Request, foreign: bool) -> str | None:
    """Check a handshake as far as nobody has; gives its key where it is ours to answer."""
    if not foreign:
        return check_request(request.head)
    if len(field_values(request.head.fields, "host")) > 1:
        raise HandshakeError(400, "the Host field is there more than once")
    return None


def _agree(
    request: Request,
    route: Route,
    key: str | None,
    admitted: Admitted | FirstMessage,
    admission: Admission,
) -> Upgrade:
    options = route.options
    introduction = None
    if isinstance(admitted, FirstMessage):
        introduction, admitted = Introduction(admission, admitted), NOBODY
    head = request.head  # only now: an authenticator may have taken something out of it
    offered = offered_subprotocols(head.fields)
    subprotocol = choose_subprotocol(offered, options.subprotocols)
    if offered and subprotocol is None:
        subprotocol_missing(route.rule, tuple(options.subprotocols))
    fields = admitted.headers
    agreements: Sequence[Agreement] = ()
    if key is not None:
        agreements = accept_offers(offered_extensions(head.fields), options.extensions)
        fields = [*upgrade_fields(key, subprotocol, agreements), *fields]
    return Upgrade(subprotocol, agreements, fields, admitted, introduction, admission.place)


class _Farewell:
    """Refuse by a connection that closes at once, with a code and a reason."""

    def __init__(self, error: HandshakeError) -> None:
        again = [value for name, value in error.headers if name.lower() == "retry-after"]
        reason = f"{error.reason}; retry after {again[0]} s" if again else error.reason
        self._error = error
        self._code, self._reason = error.close_code, truncate_reason(reason)

    def serve(self, request: Request, options: Options, foreign: bool) -> tuple[Route, Upgrade]:
        """Give the route and the upgrade that do so; the error where even that cannot be."""
        try:
            key = _check_handshake(request, foreign)
        except HandshakeError:
            raise self._error from None
        # A browser fails where it offered subprotocols and none is chosen.
        subprotocol = next(iter(offered_subprotocols(request.head.fields)), None)
        fields = [] if key is None else upgrade_fields(key, subprotocol)
        return Route("", self._close, options), Upgrade(subprotocol, (), fields)

    async def _close(self, connection: AsyncConnection, **path_params: Any) -> None:
        await connection.close(self._code, self._reason)
