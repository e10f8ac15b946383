"""The request that opened a connection, as handlers and policies see it.

Made once from the request's head; what costs time is made when it is first asked for.
Routing, authentication and logs all use the same `path`.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import unquote

from werkzeug.datastructures import Headers, MultiDict
from werkzeug.http import parse_cookie
from werkzeug.urls import uri_to_iri

from ws_middleware.core.handshake import RequestHead
from ws_middleware.core.headers import field_values

__all__ = ["Address", "Request", "shared_name"]

#: Host and port, or the path of a Unix socket, as the socket module gives it.
Address = tuple[Any, ...] | str | None


@lru_cache(maxsize=256)
def shared_name(name: str) -> str:
    """Give one copy of a name that many requests have.

    Peers choose names, and Python 3.12 never frees what was interned.
    """
    return name


class Request:
    """Hold the request that opened a connection.

    `secure` tells whether the connection itself is encrypted, `scope` is the ASGI scope and
    `environ` the WSGI environ where there is one, `path_params` what the route took from the
    path.

    >>> request = Request(RequestHead("GET", "/a%20b?x=1", "1.1", [("Host", "h")]))
    >>> request.path, request.query["x"], request.headers["host"]
    ('/a b', '1', 'h')
    """

    def __init__(
        self,
        head: RequestHead,
        *,
        remote_address: Address = None,
        secure: bool = False,
        root_path: str = "",
        scope: MutableMapping[str, Any] | Callable[[], MutableMapping[str, Any]] | None = None,
        environ: dict[str, Any] | None = None,
    ) -> None:
        self.head = head
        self.remote_address = remote_address
        self.secure = secure
        self.root_path = root_path
        self._scope = scope
        self.environ = environ
        self.path_params: dict[str, Any] = {}

    @property
    def scope(self) -> MutableMapping[str, Any] | None:
        """Give the ASGI scope, made when it is first asked for; None outside of ASGI."""
        if callable(self._scope):
            self._scope = self._scope()
        return self._scope

    @property
    def method(self) -> str:
        """Give the method, GET for every WebSocket."""
        return self.head.method

    @property
    def target(self) -> str:
        """Give the request target exactly as it was sent."""
        return self.head.target

    @property
    def path(self) -> str:
        """Give the decoded path, without the query and without `root_path`."""
        path = unquote(self.raw_path)
        root = self.root_path
        return path[len(root) :] if root and path.startswith(root + "/") else path

    @property
    def query_string(self) -> str:
        """Give the query exactly as it was sent, without the question mark."""
        return self.head.target.partition("?")[2]

    @property
    def raw_path(self) -> str:
        """Give the path as it was sent, without the query."""
        path = self.head.target.partition("?")[0]
        if path.startswith("/"):
            return path
        # The absolute form: "http://host/path" (RFC 9112 §3.2.2).
        _, slash, rest = path.partition("://")[2].partition("/")
        return slash + rest or "/"

    @cached_property
    def query(self) -> MultiDict[str, str]:
        """Give the query's parameters."""
        pairs = (part.partition("=") for part in self.query_string.split("&") if part)
        return MultiDict((_decode_query(key), _decode_query(value)) for key, _, value in pairs)

    @cached_property
    def headers(self) -> Headers:
        """Give the header fields, in their order."""
        return Headers(list(self.head.fields))

    @cached_property
    def cookies(self) -> MultiDict[str, str]:
        """Give the cookies; what is not UTF-8 in them is replaced, not an error."""
        sent = "; ".join(self.headers.getlist("cookie")).encode("latin-1")
        return parse_cookie(sent.decode("utf-8", "replace").encode().decode("latin-1"))

    @property
    def host(self) -> str:
        """Give the Host field."""
        return self._field("host") or ""

    @property
    def origin(self) -> str | None:
        """Give the Origin field; None when the request does not come from a script."""
        return self._field("origin")

    def _field(self, name: str) -> str | None:
        # Not from `headers`, which is only made for those who ask for it.
        values = field_values(self.head.fields, name)
        return values[0] if values else None

    @property
    def url(self) -> str:
        """Give the URL for people: decoded where that is safe."""
        scheme = "wss" if self.secure else "ws"
        query = f"?{self.query_string}" if self.query_string else ""
        return uri_to_iri(f"{scheme}://{self.host}{self.raw_path}{query}")

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target!a}>"


def _decode_query(text: str) -> str:
    return unquote(text.replace("+", " "))
