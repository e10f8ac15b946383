"""Where no socket can be had: a refusal that names the server and what to use instead."""

from __future__ import annotations

import sys
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from tests.peer import Peer
from tests.running import eventually, run_command
from tests.wsgi.apps import ws
from ws_middleware.wsgi.types import Environ


def handshake(**changes: Any) -> Environ:
    """Make the environ of a handshake as a server would that keeps its sockets to itself."""
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/async",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "a secretive server",
        "HTTP_HOST": "localhost",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "wsgi.url_scheme": "http",
        **changes,
    }


def ask(environ: Environ) -> tuple[str, str]:
    """Send a handshake through the middleware; gives status and text of the refusal."""
    begun: list[str] = []
    start_response: Callable[..., Any] = lambda status, fields: begun.append(status)  # noqa: E731
    (text,) = ws.wsgi(signals=False)(environ, start_response)
    return begun[0], text.decode()


@pytest.mark.parametrize("software", ["a secretive server", None])
def test_unknown_server_is_told_what_would_work(software: str | None) -> None:
    status, text = ask(handshake(SERVER_SOFTWARE=software))
    assert status == f"501 {HTTPStatus.NOT_IMPLEMENTED.phrase}"
    assert text.startswith(f"{software or 'this WSGI server'} keeps its sockets to itself")
    assert "gunicorn" in text
    assert "ws.asgi(app)" in text


@pytest.mark.parametrize(
    ("changes", "server", "advice"),
    [
        ({"mod_wsgi.process_group": "", "SERVER_SOFTWARE": "Apache"}, "mod_wsgi", "mod_proxy_http"),
        ({"mod_wsgi.process_group": "daemon"}, "mod_wsgi", "upgrade=websocket"),
        ({"SERVER_SOFTWARE": "Granian"}, "Granian", "--interface asgi"),
        ({"asgi.scope": {"type": "http"}}, "a bridge from ASGI", "ws.asgi(app)"),
    ],
)
def test_known_server_is_named_with_what_works_there(
    changes: dict[str, Any], server: str, advice: str
) -> None:
    status, text = ask(handshake(**changes))
    assert status.startswith("501 ")
    assert server in text
    assert advice in text


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"wsgi.websocket": object()}, 501, "another library has answered this handshake"),
        ({"CONTENT_LENGTH": "5"}, 400, "has no body"),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, 400, "has no body"),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, 400, "opened with HTTP/1.1"),
        ({"SERVER_PROTOCOL": "HTTP/2"}, 400, "opened with HTTP/1.1"),
        ({"SERVER_PROTOCOL": "HTTP/2.0"}, 400, "opened with HTTP/1.1"),
        ({"SERVER_PROTOCOL": ""}, 400, "opened with HTTP/1.1"),
        ({"PATH_INFO": "/nowhere"}, 404, "no WebSocket at this path"),
        ({"HTTP_HOST": "one,two"}, 400, "host field is there more than once"),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "13,8"}, 400, "there more than once"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_nothing_is_taken_where_the_request_is_wrong(
    changes: dict[str, Any], status: int, words: str
) -> None:
    said, text = ask(handshake(**changes))
    assert said == f"{status} {HTTPStatus(status).phrase}"
    assert words in text


@pytest.mark.parametrize(
    ("protocol", "status", "words"),
    [
        # uvicorn speaks the protocol itself, and the bridge passes on plain requests only.
        ("auto", b"403", b""),
        ("none", b"501", b"ws.asgi(app)"),
    ],
)
def test_bridge_to_an_asgi_server_has_no_socket(
    protocol: str, status: bytes, words: bytes, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "uvicorn", "tests.wsgi.bridged:app"]
    command += ["--port", "0", "--ws", protocol]
    with run_command(command, tmp_path / "log") as server:
        eventually(lambda: "Uvicorn running on http://127.0.0.1:" in server.log)
        port = int(server.log.partition("http://127.0.0.1:")[2].partition(" ")[0])
        with Peer(port) as peer:
            peer.send(peer.request("/async"))
            reply = peer.reply()
            assert str(reply.status).encode() == status
            assert words in peer.body(reply)
