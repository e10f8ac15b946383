"""A WSGI app with our routes, under an ASGI server: one app on both sides."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.asgi.kinds import SHAPES
from tests.peer import Peer
from tests.running import RunningServer, eventually, free_port, is_listening, run_command
from tests.wsgi.asking import check_plain
from ws_middleware.asgi.adapting import is_asgi
from ws_middleware.mounts import WebSockets


@pytest.fixture(scope="module", params=["uvicorn", "hypercorn"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    port = free_port()
    command = [sys.executable, "-m", request.param, "tests.asgi.flask_app:app"]
    where = {"uvicorn": ["--port", str(port)], "hypercorn": ["--bind", f"127.0.0.1:{port}"]}
    log = tmp_path_factory.mktemp(request.param) / "log"
    with run_command([*command, *where[request.param]], log) as server:
        server.port = port
        eventually(lambda: is_listening(port) or server.process.poll() is not None)
        yield server


def test_pages_and_sockets_of_a_flask_app(running: RunningServer) -> None:
    check_plain(running.port)
    for shape in SHAPES:
        with Peer(running.port) as peer:
            peer.open(f"/{shape}").echo("hello")
            check_plain(running.port)
            peer.echo("still there")
    assert "Traceback" not in running.log


def test_path_of_nobody_is_refused(running: RunningServer) -> None:
    with Peer(running.port) as peer:
        peer.send(peer.request("/nobody"))
        assert peer.reply().status == 403


def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
    return []


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """Do nothing."""


class Either:
    def __call__(self, *arguments: Any) -> Any:
        """Take anything."""


@pytest.mark.parametrize(
    ("app", "is_it"), [(wsgi_app, False), (asgi_app, True), (Either(), False), (print, False)]
)
def test_kind_of_an_app_is_told_by_its_signature(app: Any, is_it: bool) -> None:
    assert is_asgi(app) is is_it


def test_kind_of_an_app_can_be_said() -> None:
    ws = WebSockets()
    app = Either()
    assert ws.asgi(app, wsgi=False).app is app
    for given in (ws.asgi(app, wsgi=True).app, ws.asgi(app).app, ws.asgi(wsgi_app).app):
        assert type(given).__module__.startswith("a2wsgi")
    assert ws.asgi(asgi_app).app is asgi_app
    assert ws.asgi().app is None
