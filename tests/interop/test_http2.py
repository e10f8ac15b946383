"""WebSockets over HTTP/2 (RFC 8441) in a real browser: in streams of hypercorn's and uvicorn's."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.chromium import Browser, Page
from tests.running import RunningServer, eventually, free_port, is_listening, run_command
from tests.tls import make_certificate

#: Sends text and 9000 bytes, and closes once both have come back.
ECHO = """new Promise(resolve => {
    const socket = new WebSocket(HERE), got = [];
    socket.binaryType = "arraybuffer";
    socket.onopen = () => { socket.send("hello"); socket.send(new Uint8Array(9000)); };
    socket.onmessage = event => {
        got.push(typeof event.data === "string" ? event.data : event.data.byteLength);
        if (got.length === 2) socket.close(4001, "bye");
    };
    socket.onclose = event => resolve([...got, event.code, event.wasClean]);
})"""
#: The same with text alone.
ECHO_TEXT = """new Promise(resolve => {
    const socket = new WebSocket(HERE), got = [];
    socket.onopen = () => socket.send("hello");
    socket.onmessage = event => { got.push(event.data); socket.close(4001, "bye"); };
    socket.onclose = event => resolve([...got, event.code, event.wasClean]);
})"""
#: Gives what is told, or the code of the close.
LISTEN = """new Promise(resolve => {
    const socket = new WebSocket(HERE, PROTOCOLS);
    socket.onmessage = event => resolve(event.data);
    socket.onclose = event => resolve(event.code);
})"""


def _command(server: str, port: int, folder: Path) -> list[str]:
    files = make_certificate(folder).arguments
    theirs = [part.replace("--", "--ssl-") for part in files]
    options = {
        "hypercorn": ["--bind", f"127.0.0.1:{port}", *files],
        "uvicorn": ["--port", str(port), "--http", "zttp", "--http2", *theirs],
    }
    return [sys.executable, "-m", server, "tests.asgi.apps:app", *options[server]]


@pytest.fixture(scope="module", params=["hypercorn", "uvicorn"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    folder, port = tmp_path_factory.mktemp("http2"), free_port()
    with run_command(_command(request.param, port, folder), folder / "log") as server:
        server.port = port
        eventually(lambda: is_listening(port))
        yield server


@pytest.fixture
def page(chromium: Browser, running: RunningServer) -> Iterator[Page]:
    with chromium.page(f"https://127.0.0.1:{running.port}/plain") as page:
        hop = "performance.getEntriesByType('navigation')[0].nextHopProtocol"
        assert page.evaluate(hop) == "h2"
        yield page


def run(page: Page, running: RunningServer, script: str, path: str, *protocols: str) -> Any:
    url = json.dumps(f"wss://127.0.0.1:{running.port}{path}")
    script = script.replace("HERE", url).replace("PROTOCOLS", json.dumps(protocols))
    return page.evaluate(script)


@pytest.mark.parametrize("path", ["/async", "/def", "/callbacks", "/async-callbacks"])
def test_handlers_of_each_shape(page: Page, running: RunningServer, path: str) -> None:
    assert run(page, running, ECHO, path) == ["hello", 9000, 4001, True]


def test_request_came_over_http2(page: Page, running: RunningServer) -> None:
    told = json.loads(run(page, running, LISTEN, "/told/a%20b?x=1"))
    assert (told["name"], told["query"], told["secure"]) == ("a b", "1", True)
    # Of a stream we see the request of HTTP/1.1 that means the same.
    assert told["version"] == "1.1"
    assert told["host"] == f"127.0.0.1:{running.port}"


def test_origin_of_the_page_is_checked(page: Page, running: RunningServer) -> None:
    assert run(page, running, LISTEN, "/guarded") == 1006


def test_browser_answers_pings(page: Page, running: RunningServer) -> None:
    assert str(run(page, running, LISTEN, "/pinging")).startswith("latency")


def test_endpoint_of_the_app_itself(page: Page, running: RunningServer) -> None:
    assert run(page, running, ECHO_TEXT, "/own/echo") == ["hello", 4001, True]
