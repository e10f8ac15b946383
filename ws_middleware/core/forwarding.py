"""Whom a request comes from where proxies stand in between (RFC 7239, X-Forwarded-*).

A field of a request is worth as much as whoever wrote it: only the peer's own, then those of
the hop that a trusted hop names, from the right to the left. Nothing is believed of a peer
that is not trusted.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ws_middleware.core.headers import Fields, field_values, parse_host

__all__ = ["UNIX", "Hop", "Trust", "find_origin", "parse_address", "parse_trust"]

#: What a peer on a Unix socket is called.
UNIX = "unix"

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Hop(NamedTuple):
    """Hold what is known of one hop: its address, and how it asked whom."""

    address: str
    port: int = 0
    scheme: str | None = None
    host: str | None = None


class Trust:
    """Know the addresses and networks of proxies."""

    def __init__(self, names: Iterable[str]) -> None:
        names = list(names)
        self._unix = UNIX in names
        self._networks = [ipaddress.ip_network(name) for name in names if name != UNIX]

    def covers(self, address: str) -> bool:
        """Tell whether a proxy has this address."""
        if address == UNIX:
            return self._unix
        parsed = parse_address(address)
        return parsed is not None and any(parsed in network for network in self._networks)


@functools.lru_cache(maxsize=64)
def parse_trust(names: tuple[str, ...]) -> Trust:
    """Read addresses, networks and "unix"; `ValueError` for anything else.

    >>> parse_trust(("10.0.0.0/8", "::1")).covers("10.1.2.3")
    True
    """
    return Trust(names)


def parse_address(text: str) -> _Address | None:
    """Read an IP address; one of IPv4 in the form of IPv6 is one of IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def find_origin(fields: Fields, peer: str, trust: Trust) -> Hop | None:
    """Find the nearest hop that is no proxy of ours; None where no field of theirs says.

    `ValueError` where Forwarded and X-Forwarded-For name different ones: a proxy writes one of
    the two, and the other may come from anybody.

    >>> fields = [("X-Forwarded-For", "6.6.6.6, 192.0.2.7"), ("X-Forwarded-Proto", "https")]
    >>> find_origin(fields, "::1", parse_trust(("::1",)))
    Hop(address='192.0.2.7', port=0, scheme='https', host=None)
    """
    if not trust.covers(peer):
        return None
    new = _walk(_read_forwarded(fields), trust)
    old = _walk(_read_x_forwarded(fields), trust)
    if new is not None and old is not None and new.address != old.address:
        raise ValueError("Forwarded and X-Forwarded-For disagree (setting: trusted_proxies)")
    return new or old


def _walk(hops: Iterable[Hop], trust: Trust) -> Hop | None:
    """Go from hop to hop, the nearest first, as far as there is trust."""
    found: Hop | None = None
    for hop in hops:
        if parse_address(hop.address) is None:
            break  # "unknown" and "_hidden" (RFC 7239 §6.2, §6.3), and what nobody can check
        found = hop
        if not trust.covers(hop.address):
            break
    return found


def _read_x_forwarded(fields: Fields) -> Iterator[Hop]:
    names = _elements(fields, "x-forwarded-for")
    schemes = _elements(fields, "x-forwarded-proto")
    hosts = _elements(fields, "x-forwarded-host")
    for index in reversed(range(len(names))):
        scheme, host = (_parallel(values, index, names) for values in (schemes, hosts))
        yield Hop(*_split_node(names[index]), scheme, host)


def _elements(fields: Fields, name: str) -> list[str]:
    return [part.strip() for value in field_values(fields, name) for part in value.split(",")]


def _parallel(values: list[str], index: int, names: list[str]) -> str | None:
    """Take what belongs to a name: from a list as long as theirs, else what was added last."""
    if not values:
        return None
    return values[index] if len(values) == len(names) else values[-1]


def _read_forwarded(fields: Fields) -> Iterator[Hop]:
    value = ",".join(field_values(fields, "forwarded"))
    for element in reversed(_split_unquoted(value, ",")):
        pairs = (pair.partition("=") for pair in _split_unquoted(element, ";"))
        # Nothing that counts here needs a backslash, so none is undone.
        found = {name.strip().lower(): text.strip().strip('"') for name, _, text in pairs}
        yield Hop(*_split_node(found.get("for", "")), found.get("proto"), found.get("host"))


def _split_unquoted(text: str, mark: str) -> list[str]:
    """Split at a mark, but not inside of quoted strings."""
    parts = [""]
    for index, piece in enumerate(text.split('"')):
        first, *others = piece.split(mark) if index % 2 == 0 else [piece]
        parts[-1] += first if index == 0 else f'"{first}'
        parts += others
    return parts


def _split_node(node: str) -> tuple[str, int]:
    """Read `nodename [ ":" node-port ]` (RFC 7239 §6); some write IPv6 without brackets."""
    if parse_address(node) is not None:
        return node, 0
    try:
        host, port = parse_host(node)
    except ValueError:
        return "", 0
    return host.strip("[]"), port or 0
