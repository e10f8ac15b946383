"""The defaults, and what no option may be."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from ws_middleware.extensions import PermessageDeflate
from ws_middleware.options import Options

#: The defaults that the documentation promises.
DEFAULTS = {
    "max_message_size": 1_048_576,
    "max_frame_size": None,
    "max_fragments": 65_536,
    "max_queue": 16,
    "ping_interval": 20.0,
    "ping_timeout": 20.0,
    "open_timeout": 10.0,
    "close_timeout": 10.0,
    "write_high_water": 65_536,
    "max_head_size": 16_384,
    "max_target_size": 8_192,
    "max_head_fields": 100,
    "origins": "same-origin",
    "hosts": None,
    "subprotocols": (),
    "extensions": (PermessageDeflate(),),
    "authenticate": None,
    "admit": None,
    "readable": None,
    "trusted_proxies": (),
    "max_connections": 65_536,
    "max_connections_per_address": None,
    "max_connections_per_identity": None,
    "max_handshakes_per_second": None,
    "max_failures_per_minute": 100,
}
NUMBERS = [name for name, value in DEFAULTS.items() if isinstance(value, int | float)]
UNLIMITED = [
    "max_frame_size",
    "max_connections_per_address",
    "max_connections_per_identity",
    "max_handshakes_per_second",
]
REQUIRED = [
    "max_queue",
    "close_timeout",
    "write_high_water",
    "max_head_size",
    "max_target_size",
    "max_head_fields",
]


def test_defaults_are_what_is_promised() -> None:
    assert dataclasses.asdict(Options()).keys() == DEFAULTS.keys()
    assert {name: getattr(Options(), name) for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("name", [*NUMBERS, *UNLIMITED])
@pytest.mark.parametrize("value", [0, -1, -0.5, float("nan")])
def test_number_has_to_be_positive(name: str, value: float) -> None:
    changes: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"^{name}={value} is not a positive number"):
        Options(**changes)


@pytest.mark.parametrize(
    "name", ["max_message_size", "max_frame_size", "max_fragments", "max_queue", "max_connections"]
)
def test_bytes_and_messages_are_counted_in_whole_numbers(name: str) -> None:
    changes: dict[str, Any] = {name: 1e6}
    with pytest.raises(ValueError, match=f"^{name}=1000000.0 is not a whole number"):
        Options(**changes)
    changes = {name: 1 << 70}
    assert getattr(Options(**changes), name) == 1 << 70


@pytest.mark.parametrize("name", NUMBERS)
def test_number_has_to_be_one(name: str) -> None:
    changes: dict[str, Any] = {name: "1MB"}
    with pytest.raises(ValueError, match=f"^{name}='1MB' is not a positive number"):
        Options(**changes)


@pytest.mark.parametrize("name", sorted({*NUMBERS, *UNLIMITED} - {*REQUIRED}))
def test_none_is_no_limit(name: str) -> None:
    changes: dict[str, Any] = {name: None}
    assert getattr(Options(**changes), name) is None


@pytest.mark.parametrize("name", REQUIRED)
def test_some_things_need_a_limit(name: str) -> None:
    changes: dict[str, Any] = {name: None}
    with pytest.raises(ValueError, match=f"^{name} cannot be without a limit"):
        Options(**changes)


@pytest.mark.row(63)
@pytest.mark.parametrize("name", ["", "a b", "a,b", "a/b", "\xe4", "a\n"])
def test_subprotocol_has_to_be_a_token(name: str) -> None:
    with pytest.raises(ValueError, match=r"^subprotocols: .* is not a subprotocol name"):
        Options(subprotocols=["good", name])


@pytest.mark.parametrize("host", ["", "a b", "http://a", "a:x"])
def test_hosts_have_to_be_hosts(host: str) -> None:
    with pytest.raises(ValueError, match=r"^hosts: .* is not a"):
        Options(hosts=["good", host])


@pytest.mark.parametrize("name", ["subprotocols", "hosts", "trusted_proxies"])
@pytest.mark.parametrize("wrong", ["", "chat", 3, b"chat", [None]])
def test_list_of_names_is_nothing_else(name: str, wrong: object) -> None:
    changes: dict[str, Any] = {name: wrong}
    with pytest.raises(
        ValueError, match=f"^{name}={re.escape(repr(wrong))} is not a list of names"
    ):
        Options(**changes)


def test_hosts_may_be_none_at_all() -> None:
    assert Options(hosts=[]).hosts == []


@pytest.mark.parametrize("origins", ["https://a.example", None, 3])
def test_origins_have_to_be_a_policy(origins: Any) -> None:
    with pytest.raises(ValueError, match=r"^origins: .* is not a policy"):
        Options(origins=origins)


@pytest.mark.parametrize("origin", ["a.example", "*", "https://a.example/", "https://", None])
def test_listed_origins_have_to_be_some(origin: Any) -> None:
    with pytest.raises(ValueError, match=f"^origins: {re.escape(repr(origin))} is not an origin"):
        Options(origins=["https://b.example", origin])


@pytest.mark.parametrize(
    "wrong", [None, PermessageDeflate(), "x", ["permessage-deflate"], [PermessageDeflate]]
)
def test_extensions_have_to_be_some(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^extensions is a list of objects such as"):
        Options(extensions=wrong)


def test_origins_make_a_policy() -> None:
    policy = Options(origins=["https://a.example"]).origin_policy()
    assert policy(("https", "a.example", 443), "b.example", False)
    assert not policy(("https", "b.example", 443), "b.example", False)


@pytest.mark.parametrize("name", ["authenticate", "admit"])
def test_whoever_is_asked_has_to_be_a_function(name: str) -> None:
    changes: dict[str, Any] = {name: "secret"}
    with pytest.raises(TypeError, match=f"^{name} is a function of the request, not str$"):
        Options(**changes)


@pytest.mark.parametrize("name", ["authenticate", "admit"])
def test_class_is_not_what_its_object_would_be(name: str) -> None:
    class Guard:
        """Be made of a request without a complaint, as `Basic` is: that would admit anybody."""

        def __init__(self, request: object) -> None: ...

    changes: dict[str, Any] = {name: Guard}
    with pytest.raises(TypeError, match=rf"{name} is .* Guard is a class: .* Guard\(\.\.\.\)"):
        Options(**changes)


def test_readable_is_one_word() -> None:
    changes: dict[str, Any] = {"readable": True}
    with pytest.raises(ValueError, match=r"^readable=True is neither 'browser' nor None"):
        Options(**changes)


@pytest.mark.parametrize("name", ["proxy.example", "10.0.0.1/8", "", "unix:/run/nginx"])
def test_trusted_proxies_have_to_be_addresses(name: str) -> None:
    with pytest.raises(
        ValueError, match=r"^trusted_proxies: .*(does not appear|has host bits set)"
    ):
        Options(trusted_proxies=["unix", "::1", "10.0.0.0/8", name])


def test_options_never_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().max_queue = 1  # type: ignore[misc]


def test_options_are_named() -> None:
    with pytest.raises(TypeError):
        Options(2**20)  # type: ignore[call-arg]
