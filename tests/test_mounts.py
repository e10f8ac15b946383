"""The one object users make, and the ways to mount it."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from ws_middleware import mounts
from ws_middleware.asgi.middleware import ASGIMiddleware
from ws_middleware.mounts import WebSockets
from ws_middleware.server import ServerConfig
from ws_middleware.wsgi.middleware import WSGIMiddleware


async def asgi_app(scope: Any, receive: Any, send: Any) -> None: ...


def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
    return []


def test_keywords_are_options() -> None:
    assert WebSockets(max_queue=3).options.max_queue == 3
    with pytest.raises(TypeError, match="no_option"):
        WebSockets(no_option=3)
    with pytest.raises(
        TypeError, match=r"^there is no option max_mesage_size: write max_message_size$"
    ):
        WebSockets(max_mesage_size=1)


@pytest.mark.parametrize("app", [None, asgi_app])
def test_mount_on_asgi(app: Any) -> None:
    ws = WebSockets()
    mounted = ws.asgi(app)
    assert isinstance(mounted, ASGIMiddleware)
    assert (mounted.router, mounted.app) == (ws, app)


@pytest.mark.parametrize("app", [None, wsgi_app])
def test_mount_on_wsgi(app: Any) -> None:
    ws = WebSockets()
    assert isinstance(ws.wsgi(app), WSGIMiddleware)
    with pytest.raises(TypeError, match="no_setting"):
        ws.wsgi(app, no_setting=1)


def test_identity_is_not_taken_for_a_predicate() -> None:
    wrong: Any = "bob"
    with pytest.raises(TypeError, match="write identity='bob'"):
        WebSockets().close_where(wrong)


@pytest.mark.parametrize("wrong", ["app:app", 3, WebSockets()])
def test_what_cannot_be_called_is_no_app(wrong: Any) -> None:
    ws = WebSockets()
    for mount in (ws.asgi, ws.wsgi):
        with pytest.raises(TypeError, match=f"server calls, not {type(wrong).__name__}$"):
            mount(wrong)


def handler(connection: Any) -> None: ...


def test_handler_is_no_app() -> None:
    ws = WebSockets()
    wrong: Any = handler
    for mount in (ws.asgi, ws.wsgi):
        with pytest.raises(TypeError, match="takes the arguments of neither"):
            mount(wrong)


@pytest.mark.parametrize("app", [asgi_app, WebSockets().asgi()])
def test_asgi_app_is_not_mounted_as_a_wsgi_app(app: Any) -> None:
    with pytest.raises(TypeError, match=r"is an ASGI app: mount the routes with ws\.asgi\(app\)"):
        WebSockets().wsgi(app)


def test_running_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[ServerConfig] = []

    def serve(config: ServerConfig, sock: socket.socket) -> int:
        served.append(config)
        with sock:
            assert sock.getsockname()[0] == "127.0.0.1"
        return 0

    monkeypatch.setattr(mounts, "serve", serve)
    ws = WebSockets(max_queue=3)
    ws.run(port=0, app=asgi_app, timeout_keep_alive=7)
    (config,) = served
    assert config.options.max_queue == 3
    assert config.timeout_keep_alive == 7
    assert isinstance(config.app, ASGIMiddleware)
    assert config.app.app is asgi_app


def test_running_alone_ends_the_program_where_it_cannot_serve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mounts, "serve", lambda config, sock: 1)
    with pytest.raises(SystemExit) as error:
        WebSockets().run(port=0)
    assert error.value.code == 1
