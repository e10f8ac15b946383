"""Who has a place: caps, rates, what is given back, and who is told to close."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ws_middleware.core.endpoint import Endpoint
from ws_middleware.core.handshake import RequestHead
from ws_middleware.errors import HandshakeError
from ws_middleware.gate import Gate, Place, address_key
from ws_middleware.info import ConnectionInfo
from ws_middleware.options import Options
from ws_middleware.request import Address, Request

HOME: Address = ("192.0.2.1", 1000)
AWAY: Address = ("192.0.2.2", 1000)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Told(ConnectionInfo):
    """Be a connection that notes what it was told."""

    def __init__(self, identity: object = None) -> None:
        endpoint = Endpoint("server", Options())
        super().__init__(endpoint, Request(RequestHead("GET", "/", "1.1", [])), identity=identity)
        self.told: list[tuple[int, str]] = []

    def start_closing(self, code: int, reason: str) -> None:
        self.told.append((code, reason))
        self._endpoint.close(code, reason)


def at_once(call: Callable[[], None]) -> None:
    call()


def refusal(gate: Gate, address: Address, options: Options) -> HandshakeError:
    with pytest.raises(HandshakeError) as error:
        gate.enter(address, options)
    return error.value


def seat(gate: Gate, identity: object = None) -> tuple[Told, Place]:
    place = gate.enter(HOME, Options())
    connection = Told(identity)
    place.occupy(connection, at_once)
    return connection, place


def test_address_of_ipv4_stands_for_itself_and_of_ipv6_for_its_network() -> None:
    assert address_key(("192.0.2.1", 1)) == address_key(("::ffff:192.0.2.1", 2, 0, 0))
    assert address_key(("192.0.2.1", 1)) != address_key(("192.0.2.2", 1))
    assert address_key(("2001:db8::1", 1)) == address_key(("2001:db8::ffff:2", 2))
    assert address_key(("2001:db8:0:1::1", 1)) != address_key(("2001:db8:0:2::1", 1))
    assert address_key("") == address_key("/run/socket") == "unix"
    assert address_key(None) is None
    assert address_key(("elsewhere", 1)) == "elsewhere"


@pytest.mark.fault(98)
def test_one_more_than_all_is_refused_until_one_leaves() -> None:
    gate, options = Gate(), Options(max_connections=2)
    first, _ = gate.enter(HOME, options), gate.enter(AWAY, options)
    error = refusal(gate, AWAY, options)
    assert (error.status, dict(error.headers)) == (503, {"Retry-After": "5"})
    assert "max_connections=2" in error.reason
    first.leave()
    gate.enter(AWAY, options)
    assert len(gate) == 2


@pytest.mark.fault(98)
def test_one_address_does_not_take_the_places_of_another() -> None:
    gate, options = Gate(), Options(max_connections_per_address=1)
    place = gate.enter(HOME, options)
    error = refusal(gate, ("192.0.2.1", 1001), options)
    assert (error.status, dict(error.headers)) == (429, {"Retry-After": "5"})
    assert "max_connections_per_address=1" in error.reason
    gate.enter(AWAY, options)
    place.leave()
    gate.enter(HOME, options)


def test_identity_has_so_many_connections() -> None:
    gate, options = Gate(), Options()
    first, second = gate.enter(HOME, options), gate.enter(AWAY, options)
    first.identify("ann", 1)
    with pytest.raises(HandshakeError, match="max_connections_per_identity=1") as error:
        second.identify("ann", 1)
    assert error.value.status == 429
    second.identify("bob", 1)
    first.leave()
    gate.enter(HOME, options).identify("ann", 1)


def test_identity_need_not_be_hashable() -> None:
    gate = Gate()
    gate.enter(HOME, Options()).identify({"sub": "ann"}, 1)
    gate.enter(HOME, Options()).identify({"sub": "bob"}, 1)
    with pytest.raises(HandshakeError):
        gate.enter(HOME, Options()).identify({"sub": "ann"}, 1)


def test_nobody_is_not_counted() -> None:
    gate = Gate()
    for _ in range(3):
        gate.enter(HOME, Options()).identify(None, 1)


def test_place_is_given_back_once_and_nothing_is_kept() -> None:
    gate, options = Gate(), Options(max_connections_per_address=5)
    places = [gate.enter(HOME, options) for _ in range(3)]
    for place in places:
        place.identify("ann", 5)
    for place in [*places, *places]:
        place.leave()
    assert len(gate) == 0
    assert not gate._addresses
    assert not gate._identities


def test_place_that_was_left_takes_no_part() -> None:
    gate = Gate()
    place = gate.enter(HOME, Options())
    place.leave()
    place.identify("ann", 1)
    place.occupy(Told("ann"), at_once)
    assert gate.close_where(lambda _: True, 4401, "") == 0
    assert not gate._identities


def test_handshakes_have_a_rate() -> None:
    clock = Clock()
    gate, options = Gate(clock), Options(max_handshakes_per_second=2)
    gate.enter(HOME, options).leave()
    gate.enter(HOME, options).leave()
    error = refusal(gate, HOME, options)
    assert (error.status, dict(error.headers)) == (429, {"Retry-After": "1"})
    assert "max_handshakes_per_second=2" in error.reason
    gate.enter(AWAY, options)
    clock.now += 0.5
    gate.enter(HOME, options)


def test_slow_rate_lets_one_in_at_once() -> None:
    clock = Clock()
    gate, options = Gate(clock), Options(max_handshakes_per_second=0.1)
    gate.enter(HOME, options)
    assert dict(refusal(gate, HOME, options).headers) == {"Retry-After": "10"}


def test_failures_are_counted_and_forgiven() -> None:
    clock = Clock()
    gate, options = Gate(clock), Options(max_failures_per_minute=2, authenticate=len)
    for _ in range(2):
        gate.enter(HOME, options)
        gate.note_failure(HOME, options)
    error = refusal(gate, HOME, options)
    assert (error.status, dict(error.headers)) == (429, {"Retry-After": "30"})
    assert "max_failures_per_minute=2" in error.reason
    gate.enter(AWAY, options)
    gate.enter(HOME, Options())  # where nobody is asked, nobody guesses
    clock.now += 30
    gate.enter(HOME, options)


def test_failures_may_be_left_uncounted() -> None:
    gate, options = Gate(), Options(max_failures_per_minute=None, authenticate=len)
    for _ in range(1000):
        gate.note_failure(HOME, options)
    gate.enter(HOME, options)


def test_whoever_matches_is_closed() -> None:
    gate = Gate()
    ann, _ = seat(gate, "ann")
    bob, _ = seat(gate, "bob")
    assert gate.close_where(lambda one: one.identity == "ann", 4403, "banned") == 1
    assert (ann.told, bob.told) == ([(4403, "banned")], [])
    assert gate.close_where(lambda one: one.identity == "ann", 4403, "banned") == 0  # it closes


@pytest.mark.fault(49)
def test_handshake_under_way_is_closed_once_it_is_open() -> None:
    gate = Gate()
    places = [gate.enter(HOME, Options()) for _ in range(2)]
    assert gate.close_where(lambda one: one.identity == "ann", 4401, "revoked") == 0
    ann, bob = Told("ann"), Told("bob")
    places[0].occupy(ann, at_once)
    places[1].occupy(bob, at_once)
    assert (ann.told, bob.told) == ([(4401, "revoked")], [])


def test_connection_of_a_loop_that_is_closed_harms_nobody() -> None:
    gate = Gate()
    place = gate.enter(HOME, Options())

    def closed(call: Callable[[], None]) -> None:
        raise RuntimeError("Event loop is closed")

    place.occupy(Told("ann"), closed)
    bob, _ = seat(gate, "ann")
    gate.close_where(lambda _: True, 4401, "")
    assert bob.told == [(4401, "")]


def test_threads_do_not_lose_count() -> None:
    gate, options = Gate(), Options(max_connections=50, max_connections_per_address=50)
    highest = 0
    errors: list[Any] = []

    def work() -> None:
        nonlocal highest
        for _ in range(300):
            try:
                place = gate.enter(HOME, options)
            except HandshakeError as error:
                errors.append(error)
                continue
            highest = max(highest, len(gate))
            place.identify("ann", None)
            place.leave()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(gate) == 0
    assert 0 < highest <= 50
    assert not gate._addresses


@pytest.mark.fault(104)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_child_of_a_fork_begins_with_nobody_and_a_free_lock() -> None:
    gate, options = Gate(), Options(max_connections=1)
    gate.enter(HOME, options)
    holds, goes_on = threading.Event(), threading.Event()

    def hold() -> None:
        with gate._lock:
            holds.set()
            goes_on.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait()
    child = os.fork()
    if child == 0:
        place = gate.enter(HOME, options)
        place.leave()
        os._exit(len(gate))
    goes_on.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert len(gate) == 1
