"""What a request presents as credentials, wherever they may stand in it."""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ws_middleware.auth.schemes import Credentials, parse_credentials
from ws_middleware.core.headers import field_values
from ws_middleware.errors import Reject

if TYPE_CHECKING:
    from ws_middleware.request import Request

__all__ = [
    "SecretsInTheOpen",
    "paths_of",
    "read_credentials",
    "take_from_query",
    "take_from_subprotocols",
]

logger: logging.Logger = logging.getLogger("ws_middleware")


def read_credentials(request: Request, scheme: str) -> Credentials | None:
    """Give the credentials of a scheme, in lower case; None where there are none for it.

    `ValueError` when they are malformed, 400 when there are two (RFC 9110 §11.6.2). What it
    says goes into the log, and holds nothing of the credentials.
    """
    values = field_values(request.head.fields, "authorization")
    if len(values) > 1:
        raise Reject(400, "the Authorization field is there more than once")
    if not values or values[0].partition(" ")[0].lower() != scheme:
        return None
    try:
        return parse_credentials(values[0])
    except ValueError:
        raise ValueError("their grammar is broken (RFC 9110 §11.4)") from None


def paths_of(request: Request) -> set[str]:
    """Give the decoded path as it was sent, and as it is where a proxy takes a prefix away.

    >>> from ws_middleware.core.handshake import RequestHead
    >>> from ws_middleware.request import Request
    >>> head = RequestHead("GET", "/a%20b", "1.1", [])
    >>> sorted(paths_of(Request(head, root_path="/live")))
    ['/a b', '/live/a b']
    """
    path = unquote(request.raw_path)
    return {path, request.root_path + path}


def take_from_query(request: Request, name: str) -> list[str]:
    """Take a secret out of the query: nobody else sees it."""
    values = request.query.getlist(name)
    if values:
        request.withdraw_query(name)
    return values


def take_from_subprotocols(request: Request, prefix: str) -> list[str]:
    """Take a secret, which stands behind a prefix, out of the offered subprotocols."""
    values = field_values(request.head.fields, "sec-websocket-protocol")
    offered = [token.strip(" \t") for value in values for token in value.split(",")]
    secret = [token for token in offered if token.startswith(prefix)]
    for token in secret:
        request.withdraw_subprotocol(token)
    return [token.removeprefix(prefix) for token in secret]


class SecretsInTheOpen:
    """Warn once that secrets come without TLS from another machine."""

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme
        self._warned = False

    def note(self, request: Request) -> None:
        """Look at how a request with secrets came."""
        if not self._warned and not request.secure and not _is_local(request):
            self._warned = True
            logger.warning(
                "%s credentials came without TLS: anyone on the way can read them"
                " (behind a proxy that ends TLS, see trusted_proxies)",
                self._scheme,
            )


def _is_local(request: Request) -> bool:
    address = request.remote_address
    if not isinstance(address, tuple):
        return True  # a Unix socket
    try:
        return ipaddress.ip_address(address[0]).is_loopback
    except ValueError:
        return False
