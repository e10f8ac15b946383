"""Our class is put into a uvicorn that has none of somebody's choice, and nowhere else."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest
import uvicorn
from uvicorn.lifespan.on import LifespanOn
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

from tests.inprocess import in_virtual_time
from ws_middleware.asgi.install import SWITCH, install
from ws_middleware.asgi.uvicorn import WebSocketProtocol
from ws_middleware.mounts import WebSockets
from ws_middleware.server import ServerConfig

OURS = "ws_middleware.asgi.uvicorn:WebSocketProtocol"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Be an app that does nothing."""


class Custom(WSProtocol):
    """Be a class that somebody chose."""


class Derived(WebSocketProtocol):
    """Be a class of ours that somebody changed."""


def make_config(**settings: Any) -> uvicorn.Config:
    config = uvicorn.Config(app, log_config=None, **settings)
    config.load()
    return config


@pytest.mark.parametrize("ws", ["auto", "none", "wsproto", "websockets-sansio"])
@in_virtual_time
async def test_uvicorns_own_classes_are_replaced(ws: str) -> None:
    config = make_config(ws=ws)
    assert install(LifespanOn(config).receive)
    assert config.ws_protocol_class is WebSocketProtocol


@pytest.mark.parametrize(
    ("ws", "installed"),
    [(OURS, True), (WebSocketProtocol, True), (Derived, True), (Custom, False)],
)
@in_virtual_time
async def test_chosen_class_stays(
    ws: Any, installed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_config(ws=ws)
    before = config.ws_protocol_class
    assert install(LifespanOn(config).receive) is installed
    assert config.ws_protocol_class is before
    assert ("was chosen" in caplog.text) is not installed


@in_virtual_time
async def test_switch_leaves_everything_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "0")
    config = make_config()
    before = config.ws_protocol_class
    assert not install(LifespanOn(config).receive)
    assert config.ws_protocol_class is before


def wrap(receive: Any) -> Any:
    async def wrapped() -> Any:
        return await receive()

    return wrapped


class Holder:
    """Be a receive of another middleware, which keeps the one of the server."""

    def __init__(self, receive: Any) -> None:
        self.receive = receive

    async def __call__(self) -> Any:
        return await self.receive()


def incomplete() -> Any:
    """Give a function that closes over a name which has lost its value."""
    value: object = None

    def function() -> object:
        return value  # noqa: F821

    del value
    return function


@pytest.mark.parametrize(
    "wrapping",
    [wrap, functools.partial, lambda one: wrap(wrap(one)), lambda one: wrap(Holder(one).receive)],
)
@in_virtual_time
async def test_receive_of_other_middlewares_is_looked_through(wrapping: Any) -> None:
    config = make_config()
    assert install(wrapping(LifespanOn(config).receive))


@in_virtual_time
async def test_http_protocol_of_a_request_knows_the_configuration() -> None:
    class HTTP:
        def __init__(self) -> None:
            self.config = make_config()

        def on_response_complete(self) -> None:
            """Be called at the end of a response."""

    class Cycle:
        def __init__(self) -> None:
            self.on_response = HTTP().on_response_complete

        async def receive(self) -> None:
            """Be the `receive` of an `http` scope."""

    assert install(Cycle().receive)


def circular() -> Any:
    def one() -> object:
        return other

    def other() -> object:
        return one

    return one


@pytest.mark.parametrize(
    "receive", [asyncio.Queue().get, print, None, circular(), incomplete(), Holder(None)]
)
def test_other_servers_are_left_alone(receive: object) -> None:
    assert not install(receive)


@in_virtual_time
async def test_standalone_server_has_our_class_already() -> None:
    ws = WebSockets()
    config = ServerConfig(app, options=ws.options)
    config.load()
    assert install(LifespanOn(config).receive)
    assert config.ws_protocol_class is WebSocketProtocol


@in_virtual_time
async def test_uvicorn_of_another_make_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    config = make_config()
    del config.ws_protocol_class
    assert not install(LifespanOn(config).receive)
    assert not hasattr(config, "ws_protocol_class")
    assert "this uvicorn is not known" in caplog.text
