"""Whom proxies speak for: only those who are trusted, and only as far as trust goes."""

from __future__ import annotations

import pytest

from ws_middleware.core.forwarding import Hop, find_origin, parse_address, parse_trust

TRUST = parse_trust(("10.0.0.0/8", "::1", "unix", "2001:db8:1::/48"))


def origin(*fields: tuple[str, str], peer: str = "10.0.0.1") -> Hop | None:
    return find_origin(fields, peer, TRUST)


@pytest.mark.parametrize("address", ["10.1.2.3", "::1", "unix", "2001:db8:1::5", "::ffff:10.0.0.1"])
def test_trust_covers_what_is_listed(address: str) -> None:
    assert TRUST.covers(address)


@pytest.mark.parametrize("address", ["11.0.0.1", "::2", "", "localhost", "2001:db8:2::5"])
def test_trust_covers_nothing_else(address: str) -> None:
    assert not TRUST.covers(address)
    assert not parse_trust(("10.0.0.0/8",)).covers("unix")


def test_addresses_are_read() -> None:
    assert str(parse_address("::ffff:192.0.2.1")) == "192.0.2.1"
    assert str(parse_address("::1")) == "::1"
    assert parse_address("192.0.2.256") is None


@pytest.mark.fault(24)
@pytest.mark.parametrize("peer", ["192.0.2.1", "", "localhost"])
def test_peer_who_is_not_trusted_is_not_heard(peer: str) -> None:
    assert origin(("X-Forwarded-For", "192.0.2.7"), peer=peer) is None
    assert origin(("Forwarded", "for=192.0.2.7"), peer=peer) is None


def test_nothing_is_told_where_nothing_is_sent() -> None:
    assert origin(("X-Real-IP", "192.0.2.7"), ("X-Forwarded-Proto", "https")) is None


@pytest.mark.fault(24)
@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("6.6.6.6, 192.0.2.7", "192.0.2.7"),
        ("6.6.6.6, 192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("6.6.6.6,192.0.2.7 ,10.0.0.2,2001:db8:1::1", "192.0.2.7"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("6.6.6.6, unknown, 10.0.0.2", "10.0.0.2"),
        ("6.6.6.6, , 10.0.0.2", "10.0.0.2"),
    ],
)
def test_walk_goes_from_the_right_as_far_as_there_is_trust(told: str, address: str) -> None:
    found = origin(("X-Forwarded-For", told))
    assert found is not None
    assert found.address == address


@pytest.mark.parametrize("told", ["unknown", "", "6.6.6.6, junk", "6.6.6.6, <script>", "::1::"])
def test_what_is_no_address_ends_the_walk(told: str) -> None:
    assert origin(("X-Forwarded-For", told)) is None


def test_lines_are_one_list() -> None:
    found = origin(("X-Forwarded-For", "6.6.6.6"), ("x-forwarded-for", "192.0.2.7, 10.0.0.2"))
    assert found is not None
    assert found.address == "192.0.2.7"


def test_port_is_told_where_it_is_written() -> None:
    assert origin(("X-Forwarded-For", "192.0.2.7:4711")) == Hop("192.0.2.7", 4711)
    assert origin(("Forwarded", 'for="[2001:db8::7]:4711"')) == Hop("2001:db8::7", 4711)


def test_scheme_and_host_come_along() -> None:
    fields = [("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https")]
    assert origin(*fields, ("X-Forwarded-Host", "chat.example")) == Hop(
        "192.0.2.7", 0, "https", "chat.example"
    )


@pytest.mark.parametrize(
    ("schemes", "scheme"), [("https, http", "https"), ("ftp, gopher, https", "https")]
)
def test_list_of_schemes_is_beside_that_of_addresses_or_its_last_one_counts(
    schemes: str, scheme: str
) -> None:
    found = origin(("X-Forwarded-For", "192.0.2.7, 10.0.0.2"), ("X-Forwarded-Proto", schemes))
    assert found is not None
    assert found.scheme == scheme


@pytest.mark.parametrize(
    "element",
    [
        "for=192.0.2.7;proto=https;host=chat.example",
        'For="192.0.2.7"; Proto="https"; Host="chat.example"',
        'by=10.0.0.1;host="chat.example";x="a,b;for=6.6.6.6";for=192.0.2.7;proto=https',
        "for=6.6.6.6, for=192.0.2.7;proto=https;host=chat.example, for=10.0.0.2;proto=http",
    ],
)
def test_forwarded_is_read_as_its_rfc_says(element: str) -> None:
    """RFC 7239 §4: pairs in any order and case, values as tokens or quoted strings."""
    assert origin(("Forwarded", element)) == Hop("192.0.2.7", 0, "https", "chat.example")


def test_proxy_may_be_the_client() -> None:
    assert origin(("Forwarded", "for=10.0.0.3, for=10.0.0.2")) == Hop("10.0.0.3")


@pytest.mark.parametrize("element", ["for=_hidden", "for=unknown", "proto=https", ";;,", '"', "="])
def test_forwarded_may_hide_or_be_broken(element: str) -> None:
    assert origin(("Forwarded", element)) is None


def test_proxies_that_contradict_are_refused() -> None:
    fields = [("Forwarded", "for=6.6.6.6"), ("X-Forwarded-For", "192.0.2.7")]
    with pytest.raises(ValueError, match="disagree"):
        origin(*fields)
    assert origin(("Forwarded", "for=192.0.2.7"), fields[1]) == Hop("192.0.2.7")


@pytest.mark.fault(10)
def test_long_lists_take_no_time() -> None:
    """A list of 16 KiB is read once."""
    found = origin(("X-Forwarded-For", ",".join(["10.0.0.2"] * 1600)))
    assert found is not None
    assert found.address == "10.0.0.2"
    assert origin(("Forwarded", '"' * 16_000)) is None
