"""A request as WSGI tells of it, made into one that our checks can trust.

Servers join, drop and rename header lines and some misreport the version. What they may have
glued together is taken apart again, so that a doubled field is still refused.
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from ws_middleware.core.handshake import RequestHead
from ws_middleware.core.headers import IndexedFields
from ws_middleware.request import Address, Request, shared_name
from ws_middleware.wsgi.types import Environ

__all__ = ["make_request", "names_websocket"]

#: Fields that stand once in a request and hold no comma: one means that lines were joined.
_SINGLE = frozenset({"host", "origin", "content-length", "sec-websocket-version"})
#: What servers put into an environ for their own ends, or for the response.
_SERVERS = (
    "gunicorn.",
    "werkzeug.request",
    "werkzeug.s",
    "eventlet.",
    "headers_raw",
    "waitress.",
    "apache.",
    "mod_wsgi.",
    "wsgi.input",
    "wsgi.file_wrapper",
    "wsgi.early_hints",
)
_WEBSOCKET = "HTTP_SEC_WEBSOCKET_"
#: What a path may hold unquoted (RFC 3986 §3.3).
_PATH_SAFE = "/!$&'()*+,;=:@~"


def names_websocket(environ: Environ) -> bool:
    """Tell, at little cost, whether a request may mean to open a WebSocket."""
    return "HTTP_UPGRADE" in environ or any(key.startswith(_WEBSOCKET) for key in environ)


def make_request(environ: Environ) -> Request:
    """Make a request of a WSGI environ.

    >>> environ = {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1", "PATH_INFO": "/a b"}
    >>> make_request(environ).target
    '/a%20b'
    """
    head = RequestHead(
        environ.get("REQUEST_METHOD", ""),
        _target(environ),
        _version(environ),
        IndexedFields(_fields(environ)),
    )
    return Request(
        head,
        remote_address=_address(environ),
        secure=environ.get("wsgi.url_scheme") == "https",
        root_path=_decoded(environ.get("SCRIPT_NAME", "")).rstrip("/"),
        environ=_keep(environ),
    )


@dataclass(frozen=True, slots=True)
class _Kept:
    """Hold what a handler may want of an environ, in less than half a dict's memory."""

    keys: tuple[str, ...]
    values: tuple[Any, ...]

    def __call__(self) -> Environ:
        """Make the environ that a handler sees."""
        environ = dict(zip(self.keys, self.values, strict=True))
        environ["wsgi.input"] = io.BytesIO()  # an opening handshake has no body
        return environ


def _keep(environ: Environ) -> _Kept:
    """Leave out what holds on to the server's objects."""
    kept = {key: value for key, value in environ.items() if not key.startswith(_SERVERS)}
    return _Kept(_shared_keys(tuple(kept)), tuple(kept.values()))


@functools.lru_cache(maxsize=256)
def _shared_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Give one copy of the keys of requests that are alike."""
    return tuple(map(shared_name, keys))


def _decoded(text: str) -> str:
    """Undo PEP 3333's way to put bytes into a str."""
    return text.encode("latin-1").decode("utf-8", "replace")


def _target(environ: Environ) -> str:
    """Give the request target as it was sent, where it names the path that the app sees."""
    path = _decoded(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")) or "/"
    sent: str = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    if sent.startswith("/") and unquote(sent.partition("?")[0]) == path:
        return sent
    query = environ.get("QUERY_STRING", "")
    return quote(path, safe=_PATH_SAFE) + (f"?{query}" if query else "")


def _version(environ: Environ) -> str:
    if "eventlet.input" in environ:
        # eventlet reports HTTP/1.0 whatever was sent; HTTP/1.0 knows no Upgrade (RFC 9110
        # §7.8), and no client of today sends one with it.
        return "1.1"
    name, _, version = str(environ.get("SERVER_PROTOCOL", "")).partition("/")
    return version if name == "HTTP" else ""


def _fields(environ: Environ) -> list[tuple[str, str]]:
    fields: list[tuple[str, str]] = []
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            name = shared_name(key[5:].replace("_", "-").lower())
        elif key in ("CONTENT_LENGTH", "CONTENT_TYPE") and value:
            if environ.get(f"HTTP_{key}") == value:
                continue  # Twisted gives it twice
            name = shared_name(key.replace("_", "-").lower())
        else:
            continue
        lines = str(value).split(",") if name in _SINGLE else [str(value)]
        fields += [(name, line.strip(" \t")) for line in lines]
    return fields


def _address(environ: Environ) -> Address:
    host: str | None = environ.get("REMOTE_ADDR")
    if not host:
        return host  # "" is a Unix socket's, None where the server tells nothing
    port = str(environ.get("REMOTE_PORT") or "")
    return (host, int(port)) if port.isascii() and port.isdigit() else (host, 0)
