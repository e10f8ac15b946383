"""Other people's programs log in: curl, aiohttp, httpx-ws, Chromium as its users and scripts do."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import httpx
import httpx_ws
import pytest

from tests.interop.chromium import Browser, Page
from tests.interop.clients import Loop
from tests.interop.conftest import Need
from tests.running import PATIENCE, RunningServer, run_server


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Give the server with all ways to log in."""
    log = tmp_path_factory.mktemp("login") / "log"
    with run_server(log, "tests.interop.login_app:ws", "tests.interop.login_app:app") as running:
        yield running
        assert "Traceback" not in running.log
        for secret in ("secret", "t0ken", "5e55", "dDB"):
            assert secret not in running.log


# --- curl ---

UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def curl(need: Need, url: str, *options: str) -> str:
    """Give what curl prints of all responses, and the first message; it knows no WebSockets."""
    fields = [part for field in UPGRADE for part in ("--header", field)]
    command = [need("curl"), "--silent", "--include", "--no-buffer", "--http1.1", *fields]
    with subprocess.Popen(
        [*command, "--max-time", str(PATIENCE), *options, url], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        said = b""
        while b"}" not in said and (part := os.read(process.stdout.fileno(), 4096)):
            said += part
        process.kill()
    return said.decode("latin-1")


@pytest.mark.row(199)
@pytest.mark.parametrize(
    ("path", "option"),
    [
        ("/basic", "--basic"),
        ("/digest", "--digest"),
        ("/md5", "--digest"),
        ("/both", "--digest"),
        ("/any", "--anyauth"),
    ],
)
@pytest.mark.parametrize("user", ["alice:secret", "J\xe4s\xf8n:p\xe4:ss"])
def test_curl(path: str, option: str, user: str, need: Need, service: RunningServer) -> None:
    url = f"http://127.0.0.1:{service.port}{path}?x=1"
    said = curl(need, url, option, "--user", user)
    assert "HTTP/1.1 101 " in said
    assert json.dumps(user.partition(":")[0]) in said
    if option == "--digest":
        assert "HTTP/1.1 401 " in said
        assert "Authentication-Info: " in said
    refused = curl(need, url, option, "--user", "alice:wrong")
    assert "HTTP/1.1 101 " not in refused
    assert "WWW-Authenticate: " in refused


# --- clients in Python ---


@pytest.mark.parametrize("path", ["/digest", "/md5", "/both", "/any"])
def test_aiohttp_with_digest(path: str, loop: Loop, service: RunningServer) -> None:
    async def run() -> list[Any]:
        digest = aiohttp.DigestAuthMiddleware("alice", "secret")
        async with aiohttp.ClientSession(middlewares=[digest]) as session:
            return [await hear(session) for _ in range(3)]

    async def hear(session: aiohttp.ClientSession) -> Any:
        async with session.ws_connect(f"{service.url}{path}?x=1") as connection:
            return (await connection.receive_json(timeout=PATIENCE))["identity"]

    assert loop.run(run()) == ["alice"] * 3


@pytest.mark.parametrize(
    ("path", "auth"),
    [("/basic", httpx.BasicAuth), ("/digest", httpx.DigestAuth), ("/md5", httpx.DigestAuth)],
)
def test_httpx_ws(path: str, auth: Callable[..., httpx.Auth], service: RunningServer) -> None:
    url = f"http://127.0.0.1:{service.port}{path}?x=1"
    with httpx.Client(auth=auth("alice", "secret"), timeout=PATIENCE, trust_env=False) as client:
        for _ in range(2):
            with httpx_ws.connect_ws(url, client) as connection:
                assert connection.receive_json()["identity"] == "alice"
    with (
        httpx.Client(auth=auth("alice", "wrong"), timeout=PATIENCE, trust_env=False) as client,
        pytest.raises(httpx_ws.WebSocketUpgradeError) as caught,
        httpx_ws.connect_ws(url, client),
    ):
        pass
    assert caught.value.response.status_code == 401


# --- Chromium ---

OPEN = """new Promise(resolve => {
    const socket = new WebSocket(URL, OFFERED);
    let said = null;
    socket.onopen = () => { if (FIRST) socket.send(FIRST) };
    socket.onmessage = event => { said = JSON.parse(event.data) };
    socket.onclose = event => resolve({ said, code: event.code });
})"""


def connect(page: Page, url: str, *offered: str, first: str = "") -> Any:
    """Open a WebSocket in a page; gives what came and the code that it was closed with."""
    script = OPEN.replace("URL", json.dumps(url)).replace("OFFERED", json.dumps(offered))
    return page.evaluate(script.replace("FIRST", json.dumps(first)))


@pytest.fixture
def page(chromium: Browser, service: RunningServer) -> Iterator[Page]:
    with chromium.page(f"http://127.0.0.1:{service.port}/") as page:
        yield page


def admitted(target: str, **others: Any) -> Any:
    said = {"identity": "alice", "target": target, "offered": None, "agreed": None, **others}
    return {"said": said, "code": 1000}


REFUSED = {"said": None, "code": 1006}


@pytest.mark.parametrize("path", ["/basic", "/digest", "/md5", "/both", "/any"])
def test_credentials_in_the_url(path: str, page: Page, service: RunningServer) -> None:
    url = f"ws://alice:PASSWORD@127.0.0.1:{service.port}{path}?x=1"
    assert connect(page, url.replace("PASSWORD", "wrong")) == REFUSED
    assert connect(page, url.replace("PASSWORD", "secret")) == admitted(f"{path}?x=1")


@pytest.mark.parametrize("path", ["/basic", "/digest"])
def test_credentials_that_the_page_was_loaded_with(
    path: str, page: Page, service: RunningServer
) -> None:
    assert connect(page, f"{service.url}{path}") == REFUSED
    page.open(f"http://alice:secret@127.0.0.1:{service.port}{path}/")
    for _ in range(3):
        assert connect(page, f"{service.url}{path}") == admitted(path)


def test_cookie(page: Page, service: RunningServer) -> None:
    assert connect(page, f"{service.url}/cookie") == REFUSED
    page.evaluate("fetch('/session').then(() => null)")
    assert connect(page, f"{service.url}/cookie") == admitted("/cookie")


GET_TICKET = """
fetch("/tickets?path=/ticket", { method: "POST" }).then(answer => answer.json())
"""


def test_ticket_in_the_query_and_in_a_subprotocol(page: Page, service: RunningServer) -> None:
    assert page.evaluate(GET_TICKET) == {"error": "log in first"}
    page.evaluate("fetch('/session').then(() => null)")
    ticket = page.evaluate(GET_TICKET)["ticket"]
    url = f"{service.url}/ticket"
    assert connect(page, f"{url}?x=1&ticket={ticket}") == admitted("/ticket?x=1")
    assert connect(page, f"{url}?ticket={ticket}") == REFUSED
    ticket = page.evaluate(GET_TICKET)["ticket"]
    both = connect(page, url, "chat", f"ticket.{ticket}")
    assert both == admitted("/ticket", offered="chat", agreed="chat")


def test_bearer_in_a_subprotocol(page: Page, service: RunningServer) -> None:
    url = f"{service.url}/bearer"
    token = base64.urlsafe_b64encode(b"t0ken").decode().rstrip("=")
    found = connect(page, url, "chat", f"bearer.{token}")
    assert found == admitted("/bearer", offered="chat", agreed="chat")
    assert connect(page, url, "chat", "bearer.d3Jvbmc") == REFUSED
    assert connect(page, url) == REFUSED


def test_first_message(page: Page, service: RunningServer) -> None:
    url = f"{service.url}/first"
    assert connect(page, url, first="let me in") == admitted("/first")
    assert connect(page, url, first="hello") == {"said": None, "code": 4403}
