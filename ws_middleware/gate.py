"""Who is connected and who tries to: caps, rates, and closing what was revoked.

Rule 1: one gate belongs to one `WebSockets`, and all its mounts, threads and loops pass it.
Rule 2: whoever enters gets a place and leaves it once, however the handshake or the
connection ends. Rule 3: nobody waits while holding the lock.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from ipaddress import IPv6Address
from typing import Any

from ws_middleware.core.endpoint import State
from ws_middleware.core.forwarding import UNIX, parse_address
from ws_middleware.core.throttle import Throttle
from ws_middleware.errors import HandshakeError
from ws_middleware.info import ConnectionInfo
from ws_middleware.native import make_lock, renew_after_fork
from ws_middleware.options import Options
from ws_middleware.request import Address

__all__ = ["Gate", "Place", "Teller", "address_key", "counts_addresses"]

#: Runs a call where a connection lives, from any thread and without waiting for it.
Teller = Callable[[Callable[[], None]], object]

#: How long those who are refused for want of a free connection should wait, in seconds.
RETRY_AFTER = 5


def address_key(address: Address) -> Hashable:
    """Give what one customer of a network has: an IPv4 address, or 64 bits of an IPv6 one.

    >>> address_key(("2001:db8::1:2:3:4", 8000)) == address_key(("2001:db8::5", 1))
    True
    """
    if not isinstance(address, tuple):
        return UNIX if isinstance(address, str) else None
    parsed = parse_address(str(address[0]))
    return int(parsed) >> 64 if isinstance(parsed, IPv6Address) else str(parsed or address[0])


class Place:
    """Be the place of one handshake and of the connection that it becomes."""

    __slots__ = ("_address", "_counted_identity", "_gate", "connection", "teller", "verdicts")

    def __init__(self, gate: Gate, address: Hashable) -> None:
        self._gate: Gate | None = gate
        self._address = address
        self._counted_identity: Hashable = None
        self.connection: ConnectionInfo | None = None
        self.teller: Teller | None = None
        #: What was decided about the connection before it was open.
        self.verdicts: Sequence[Callable[[Place], object]] = ()

    def identify(self, identity: Any, limit: int | None) -> None:
        """Count a connection as one of somebody's; 429 where he has too many."""
        if limit is not None and identity is not None and self._gate is not None:
            self._counted_identity = self._gate.count_identity(_hashable(identity), limit)

    def occupy(self, connection: ConnectionInfo, teller: Teller) -> None:
        """Note the open connection."""
        if self._gate is not None:
            for verdict in self._gate.seat(self, connection, teller):
                verdict(self)

    def leave(self) -> None:
        """Give the place back, once."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.forget(self, self._address, self._counted_identity)


def _hashable(identity: Any) -> Hashable:
    try:
        hash(identity)
    except TypeError:
        return repr(identity)
    hashable: Hashable = identity
    return hashable


class Gate:
    """Count handshakes and connections, and refuse what goes over a cap of `Options`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begin_anew()
        renew_after_fork(self, Gate._begin_anew)

    def _begin_anew(self) -> None:
        """Count from nobody on: after a fork the connections are the parent's."""
        self._lock = make_lock()
        self._places: set[Place] = set()
        self._addresses: Counter[Hashable] = Counter()
        self._identities: Counter[Hashable] = Counter()
        self._attempts = Throttle()
        self._failures = Throttle()

    def __len__(self) -> int:
        """Count connections, and handshakes under way."""
        return len(self._places)

    def enter(self, address: Address, options: Options) -> Place:
        """Give a place to a handshake, or refuse it with 503 or 429."""
        key = address_key(address) if counts_addresses(options) else None
        with self._lock:
            if key is not None:
                self._check_rates(key, options)
                limit = options.max_connections_per_address
                if limit is not None and self._addresses[key] >= limit:
                    raise _too_many(429, f"max_connections_per_address={limit}")
            limit = options.max_connections
            if limit is not None and len(self._places) >= limit:
                raise _too_many(503, f"max_connections={limit}")
            place = Place(self, key)
            self._places.add(place)
            if key is not None:
                self._addresses[key] += 1
            return place

    def _check_rates(self, key: Hashable, options: Options) -> None:
        now = self._clock()
        failures = options.max_failures_per_minute
        if failures is not None:
            pause = self._failures.wait(key, now, rate=failures / 60, burst=failures)
            _check_pause(pause, f"max_failures_per_minute={failures}")
        rate = options.max_handshakes_per_second
        if rate is not None:
            pause = self._attempts.take(key, now, rate=rate, burst=max(rate, 1.0))
            _check_pause(pause, f"max_handshakes_per_second={rate}")

    def note_failure(self, address: Address, options: Options) -> None:
        """Count an authentication that failed."""
        failures = options.max_failures_per_minute
        if failures is not None:
            key = address_key(address)
            with self._lock:
                self._failures.take(key, self._clock(), rate=failures / 60, burst=failures)

    def count_identity(self, identity: Hashable, limit: int) -> Hashable:
        """Count a connection of an identity; 429 over the limit."""
        with self._lock:
            if self._identities[identity] >= limit:
                raise _too_many(429, f"max_connections_per_identity={limit}")
            self._identities[identity] += 1
            return identity

    def forget(self, place: Place, address: Hashable, identity: Hashable) -> None:
        """Take back what a place was counted for."""
        with self._lock:
            self._places.discard(place)
            for counts, key in ((self._addresses, address), (self._identities, identity)):
                if key is not None:
                    counts[key] -= 1
                    if counts[key] <= 0:
                        del counts[key]  # no memory for those who are gone

    def seat(
        self, place: Place, connection: ConnectionInfo, teller: Teller
    ) -> Sequence[Callable[[Place], object]]:
        """Note who has a place now; gives what was decided about him before."""
        with self._lock:
            place.connection, place.teller = connection, teller
            verdicts, place.verdicts = place.verdicts, ()
            return verdicts

    def close_where(
        self, matches: Callable[[ConnectionInfo], object], code: int, reason: str
    ) -> int:
        """Close all connections that match; handshakes under way follow once they are open."""

        def judge(place: Place) -> bool:
            connection: Any = place.connection
            if connection.state is not State.OPEN or not matches(connection):
                return False
            call = functools.partial(connection.start_closing, code, reason)
            assert place.teller is not None
            with contextlib.suppress(RuntimeError):  # its loop is closed, and it with it
                place.teller(call)
            return True

        with self._lock:
            places = [place for place in self._places if place.connection is not None]
            for place in self._places.difference(places):
                place.verdicts = (*place.verdicts, judge)
        return sum(map(judge, places))


def counts_addresses(options: Options) -> bool:
    """Tell whether any option asks where a handshake comes from."""
    return (
        options.max_connections_per_address is not None
        or options.max_handshakes_per_second is not None
        or (options.authenticate is not None and options.max_failures_per_minute is not None)
    )


def _too_many(status: int, setting: str) -> HandshakeError:
    return HandshakeError(
        status,
        f"there are {setting} connections already",
        [("Retry-After", str(RETRY_AFTER))],
    )


def _check_pause(pause: float, setting: str) -> None:
    if pause:
        raise HandshakeError(
            429,
            f"too many attempts from this address (setting: {setting})",
            [("Retry-After", str(math.ceil(pause)))],
        )
