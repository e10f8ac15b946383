"""Proxies between a client and its server: which one, as the caller or the environment says.

The environment is read as other programs do: `wss_proxy`, `https_proxy` for wss, `ws_proxy`,
`http_proxy` for ws, then `all_proxy`; `no_proxy` lists the hosts that are reached without one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from ws_middleware.client.credentials import Password
from ws_middleware.core.headers import parse_host
from ws_middleware.core.uri import URI

__all__ = ["Proxy", "find_proxy", "parse_proxy"]

_PORTS = {"http": 8080, "socks5": 1080, "socks5h": 1080}
_VARIABLES = {True: ("wss", "https", "all", "socks"), False: ("ws", "http", "all", "socks")}


@dataclass(frozen=True, slots=True)
class Proxy:
    """Hold where a proxy is; with socks5h it looks up the server's name, not we."""

    scheme: Literal["http", "socks5", "socks5h"]
    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def credentials(self) -> Password | None:
        """Give what answers the proxy's challenge."""
        return None if self.user is None else Password(self.user, self.password or "")

    def __str__(self) -> str:
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse_proxy(url: str) -> Proxy:
    """Read a proxy's URL; one without a scheme is an HTTP proxy's.

    >>> str(parse_proxy("user:secret@localhost:3128"))
    'http://localhost:3128'
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    scheme = parts.scheme.lower()
    if scheme not in _PORTS:
        raise ValueError(
            f"{scheme}: is no kind of proxy that is spoken to; use {', '.join(_PORTS)}"
        )
    host = parts.hostname or ""
    parse_host(f"[{host}]" if ":" in host else host)
    return Proxy(
        scheme,  # type: ignore[arg-type]
        host,
        parts.port or _PORTS[scheme],
        None if parts.username is None else unquote(parts.username),
        None if parts.password is None else unquote(parts.password),
    )


def find_proxy(uri: URI) -> Proxy | None:
    """Find the proxy that the environment wants for a URI."""
    proxies = getproxies()
    for variable in _VARIABLES[uri.secure]:
        if url := proxies.get(variable):
            return None if proxy_bypass(uri.full_authority) else parse_proxy(url)
    return None
