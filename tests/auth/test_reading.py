"""Credentials are found where they stand, and taken out where others could see them."""

from __future__ import annotations

import logging

import pytest

from tests.auth.asking import LOCAL, make_request
from ws_middleware.auth.reading import (
    SecretsInTheOpen,
    paths_of,
    read_credentials,
    take_from_query,
    take_from_subprotocols,
)
from ws_middleware.errors import Reject
from ws_middleware.request import Address


@pytest.mark.row(194)
@pytest.mark.parametrize("value", ["Basic abc", "basic abc", "BASIC  abc", " Basic abc "])
def test_scheme_counts_in_any_case(value: str) -> None:
    found = read_credentials(make_request(value), "basic")
    assert found is not None
    assert found.token68 == "abc"


@pytest.mark.parametrize("value", [None, "", "Bearer abc", "Basicabc", "AWS4 a=b/c, d=e"])
def test_other_schemes_are_left_to_others(value: str | None) -> None:
    assert read_credentials(make_request(value), "basic") is None


@pytest.mark.row(199)
@pytest.mark.fault(35, 46)
def test_two_authorization_fields_are_refused() -> None:
    request = make_request("Basic abc", ("Authorization", "Basic abc"))
    with pytest.raises(Reject, match="more than once") as caught:
        read_credentials(request, "basic")
    assert caught.value.status == 400


@pytest.mark.row(199, 201)
def test_two_joined_into_one_are_malformed_and_not_told() -> None:
    with pytest.raises(ValueError, match=r"their grammar is broken \(RFC 9110 §11.4\)$"):
        read_credentials(make_request("Basic abc,Basic abc"), "basic")


def test_path_may_have_a_prefix_that_a_proxy_takes_away() -> None:
    request = make_request(target="/a%20b?x")
    assert paths_of(request) == {"/a b"}
    request.root_path = "/live"
    assert paths_of(request) == {"/a b", "/live/a b"}


def test_secrets_leave_query_and_subprotocols() -> None:
    offer = ("Sec-WebSocket-Protocol", "bearer.abc, chat")
    request = make_request(None, offer, target="/chat?token=1&x=2&token=3")
    assert take_from_query(request, "token") == ["1", "3"]
    assert take_from_query(request, "token") == []
    assert take_from_subprotocols(request, "bearer.") == ["abc"]
    assert take_from_subprotocols(request, "bearer.") == []
    assert request.target == "/chat?x=2"
    assert request.head.fields[1] == ("Sec-WebSocket-Protocol", "chat")


@pytest.mark.row(202)
@pytest.mark.parametrize(
    ("address", "secure", "warnings"),
    [
        (("192.0.2.1", 1), False, 1),
        (("2001:db8::1", 1, 0, 0), False, 1),
        (("who knows", 1), False, 1),
        (("192.0.2.1", 1), True, 0),
        (LOCAL, False, 0),
        (("::1", 1, 0, 0), False, 0),
        ("/run/socket", False, 0),
        (None, False, 0),
    ],
)
def test_secrets_without_tls_are_warned_of_once(
    address: Address, secure: bool, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_open = SecretsInTheOpen("Basic")
    with caplog.at_level(logging.WARNING, "ws_middleware"):
        for _ in range(3):
            in_the_open.note(make_request("Basic abc", remote_address=address, secure=secure))
    assert len(caplog.records) == warnings
    assert all("without TLS" in record.message for record in caplog.records)
