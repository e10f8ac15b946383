"""Clients: `connect` for threads, `aconnect` for asyncio, `reconnecting` for both."""

from ws_middleware.client.asynchronous import aconnect
from ws_middleware.client.blocking import connect
from ws_middleware.client.credentials import Credentials, Password, Token
from ws_middleware.client.plan import ClientSettings
from ws_middleware.client.reconnecting import Reconnecting, reconnecting
from ws_middleware.client.watching import Watcher

__all__ = [
    "ClientSettings",
    "Credentials",
    "Password",
    "Reconnecting",
    "Token",
    "Watcher",
    "aconnect",
    "connect",
    "reconnecting",
]
