"""What a client was asked for: checked before anything is sent.

The settings are the same for every way to connect. What an application gives for its server
(`headers`, `cookies`, `origin`, credentials) goes to the origin of its URL alone.
"""

from __future__ import annotations

import netrc
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, TypedDict

from ws_middleware.client.credentials import Credentials, Password
from ws_middleware.client.proxies import Proxy, find_proxy, parse_proxy
from ws_middleware.client.watching import NOBODY, Watcher
from ws_middleware.core.extensions import Extension
from ws_middleware.core.handshake import encode_request
from ws_middleware.core.headers import Fields, field_values, is_token, safe_text
from ws_middleware.core.origins import parse_origin
from ws_middleware.core.uri import URI, parse_uri
from ws_middleware.options import Options, suggest

__all__ = ["ClientSettings", "Plan", "make_plan"]


class OptionSettings(TypedDict, total=False):
    """List the fields of `Options` that mean something to a client."""

    max_message_size: int | None
    max_frame_size: int | None
    max_fragments: int | None
    max_queue: int
    ping_interval: float | None
    ping_timeout: float | None
    open_timeout: float | None
    close_timeout: float
    write_high_water: int
    max_head_size: int
    max_head_fields: int
    subprotocols: Sequence[str]
    extensions: Sequence[Extension]


class ClientSettings(OptionSettings, total=False):
    """List the keywords of `connect`, `aconnect` and `reconnecting`.

    Besides the fields of `Options`:

    - `headers`: further fields of the request, a mapping or pairs.
    - `cookies`: a mapping of names to values.
    - `origin`: the Origin field; browsers alone need to send it.
    - `credentials`: a `Password` or a `Token`; user and password of the URL are a `Password`.
    - `netrc`: True, or the path of a netrc file, to look for a password there.
    - `proxy`: the URL of a proxy (`http://`, `socks5://` or `socks5h://`, with user and password
      where it wants them), None for none; by default what the environment says.
    - `ssl_context`: instead of one that trusts the system's authorities.
    - `server_hostname`: whom TLS asks for and verifies instead of the URL's host.
    - `unix`: the path of a Unix socket to connect to, whatever the URL's host is.
    - `max_redirects`: how many redirects are followed.
    - `observe_control`: give pings and pongs to `recv_item` too.
    - `observe_frames`: let `recv_frame` give each frame.
    - `watcher`: a `Watcher`, which sees all that is sent and received.
    """

    headers: Mapping[str, str] | Iterable[tuple[str, str]]
    cookies: Mapping[str, str] | None
    origin: str | None
    credentials: Credentials | None
    netrc: bool | str
    proxy: str | Literal[True] | None
    ssl_context: ssl.SSLContext | None
    server_hostname: str | None
    unix: str | None
    max_redirects: int
    observe_control: bool
    observe_frames: bool
    watcher: Watcher


@dataclass(frozen=True, slots=True)
class Plan:
    """Hold what it takes to open a connection."""

    uri: URI
    options: Options
    fields: Fields = ()
    credentials: Credentials | None = None
    proxy: Proxy | Literal[True] | None = True
    ssl_context: ssl.SSLContext | None = None
    server_hostname: str | None = None
    unix: str | None = None
    max_redirects: int = 5
    observe_control: bool = False
    observe_frames: bool = False
    watcher: Watcher = NOBODY

    def tls(self) -> ssl.SSLContext:
        """Give the context for TLS."""
        return self.ssl_context or _default_context()

    def find_proxy(self) -> Proxy | None:
        """Tell through which proxy the way leads."""
        if self.unix is not None:
            return None
        return find_proxy(self.uri) if self.proxy is True else self.proxy

    def too_late(self) -> TimeoutError:
        """Make the exception that tells that the time was over."""
        return TimeoutError(f"not open within open_timeout={self.options.open_timeout} s")

    def redirected(self, location: str) -> Plan:
        """Plan to go where a redirect points; `ValueError` where that must not be.

        To another origin goes nothing that was meant for this one.
        """
        uri = self.uri.join(location)
        if self.uri.secure and not uri.secure:
            raise ValueError("it leads from wss to ws, where everybody could read along")
        if uri.origin == self.uri.origin:
            return replace(self, uri=uri)
        return replace(self, uri=uri, fields=(), credentials=None, unix=None, server_hostname=None)


def make_plan(url: str, settings: ClientSettings) -> Plan:
    """Check what a client was asked for; `ValueError` or `TypeError` say what is wrong with it."""
    _check_kind("a URL is a str", url, str)
    uri = parse_uri(url)
    given: dict[str, object] = dict(settings)
    options = {name: given.pop(name) for name in OptionSettings.__annotations__ if name in given}
    known = ClientSettings.__annotations__
    if unknown := given.keys() - known:
        raise TypeError(f"a client has no setting {suggest(min(unknown), known)}")
    _check_settings(uri, settings)
    proxy = settings.get("proxy", True)
    fields = _make_fields(settings)
    return Plan(
        uri=uri,
        options=Options(**options),  # type: ignore[arg-type]
        fields=fields,
        credentials=_find_credentials(uri, fields, settings),
        proxy=parse_proxy(proxy) if isinstance(proxy, str) else proxy,
        ssl_context=settings.get("ssl_context"),
        server_hostname=settings.get("server_hostname"),
        unix=settings.get("unix"),
        max_redirects=settings.get("max_redirects", 5),
        observe_control=settings.get("observe_control", False),
        observe_frames=settings.get("observe_frames", False),
        watcher=settings.get("watcher", NOBODY),
    )


def _check_settings(uri: URI, settings: ClientSettings) -> None:
    subprotocols = settings.get("subprotocols", ())
    # "The elements … MUST all be unique strings" (RFC 6455 §4.1)
    if len(set(subprotocols)) != len(subprotocols):
        raise ValueError(f"subprotocols={subprotocols!r} names one twice")
    if settings.get("ssl_context") is not None and not uri.secure:
        raise ValueError("ssl_context is for wss:// URLs; a ws:// URL is not encrypted")
    if settings.get("unix") is not None and settings.get("proxy") not in (True, None):
        raise ValueError("no proxy leads to a Unix socket: leave out unix or proxy")
    _check_kind("credentials is a Password or a Token", settings.get("credentials"), _CREDENTIALS)
    _check_kind("ssl_context is an ssl.SSLContext", settings.get("ssl_context"), _CONTEXT)


_CREDENTIALS = (Credentials, type(None))
_CONTEXT = (ssl.SSLContext, type(None))


def _check_kind(what: str, given: object, kinds: type | tuple[type, ...]) -> None:
    if not isinstance(given, kinds):
        raise TypeError(f"{what}, not {type(given).__name__}")  # what it says may be secret


def _make_fields(settings: ClientSettings) -> Fields:
    headers = settings.get("headers", ())
    fields = list(headers.items() if isinstance(headers, Mapping) else headers)
    for field in fields:
        _check_kind("headers is a mapping, or a list of pairs", field, (tuple, list))
        for part in field:
            _check_kind("names and values of headers are str", part, str)
    for name, _ in fields:
        if name.lower() in _OWN or name.lower().startswith("sec-websocket-"):
            raise ValueError(f"{safe_text(name)} is no field for headers: the handshake sets it")
    if (origin := settings.get("origin")) is not None:
        if origin != "null":
            parse_origin(origin)
        fields.append(("Origin", origin))
    if cookies := settings.get("cookies"):
        fields.append(("Cookie", "; ".join(_cookie(*item) for item in cookies.items())))
    encode_request("/", fields)  # which refuses what would break the request apart
    return fields


#: The fields that make a request a handshake, or tell where it ends.
_OWN = frozenset({"upgrade", "connection", "content-length", "transfer-encoding"})
#: What a cookie's value cannot hold (RFC 6455 §4.1 leaves that to RFC 6265 §4.1.1).
_NOT_IN_COOKIES = frozenset('\x7f ",;\\' + "".join(map(chr, range(0x20))))


def _cookie(name: str, value: str) -> str:
    if not is_token(name) or not _NOT_IN_COOKIES.isdisjoint(value.strip('"')):
        raise ValueError(f"{safe_text(name)} cannot be sent as a cookie (RFC 6265 §4.1.1)")
    return f"{name}={value}"


def _find_credentials(uri: URI, fields: Fields, settings: ClientSettings) -> Credentials | None:
    """Take what was given, else what the URL holds, else what netrc has."""
    given = settings.get("credentials")
    if field_values(fields, "authorization"):
        if given is not None:
            raise ValueError("credentials and an Authorization field in headers exclude each other")
        return None
    if given is not None:
        return given
    if uri.user is not None:
        return Password(uri.user, uri.password or "")
    place = settings.get("netrc", False)
    return None if place is False else _look_into_netrc(uri.host, None if place is True else place)


def _look_into_netrc(host: str, path: str | None) -> Password | None:
    """Look for a host in a netrc file, by default the user's own, which may not be there."""
    try:
        found = netrc.netrc(path).authenticators(host)
    except netrc.NetrcParseError as error:
        raise ValueError(f"the netrc file cannot be read: {error}") from None
    except FileNotFoundError:
        if path is not None:
            raise
        return None
    return None if found is None else Password(found[0], found[2])


@lru_cache(maxsize=1)
def _default_context() -> ssl.SSLContext:
    """Make a context that verifies the server and its name; reading the authorities takes time."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
