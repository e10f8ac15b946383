"""The extended CONNECT: what is one, and the handshake of HTTP/1.1 that means the same."""

from __future__ import annotations

import pytest

from ws_middleware.core.extended_connect import (
    accepting_status,
    as_upgrade,
    fields_for,
    is_extended_connect,
)
from ws_middleware.core.handshake import RequestHead, check_request, upgrade_fields

VERSION = ("sec-websocket-version", "13")


def head(
    method: str = "CONNECT",
    target: str = "/chat?x=1",
    version: str = "2",
    fields: tuple[tuple[str, str], ...] = (("host", "test"), VERSION),
) -> RequestHead:
    return RequestHead(method, target, version, list(fields))


@pytest.mark.parametrize("version", ["2", "3"])
def test_connect_with_a_path_and_a_version_of_websocket(version: str) -> None:
    assert is_extended_connect(head(version=version))


@pytest.mark.parametrize(
    "other",
    [
        head(method="GET"),
        head(version="1.1"),
        head(target="example.com:443"),
        head(fields=(("host", "test"),)),
    ],
)
def test_everything_else_is_something_else(other: RequestHead) -> None:
    assert not is_extended_connect(other)


def test_its_meaning_passes_every_check_of_the_opening_handshake() -> None:
    meant = as_upgrade(head())
    assert (meant.method, meant.target, meant.version) == ("GET", "/chat?x=1", "1.1")
    assert check_request(meant)


def test_fields_without_a_meaning_in_a_stream_are_not_believed() -> None:
    fields = (("host", "test"), VERSION, ("sec-websocket-key", "x"), ("connection", "close"))
    meant = as_upgrade(head(fields=fields))
    assert check_request(meant), "the key of the peer is not used"


def test_response_leaves_out_what_a_stream_has_no_use_for() -> None:
    fields = [*upgrade_fields("dGhlIHNhbXBsZSBub25jZQ==", "chat", ()), ("X-More", "1")]
    assert fields_for("2", fields) == [("Sec-WebSocket-Protocol", "chat"), ("X-More", "1")]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_what_came_in_http1_stays_as_it_is(version: str) -> None:
    request = RequestHead("GET", "/chat", version, [("Upgrade", "websocket")])
    assert as_upgrade(request) is request
    assert fields_for(version, request.fields) == request.fields


@pytest.mark.parametrize(("version", "status"), [("1.1", 101), ("2", 200), ("3", 200)])
def test_status_that_accepts(version: str, status: int) -> None:
    assert accepting_status(version) == status
