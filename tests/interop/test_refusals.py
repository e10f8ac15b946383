"""What scripts in a real browser learn of a refused handshake, and of one that is answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.interop.chromium import Browser, Page
from tests.running import RunningServer, run_server


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Give a server that asks who comes."""
    targets = ("tests.admission.doors:ws", "tests.admission.doors:pages")
    with run_server(tmp_path_factory.mktemp("doors") / "log", *targets) as running:
        yield running


@pytest.fixture
def page(chromium: Browser, doors: RunningServer) -> Iterator[Page]:
    """Give a page of the same origin."""
    with chromium.page(f"http://127.0.0.1:{doors.port}/") as page:
        yield page


def end_of(page: Page, path: str, *subprotocols: str) -> tuple[bool, int, str, str]:
    """Connect in the page: did it open, the close code, the reason, the subprotocol."""
    script = """new Promise(resolve => {
        const socket = new WebSocket(PATH, SUBPROTOCOLS);
        let opened = false;
        socket.onopen = () => { opened = true; };
        socket.onclose = event =>
            resolve([opened, event.code, event.reason, socket.protocol]);
    })"""
    script = script.replace("SUBPROTOCOLS", json.dumps(subprotocols))
    opened, *rest = page.evaluate(script.replace("PATH", json.dumps(path)))
    return opened, *rest


def test_refusal_is_a_mystery_to_scripts(page: Page) -> None:
    assert end_of(page, "/door/async/nobody") == (False, 1006, "", "")


def test_readable_refusal_has_a_code_and_a_reason(page: Page) -> None:
    assert end_of(page, "/door/async/readable") == (True, 4403, "you may not connect here", "")


def test_readable_refusal_is_read_beside_subprotocols_too(page: Page) -> None:
    assert end_of(page, "/door/async/readable", "v2", "v1") == (
        *(True, 4403, "you may not connect here"),
        "v2",
    )


def test_page_of_another_site_reads_why_it_may_not(
    chromium: Browser, doors: RunningServer, request: pytest.FixtureRequest
) -> None:
    with chromium.page(f"http://localhost:{doors.port}/") as page:
        opened, code, reason, _ = end_of(page, f"{doors.url}/door/async/readable")
    assert (opened, code) == (True, 4403)
    assert f"http://localhost:{doors.port}" in reason


def test_expired_credentials_have_a_code_of_their_own(page: Page) -> None:
    words = page.evaluate(
        """new Promise(resolve => {
            const socket = new WebSocket("/door/async/word-for-a-moment");
            socket.onopen = () => socket.send("open sesame");
            socket.onclose = event => resolve([event.code, event.reason]);
        })"""
    )
    assert words == [4401, "the credentials have expired"]


def test_credentials_of_the_url_answer_the_challenge(page: Page, doors: RunningServer) -> None:
    """On the same TCP connection, and not for ever."""
    url = f"ws://ann:pw@127.0.0.1:{doors.port}/door/async/key"
    size = len(doors.log)
    opened, code, *_ = end_of(page, url)
    assert (opened, code) == (False, 1006)  # it is neither Basic nor Digest that this door knows
    lines: list[Any] = [line for line in doors.log[size:].splitlines() if "refused with" in line]
    assert 2 <= len(lines) <= 5
    ports = {line.partition("127.0.0.1:")[2].partition(" ")[0] for line in lines}
    assert len(ports) == 1
