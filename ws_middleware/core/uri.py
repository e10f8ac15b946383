"""WebSocket URIs (RFC 6455 §3): from text to what is connected to and asked for.

User and password never get into `authority`, `target` or the text of a `URI`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urljoin, urlsplit

from ws_middleware.core.headers import parse_host, safe_text

__all__ = ["URI", "parse_uri"]

_PORTS = {"ws": 80, "wss": 443}
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class URI:
    """Hold the parts of a URI: `host` in ASCII, without brackets; `target` with its query."""

    secure: bool
    host: str
    port: int
    target: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def authority(self) -> str:
        """Give the Host field: the port only where it is not the default one (§4.1)."""
        return self._host_field if self.port == _PORTS[self.scheme] else self.full_authority

    @property
    def full_authority(self) -> str:
        """Give host and port, as a proxy is asked for them (RFC 9110 §9.3.6)."""
        return f"{self._host_field}:{self.port}"

    @property
    def _host_field(self) -> str:
        # A zone has a meaning on this machine alone (RFC 6874 §4).
        return f"[{self.host.partition('%')[0]}]" if ":" in self.host else self.host

    @property
    def scheme(self) -> str:
        """Give "ws" or "wss"."""
        return "wss" if self.secure else "ws"

    @property
    def origin(self) -> tuple[bool, str, int]:
        """Give what two URIs of the same origin have in common (RFC 6454 §4)."""
        return self.secure, self.host, self.port

    def join(self, reference: str) -> URI:
        """Find the URI that a redirect refers to (RFC 3986 §5); http and https are ws and wss."""
        if reference[:5].lower() in ("http:", "https"):
            reference = f"ws{reference[4:]}"
        return parse_uri(urljoin(str(self), reference.partition("#")[0]))

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_uri(text: str) -> URI:
    """Read a ws or wss URI; `ValueError` says what is wrong with it.

    >>> parse_uri("ws://Example.org?room=1")
    URI(secure=False, host='example.org', port=80, target='/?room=1', user=None)
    """
    if any(character <= " " or character == "\x7f" for character in text):
        raise ValueError(f"{safe_text(text)}: a URI holds no spaces and no control characters")
    parts = urlsplit(text)
    scheme = parts.scheme.lower()
    if scheme not in _PORTS:
        raise ValueError(f"{safe_text(_hide(text))}: a WebSocket URI begins with ws:// or wss://")
    # "Fragment identifiers are meaningless … and MUST NOT be used on these URIs" (§3)
    if "#" in text:
        raise ValueError(f"{safe_text(_hide(text))}: a '#' in a WebSocket URI is written as %23")
    return URI(
        secure=scheme == "wss",
        host=_parse_host(parts.hostname or ""),
        port=_PORTS[scheme] if parts.port is None else _check_port(parts.port),
        target=_to_ascii(parts.path or "/") + (f"?{_to_ascii(parts.query)}" if parts.query else ""),
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )


def _hide(text: str) -> str:
    """Leave out user and password."""
    before, at, behind = text.rpartition("@")
    return f"{before.partition('://')[0]}://{behind}" if at else behind


def _check_port(port: int) -> int:
    if port == 0:
        raise ValueError("port 0 cannot be connected to")
    return port


def _parse_host(host: str) -> str:
    if ":" in host:
        address, _, zone = host.partition("%")
        parse_host(f"[{address}]")
        return f"{address}%{zone.removeprefix('25')}" if zone else address
    try:
        # "the ToASCII operation" (§3, by RFC 3986 and RFC 3490)
        name = host.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError(f"{safe_text(host)} is not the name of a host") from None
    return parse_host(name)[0]


def _to_ascii(text: str) -> str:
    """Write an IRI's part as a URI's (RFC 3987 §3.1)."""
    return quote(text, safe=_VISIBLE)
