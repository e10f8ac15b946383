"""Who may ask at all, before anybody is asked who he is: proxies, hosts and origins.

What is told of a request by others than its peer counts only where `trusted_proxies` names
them. A refusal names the setting that would have allowed it.
"""

from __future__ import annotations

from ws_middleware.core.forwarding import UNIX, find_origin, parse_trust
from ws_middleware.core.headers import field_values, parse_host, safe_text
from ws_middleware.core.origins import parse_origin
from ws_middleware.errors import HandshakeError
from ws_middleware.gate import counts_addresses
from ws_middleware.logs import proxy_not_trusted
from ws_middleware.options import Options
from ws_middleware.request import Address, Request

__all__ = ["check_host", "check_origin", "heed_proxies"]


def heed_proxies(request: Request, options: Options) -> None:
    """Let the request tell of whom the proxies speak for; 400 where they contradict."""
    if not options.trusted_proxies:
        if counts_addresses(options) and field_values(request.head.fields, "x-forwarded-for"):
            proxy_not_trusted()
        return
    trust = parse_trust(tuple(options.trusted_proxies))
    try:
        origin = find_origin(request.head.fields, _peer_of(request.remote_address), trust)
        if origin is None:
            return
        if origin.host is not None:
            parse_host(origin.host)
    except ValueError as error:
        raise HandshakeError(400, str(error)) from None
    secure = None if origin.scheme is None else origin.scheme.lower() in ("https", "wss")
    request.come_from((origin.address, origin.port), secure, origin.host)


def _peer_of(address: Address) -> str:
    if isinstance(address, tuple):
        return str(address[0])
    return UNIX if isinstance(address, str) else ""


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
