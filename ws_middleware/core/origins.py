"""Who may connect from a browser: the origin policy (RFC 6455 §10.2, RFC 6454).

Origins are compared as (scheme, host, port), exactly; "null" equals nothing but itself.
A request without an Origin does not come from a browser's script and passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ws_middleware.core.headers import parse_host, safe_text

__all__ = ["OriginPolicy", "Triple", "make_origin_policy", "parse_origin"]

#: Scheme, host, port.
Triple = tuple[str, str, int]

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
#: The port of a scheme without a default one, such as a browser extension's.
NO_PORT = -1
_SCHEME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789+-.")

#: Given the Origin's triple (None for "null"), the Host value, and whether the connection is
#: known to be encrypted: may it connect?
OriginPolicy = Callable[[Triple | None, str, bool], bool]


def parse_origin(text: str) -> Triple:
    """Read a serialised origin; `ValueError` unless it is `scheme://host[:port]`.

    >>> parse_origin("https://Example.org")
    ('https', 'example.org', 443)
    """
    scheme, separator, authority = text.partition("://")
    scheme = scheme.lower()
    # scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." ) (RFC 3986 §3.1)
    if not separator or not scheme[:1].isalpha() or not _SCHEME.issuperset(scheme):
        raise ValueError(f"{safe_text(text)} is not an origin")
    host, port = parse_host(_to_ascii(authority))
    return scheme, host, _DEFAULT_PORTS.get(scheme, NO_PORT) if port is None else port


def _to_ascii(authority: str) -> str:
    """Spell an internationalised host name as its A-labels."""
    if authority.isascii():
        return authority
    host, colon, port = authority.partition(":")
    try:
        return host.encode("idna").decode("ascii") + colon + port
    except UnicodeError:
        raise ValueError(f"{safe_text(authority)} is not a host") from None


def _same_origin(origin: Triple | None, host: str, encrypted: bool) -> bool:
    if origin is None:
        return False
    scheme, origin_host, origin_port = origin
    # An encrypted connection is https for sure. Behind a proxy that ends TLS it looks plain
    # here, so the scheme is then taken from the origin.
    if scheme not in ("http", "https") or (encrypted and scheme != "https"):
        return False
    name, port = parse_host(host)
    if port is None:
        port = _DEFAULT_PORTS[scheme]
    return (name, port) == (origin_host, origin_port)


def _any_origin(origin: Triple | None, host: str, encrypted: bool) -> bool:
    return True


def _parse_listed(text: str) -> Triple:
    try:
        return parse_origin(text)
    except (AttributeError, ValueError):
        raise ValueError(
            f"{text!r} is not an origin, which is scheme and host, such as 'https://a.example'"
        ) from None


def make_origin_policy(origins: str | Iterable[str]) -> OriginPolicy:
    """Make a policy: "same-origin", "*" for any, or exact origins such as "https://a.example".

    >>> policy = make_origin_policy(["https://a.example"])
    >>> policy(("https", "a.example", 443), "b.example", False)
    True
    """
    if origins == "same-origin":
        return _same_origin
    if origins == "*":
        return _any_origin
    if isinstance(origins, str) or not isinstance(origins, Iterable):
        raise ValueError(
            f"{origins!r} is not a policy: use 'same-origin', '*' or a list of origins"
        )
    listed = frozenset(None if text == "null" else _parse_listed(text) for text in origins)
    return lambda origin, host, encrypted: origin in listed
