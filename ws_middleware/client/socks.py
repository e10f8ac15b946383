"""Sockets through SOCKS proxies, by python-socks, which is an extra: `ws-middleware[socks]`."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from ws_middleware.client.proxies import Proxy
from ws_middleware.errors import ProxyError

__all__ = ["connect_through", "connect_through_async"]


def connect_through(proxy: Proxy, host: str, port: int, timeout: float | None) -> socket.socket:
    """Connect to a host; no step takes longer than `timeout`."""
    with _translated(proxy):
        from python_socks.sync import Proxy as SyncProxy

        return SyncProxy.create(**_describe(proxy)).connect(host, port, timeout)


async def connect_through_async(proxy: Proxy, host: str, port: int) -> socket.socket:
    """Connect to a host, for asyncio; the caller sees to the time."""
    with _translated(proxy):
        from python_socks.async_.asyncio import Proxy as AsyncioProxy

        return await AsyncioProxy.create(**_describe(proxy)).connect(host, port, _NO_LIMIT)


#: The library takes None for a minute.
_NO_LIMIT = 1e9


def _describe(proxy: Proxy) -> dict[str, Any]:
    from python_socks import ProxyType

    return {
        "proxy_type": ProxyType.SOCKS5,
        "host": proxy.host,
        "port": proxy.port,
        "username": proxy.user,
        "password": proxy.password,
        "rdns": proxy.scheme == "socks5h",
    }


@contextlib.contextmanager
def _translated(proxy: Proxy) -> Iterator[None]:
    """Raise what the library raises as a `ProxyError`."""
    try:
        yield
    except ImportError as error:
        raise ProxyError(
            0, f"the proxy {proxy} takes a library: pip install 'ws-middleware[socks]'"
        ) from error
    except TimeoutError:
        raise
    except Exception as error:
        if not type(error).__module__.startswith("python_socks"):
            raise
        raise ProxyError(0, f"the proxy {proxy} leads to no server: {error}") from error
