"""From an environ to a request: what servers glue, drop and misreport is seen through."""

from __future__ import annotations

from typing import Any

import pytest

from ws_middleware.wsgi.environ import make_request
from ws_middleware.wsgi.types import Environ


def environ(**changes: Any) -> Environ:
    values = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/chat",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "example.com",
        "wsgi.url_scheme": "http",
        **changes,
    }
    return {key: value for key, value in values.items() if value is not None}


def fields(**changes: Any) -> list[tuple[str, str]]:
    return list(make_request(environ(**{"HTTP_HOST": None, **changes})).head.fields)


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({}, "/chat"),
        ({"PATH_INFO": ""}, "/"),
        ({"QUERY_STRING": "a=1&b=%20"}, "/chat?a=1&b=%20"),
        ({"PATH_INFO": "/a b"}, "/a%20b"),
        ({"PATH_INFO": "/ö".encode().decode("latin-1")}, "/%C3%B6"),
        ({"PATH_INFO": "/what?"}, "/what%3F"),
        ({"PATH_INFO": "/\xff"}, "/%EF%BF%BD"),
        ({"SCRIPT_NAME": "/app"}, "/app/chat"),
        # The target as it was sent, where it names the path that the app sees.
        ({"RAW_URI": "/ch%61t?x"}, "/ch%61t?x"),
        ({"REQUEST_URI": "/ch%61t?x"}, "/ch%61t?x"),
        ({"RAW_URI": "/other"}, "/chat"),
        ({"RAW_URI": "http://example.com/chat"}, "/chat"),
    ],
)
def test_target(changes: dict[str, Any], target: str) -> None:
    assert make_request(environ(**changes)).target == target


def test_path_is_the_one_that_the_app_sees() -> None:
    request = make_request(environ(SCRIPT_NAME="/app/", PATH_INFO="/a b"))
    assert make_request(environ(SCRIPT_NAME="/app", PATH_INFO="/a b")).path == "/a b"
    assert request.root_path == "/app"


@pytest.mark.parametrize(
    ("changes", "version"),
    [
        ({}, "1.1"),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, "1.0"),
        ({"SERVER_PROTOCOL": "HTTP/2"}, "2"),
        ({"SERVER_PROTOCOL": "INCLUDED"}, ""),
        ({"SERVER_PROTOCOL": None}, ""),
        ({"SERVER_PROTOCOL": "HTTP/1.0", "eventlet.input": object()}, "1.1"),
    ],
)
def test_version(changes: dict[str, Any], version: str) -> None:
    assert make_request(environ(**changes)).head.version == version


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("HTTP_X_FORWARDED_FOR", "1, 2", [("x-forwarded-for", "1, 2")]),
        ("HTTP_COOKIE", " a=b ", [("cookie", "a=b")]),
        ("CONTENT_TYPE", "text/plain", [("content-type", "text/plain")]),
        ("CONTENT_TYPE", "", []),
        ("CONTENT_LENGTH", "0", [("content-length", "0")]),
        ("CONTENT_LENGTH", "", []),
        ("HTTPS", "on", []),
        ("SERVER_NAME", "x", []),
    ],
)
def test_fields(key: str, value: str, expected: list[tuple[str, str]]) -> None:
    assert fields(**{key: value}) == expected


@pytest.mark.parametrize("separator", [",", ", ", " , "])
@pytest.mark.parametrize("name", ["Host", "Origin", "Sec-WebSocket-Version"])
def test_lines_that_the_server_joined_are_parted(name: str, separator: str) -> None:
    key = "HTTP_" + name.upper().replace("-", "_")
    lines = [(name.lower(), "one"), (name.lower(), "two")]
    assert fields(**{key: f"one{separator}two"}) == lines


@pytest.mark.parametrize(
    ("changes", "address"),
    [
        ({"REMOTE_ADDR": "::1", "REMOTE_PORT": "80"}, ("::1", 80)),
        ({"REMOTE_ADDR": "1.2.3.4", "REMOTE_PORT": 80}, ("1.2.3.4", 80)),
        ({"REMOTE_ADDR": "1.2.3.4"}, ("1.2.3.4", 0)),
        ({"REMOTE_ADDR": "1.2.3.4", "REMOTE_PORT": "²"}, ("1.2.3.4", 0)),
        ({"REMOTE_ADDR": ""}, ""),
        ({}, None),
    ],
)
def test_address(changes: dict[str, Any], address: tuple[str, int] | None) -> None:
    assert make_request(environ(**changes)).remote_address == address


def test_scheme() -> None:
    assert make_request(environ(**{"wsgi.url_scheme": "https"})).secure
    assert not make_request(environ()).secure


def test_handler_gets_a_copy_without_the_servers_objects() -> None:
    server = object()
    keys = ("gunicorn.socket", "werkzeug.socket", "apache.request_rec", "wsgi.input")
    given = environ(**dict.fromkeys(keys, server), **{"my.key": 1})
    kept = make_request(given).environ
    assert kept is not None
    assert server not in kept.values()
    assert kept["my.key"] == 1
    assert kept["wsgi.input"].read() == b""
    assert given["wsgi.input"] is server
