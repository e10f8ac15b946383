"""The request that opened a connection, as handlers and policies see it.

Made once from the request's head; what costs time is made when it is first asked for.
Routing, authentication and logs all use the same `path`. A secret that was taken out of the
request is in none of its views any more.
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
from ws_middleware.core.headers import field_values, pack_fields, parse_token_list

__all__ = ["Address", "Request", "scrub_environ", "shared_name"]

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

    `remote_address` and `secure`, which tells whether the connection is encrypted, are the
    socket's own, or what a proxy of `trusted_proxies` says. `scope` is the ASGI scope and
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
        environ: dict[str, Any] | Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        self.head: RequestHead = head
        self.remote_address: Address = remote_address
        self.secure: bool = secure
        self.root_path = root_path
        self._scope = scope
        self._environ = environ
        self.path_params: dict[str, Any] = {}
        self._host: str | None = None  # as a proxy tells it
        #: Whether a secret was taken out of the request.
        self.has_withdrawn: bool = False

    @property
    def scope(self) -> MutableMapping[str, Any] | None:
        """Give the ASGI scope, made when it is first asked for; None outside of ASGI."""
        if callable(self._scope):
            self._scope = self._scope()
            if self.has_withdrawn:
                _scrub_scope(self._scope, self)
        return self._scope

    @property
    def environ(self) -> dict[str, Any] | None:
        """Give the WSGI environ, made when it is first asked for; None outside of WSGI."""
        if callable(self._environ):
            self._environ = self._environ()
        return self._environ

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
        """Give the Host field, or what a trusted proxy says that it was."""
        return self._host or self._field("host") or ""

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

    def come_from(self, address: Address, secure: bool | None, host: str | None) -> None:
        """Take over what a trusted proxy tells; None where it tells nothing."""
        self.remote_address = address
        self.secure = self.secure if secure is None else secure
        self._host = host

    def withdraw_query(self, name: str) -> None:
        """Take a query parameter out: no log, handler, scope or environ sees it.

        >>> request = Request(RequestHead("GET", "/?ticket=1&x=2", "1.1", []))
        >>> request.withdraw_query("ticket")
        >>> request.target
        '/?x=2'
        """
        path, _, query = self.target.partition("?")
        parts = query.split("&")
        kept = [part for part in parts if _decode_query(part.partition("=")[0]) != name]
        if len(kept) < len(parts):
            target = path + ("?" + "&".join(kept) if kept else "")
            self._withdraw(self.head._replace(target=target))

    def withdraw_subprotocol(self, token: str) -> None:
        """Take an offered subprotocol out: it is neither seen nor chosen.

        >>> offer = ("Sec-WebSocket-Protocol", "chat, bearer.abc")
        >>> request = Request(RequestHead("GET", "/", "1.1", [offer]))
        >>> request.withdraw_subprotocol("bearer.abc")
        >>> request.head.fields
        [('Sec-WebSocket-Protocol', 'chat')]
        """
        fields: list[tuple[str, str]] = []
        for name, value in self.head.fields:
            if name.lower() == "sec-websocket-protocol":
                offered = (one.strip(" \t") for one in value.split(","))
                value = ", ".join(one for one in offered if one != token)
                if not value:
                    continue
            fields.append((name, value))
        if fields != list(self.head.fields):
            self._withdraw(self.head._replace(fields=fields))

    def _withdraw(self, head: RequestHead) -> None:
        """Put another head in the place of this one, wherever it is seen."""
        self.has_withdrawn = True
        self.head = head
        for name in ("query", "headers"):
            self.__dict__.pop(name, None)
        if self.environ is not None:
            scrub_environ(self.environ, self)
        if self._scope is not None and not callable(self._scope):
            _scrub_scope(self._scope, self)

    def pack(self) -> None:
        """Take little memory: the handshake is over, and the request is kept for its handler."""
        method, target, version, fields = self.head
        self.head = RequestHead(method, target, version, pack_fields(fields))

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target!a}>"


def _decode_query(text: str) -> str:
    return unquote(text.replace("+", " "))


def scrub_environ(environ: dict[str, Any], request: Request) -> None:
    """Take out of a WSGI environ what was taken out of its request."""
    for name in ("RAW_URI", "REQUEST_URI"):
        if name in environ:
            environ[name] = request.target
    environ["QUERY_STRING"] = request.query_string
    offered = ", ".join(field_values(request.head.fields, "sec-websocket-protocol"))
    if environ.pop("HTTP_SEC_WEBSOCKET_PROTOCOL", None) and offered:
        environ["HTTP_SEC_WEBSOCKET_PROTOCOL"] = offered


def _scrub_scope(scope: MutableMapping[str, Any], request: Request) -> None:
    scope["query_string"] = request.query_string.encode("latin-1")
    scope["headers"] = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in request.head.fields
    ]
    scope["subprotocols"] = parse_token_list(
        field_values(request.head.fields, "sec-websocket-protocol")
    )
