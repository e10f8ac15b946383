"""What goes into the log: one line for a finished connection, one for a refused handshake.

A peer's text is escaped and shortened; secrets are never part of it.
"""

from __future__ import annotations

import functools
import logging

from ws_middleware.core.endpoint import Endpoint
from ws_middleware.core.headers import safe_text
from ws_middleware.errors import HandshakeError
from ws_middleware.info import ConnectionInfo
from ws_middleware.request import Address

__all__ = ["connection_finished", "handshake_refused", "proxy_not_trusted", "subprotocol_missing"]

logger: logging.Logger = logging.getLogger("ws_middleware")


def connection_finished(connection: ConnectionInfo, endpoint: Endpoint, duration: float) -> None:
    """Log how a connection went."""
    if not logger.isEnabledFor(logging.INFO):
        return
    closed = endpoint.closed
    logger.info(
        "%s %s identity=%s %.3fs received=%d/%dB sent=%d/%dB %s",
        format_address(connection.remote_address),
        safe_text(connection.request.path),
        "-" if connection.identity is None else safe_text(str(connection.identity)),
        duration,
        endpoint.messages_received,
        endpoint.bytes_received,
        endpoint.messages_sent,
        endpoint.bytes_sent,
        ascii(str(closed))[1:-1],
    )


def handshake_refused(address: Address, target: str, error: HandshakeError) -> None:
    """Log why a handshake was refused; the reason names the setting where there is one."""
    logger.info(
        "%s %s refused with %d: %s",
        format_address(address),
        safe_text(target.partition("?")[0]),
        error.status,
        error.reason,
    )


@functools.lru_cache(maxsize=64)
def subprotocol_missing(rule: str, supported: tuple[str, ...]) -> None:
    """Log, once for a rule, that a client offers subprotocols and the route speaks none of them."""
    logger.warning(
        "a client of %a offers subprotocols of which none is spoken there (subprotocols=%r): "
        "browsers fail such a connection; name one in the route's subprotocols",
        rule,
        list(supported),
    )


@functools.cache
def proxy_not_trusted() -> None:
    """Log, once, that a proxy's clients count as one address."""
    logger.warning(
        "requests with X-Forwarded-For come from an address that trusted_proxies does not name: "
        "if it is a proxy, the limits of an address count for all its clients together"
    )


def format_address(address: Address) -> str:
    """Write an address for people.

    >>> format_address(("::1", 8000, 0, 0))
    '[::1]:8000'
    """
    if isinstance(address, tuple) and len(address) >= 2:
        host = f"[{address[0]}]" if ":" in str(address[0]) else address[0]
        return f"{host}:{address[1]}"
    return "-" if address is None else str(address or "unix")  # None: gone before it was asked
