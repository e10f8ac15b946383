"""What the log says of a connection, in one line that a peer cannot shape."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.core.wire import close
from tests.peer import TEXT, frame
from ws_middleware.core.endpoint import Endpoint
from ws_middleware.core.handshake import RequestHead
from ws_middleware.errors import HandshakeError
from ws_middleware.info import ConnectionInfo
from ws_middleware.logs import connection_finished, format_address, handshake_refused
from ws_middleware.options import Options
from ws_middleware.request import Request


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="ws_middleware")


def finish(endpoint: Endpoint, target: str = "/chat", **info: Any) -> None:
    request = Request(RequestHead("GET", target, "1.1", []), remote_address=("127.0.0.1", 9))
    connection_finished(ConnectionInfo(endpoint, request, **info), endpoint, 1.25)


def test_finished_connection_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    endpoint = Endpoint("server", Options(extensions=()))
    endpoint.receive_data(frame(TEXT, "hello") + close(4000, "bye"), 0.0)
    endpoint.send_message("hello")
    endpoint.next_message()
    endpoint.next_message()
    endpoint.data_to_send()
    endpoint.lose()
    finish(endpoint, "/chat?token=secret", identity="ann")
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.getMessage() == (
        "127.0.0.1:9 '/chat' identity='ann' 1.250s received=1/22B sent=1/11B "
        "closed with 4000 (bye) by the peer"
    )


def test_connection_without_an_identity(caplog: pytest.LogCaptureFixture) -> None:
    finish(Endpoint("server", Options()))
    assert " identity=- " in caplog.messages[0]


def test_text_of_a_peer_is_escaped(caplog: pytest.LogCaptureFixture) -> None:
    endpoint = Endpoint("server", Options(extensions=()))
    endpoint.receive_data(close(4000, "a\nb\x1b[31mé"), 0.0)
    finish(endpoint, "/%0a%1b" + "x" * 1000)
    handshake_refused(None, "/\x1b?\n", HandshakeError(404, "nothing here"))
    for message in caplog.messages:
        assert message.isascii()
        assert message.isprintable()
        assert len(message) < 400
    assert r"a\nb\x1b[31m\xe9" in caplog.messages[0]


def test_refused_handshake_is_one_line_without_the_query(caplog: pytest.LogCaptureFixture) -> None:
    error = HandshakeError(403, "may not connect (setting: origins)")
    handshake_refused(("127.0.0.1", 9), "/chat?token=secret", error)
    assert caplog.messages == [
        "127.0.0.1:9 '/chat' refused with 403: may not connect (setting: origins)"
    ]


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("127.0.0.1", 8000), "127.0.0.1:8000"),
        (("::1", 8000, 0, 0), "[::1]:8000"),
        (("localhost", 0), "localhost:0"),
        ("/run/ws.sock", "/run/ws.sock"),
        ("", "unix"),
        (None, "-"),
        (b"", "unix"),
    ],
)
def test_addresses_for_people(address: Any, text: str) -> None:
    assert format_address(address) == text
