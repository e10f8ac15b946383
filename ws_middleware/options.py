"""Every limit and choice, in one object that is said once and passed around.

Each has a safe default; None stands for "no limit" and has to be written out.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from ws_middleware.core.extensions import Extension
from ws_middleware.core.forwarding import parse_trust
from ws_middleware.core.headers import is_token, parse_host
from ws_middleware.core.origins import OriginPolicy, make_origin_policy
from ws_middleware.extensions.permessage_deflate import PermessageDeflate

__all__ = ["Options", "check_asked", "suggest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Hold the settings of connections; times in seconds, sizes in bytes.

    >>> Options(max_message_size=2**16).max_message_size
    65536
    """

    #: The largest message, after inflation; a larger one is answered with close code 1009.
    max_message_size: int | None = 2**20
    #: The largest frame on the wire; None leaves it to `max_message_size`.
    max_frame_size: int | None = None
    #: How many frames one message may have.
    max_fragments: int | None = 65_536
    #: How many messages wait for the handler before reading from the peer stops.
    max_queue: int = 16
    #: Silence of the peer after which a ping is sent; None sends none.
    ping_interval: float | None = 20.0
    #: How long the peer may then stay silent before the connection is dropped.
    ping_timeout: float | None = 20.0
    #: How long the opening handshake may take, counted from accepting the TCP connection.
    open_timeout: float | None = 10.0
    #: How long each step of the closing handshake may take.
    close_timeout: float = 10.0
    #: How many bytes may wait to be sent before `send` waits.
    write_high_water: int = 65_536
    #: The largest request head, and the largest request target within it.
    max_head_size: int = 16_384
    max_target_size: int = 8_192
    #: How many header fields a request may have, repeated names counted.
    max_head_fields: int = 100
    #: Who may connect from a browser: "same-origin", "*", or a list of exact origins.
    origins: str | Sequence[str] = "same-origin"
    #: The names, with or without a port, that the Host field may have; None allows any. A list
    #: keeps out pages that point their own name at this server (DNS rebinding).
    hosts: Sequence[str] | None = None
    #: The subprotocols spoken, the preferred one first.
    subprotocols: Sequence[str] = ()
    #: The extensions available, see `ws_middleware.extensions`; empty for none.
    extensions: Sequence[Extension] = field(default_factory=lambda: (PermessageDeflate(),))
    #: Who the peer is: a function, sync or async, of the `Request` that gives an identity, or
    #: raises `Unauthorized`, `Forbidden` or `Reject`; None asks nobody.
    authenticate: Callable[..., Any] | None = None
    #: Whether it may connect: a function, sync or async, of the `Request` and the identity that
    #: raises `Reject` or `Forbidden`, or gives False, to refuse.
    admit: Callable[..., Any] | None = None
    #: "browser" refuses what comes with an Origin by a connection that is closed at once with
    #: 4000 + status, which scripts can read; None refuses by the HTTP response alone.
    readable: Literal["browser"] | None = None
    #: Addresses and networks of proxies, "unix" for Unix sockets, that may say in Forwarded or
    #: X-Forwarded-For, -Proto and -Host whom a request comes from.
    trusted_proxies: Sequence[str] = ()
    #: How many connections all routes of a process have together.
    max_connections: int | None = 65_536
    #: How many connections come from one address, or 64 bits of an IPv6 address.
    max_connections_per_address: int | None = None
    #: How many connections one identity has.
    max_connections_per_identity: int | None = None
    #: How many handshakes come from one address, per second.
    max_handshakes_per_second: float | None = None
    #: How many failed authentications come from one address, per minute.
    max_failures_per_minute: int | None = 100

    def __post_init__(self) -> None:
        self._check_limits()
        _named("origins", self.origin_policy)
        for name in _as_list("subprotocols", self.subprotocols):
            if not is_token(name):
                raise ValueError(
                    f"subprotocols: {name!r} is not a subprotocol name (RFC 6455 §4.1)"
                )
        for host in _as_list("hosts", () if self.hosts is None else self.hosts):
            _named("hosts", parse_host, host)
        _named("trusted_proxies", parse_trust, _as_list("trusted_proxies", self.trusted_proxies))
        _check_extensions(self.extensions)
        if self.readable not in (None, "browser"):
            raise ValueError(f"readable={self.readable!r} is neither 'browser' nor None")
        for name in ("authenticate", "admit"):
            function = getattr(self, name)
            if function is not None:
                check_asked(function, f"{name} is a function of the request")

    def _check_limits(self) -> None:
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not _is_positive(value):
                raise ValueError(f"{name}={value!r} is not a positive number; None means no limit")
        for name in _WHOLE:
            value = getattr(self, name)
            if value is not None and not hasattr(value, "__index__"):
                raise ValueError(f"{name}={value!r} is not a whole number")
        for name in _REQUIRED:
            if getattr(self, name) is None:
                raise ValueError(f"{name} cannot be without a limit")

    def replaced(self, **changes: Any) -> Options:
        """Make options that differ in some; `TypeError` names the one that was meant."""
        known = self.__dataclass_fields__
        if unknown := changes.keys() - known.keys():
            raise TypeError(f"there is no option {suggest(min(unknown), known)}")
        return replace(self, **changes)

    def origin_policy(self) -> OriginPolicy:
        """Make the policy that `origins` describes."""
        return make_origin_policy(self.origins)


_REQUIRED = (
    "max_queue",
    "close_timeout",
    "write_high_water",
    "max_head_size",
    "max_target_size",
    "max_head_fields",
)
_WHOLE = tuple(option.name for option in fields(Options) if str(option.type).startswith("int"))
_POSITIVE = tuple(
    option.name for option in fields(Options) if str(option.type).startswith(("int", "float"))
)


def suggest(name: str, names: Iterable[str]) -> str:
    """Give a name that is none of these, and the one that was meant, if that can be told."""
    near = difflib.get_close_matches(name, names, 1, cutoff=0.8)
    return f"{name}: write {near[0]}" if near else name


def check_asked(function: object, what: str) -> None:
    """Refuse what cannot be asked about a peer, and classes: made, an object looks like a yes."""
    if isinstance(function, type):
        name = function.__name__
        raise TypeError(f"{what}, and {name} is a class: make an object of it, {name}(...)")
    if not callable(function):
        # What it says of itself may be secret.
        raise TypeError(f"{what}, not {type(function).__name__}")


def _is_positive(value: Any) -> bool:
    try:
        return bool(value > 0)
    except TypeError:
        return False


def _as_list(name: str, names: Any) -> tuple[str, ...]:
    if not isinstance(names, str) and isinstance(names, Iterable):
        listed = tuple(names)
        if all(isinstance(one, str) for one in listed):
            return listed
    raise ValueError(f"{name}={names!r} is not a list of names")


def _named(name: str, check: Callable[..., object], *arguments: object) -> None:
    """Let the complaint of a check begin with the setting that it is about."""
    try:
        check(*arguments)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _check_extensions(extensions: Any) -> None:
    wrong: object = extensions
    if isinstance(extensions, Iterable) and not isinstance(extensions, str):
        wrong = next((one for one in extensions if not isinstance(one, Extension)), None)
        if wrong is None:
            return
    raise TypeError(
        f"extensions is a list of objects such as PermessageDeflate(), () for none, not {wrong!r}"
    )
