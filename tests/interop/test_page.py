"""The page of the echo service, used in a real browser as a person uses it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.chromium import Browser, Page
from tests.running import RunningServer, eventually, run_server
from tests.tls import Certificate

LIMIT = 500


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Give the echo service, as it is served without a target."""
    with run_server(tmp_path_factory.mktemp("service") / "log") as running:
        yield running


@pytest.fixture
def page(chromium: Browser, service: RunningServer) -> Iterator[Page]:
    """Give the page; the browser must have nothing to complain of."""
    with chromium.page(f"http://127.0.0.1:{service.port}/") as page:
        yield page
        assert page.complaints() == []
    assert "Traceback" not in service.log


@pytest.fixture
def open_page(page: Page) -> Page:
    """Give the page with an open connection."""
    page.click("#connect")
    wait_for_state(page, "Connected")
    return page


def wait_for_state(page: Page, state: str) -> None:
    eventually(lambda: page.text("#state") == state)


def lines(page: Page, kind: str) -> list[tuple[str, str]]:
    """Give what the log says in its lines of a kind, and the facts beside it."""
    script = """[...document.querySelectorAll(KIND)].map(
        line => [".what", ".facts"].map(part => line.querySelector(part).textContent))"""
    found = page.evaluate(script.replace("KIND", json.dumps(f"#log .{kind}")))
    return [(what, facts.replace("\u00a0", " ")) for what, facts in found]


def wait_for_lines(page: Page, kind: str, count: int) -> list[tuple[str, str]]:
    eventually(lambda: len(lines(page, kind)) >= count)
    return lines(page, kind)


def test_nothing_is_fetched_but_the_page(page: Page, service: RunningServer) -> None:
    sent = page.events("Network.requestWillBeSent")
    urls = [event["request"]["url"] for event in sent]
    assert [url for url in urls if not url.startswith("data:")] == [
        f"http://127.0.0.1:{service.port}/"
    ]


def test_connecting_shows_what_was_agreed(open_page: Page, service: RunningServer) -> None:
    assert open_page.evaluate("document.querySelector('#url').value") == f"{service.url}/"
    assert open_page.text("#agreed-subprotocol") == "none"
    assert open_page.text("#agreed-extensions").startswith("permessage-deflate")


def test_nothing_can_be_sent_before_there_is_a_connection(page: Page) -> None:
    assert page.is_disabled("#send")
    page.fill("#message", "too early")
    page.press_enter()
    assert page.text("#log") == ""


def test_enter_sends_text_and_its_echo_is_shown(open_page: Page) -> None:
    open_page.fill("#message", "Grüße, 世界 👋")
    open_page.press_enter()
    (what, facts), *more = wait_for_lines(open_page, "received", 1)
    assert lines(open_page, "sent") == [("Grüße, 世界 👋", "20 B")]
    assert what == "Grüße, 世界 👋"
    assert re.fullmatch(r"20 B · [\d.]+ ms", facts)
    assert more == []
    assert re.search(r"[\d.]+.ms, median [\d.]+.ms", open_page.text("#latency"))


def test_bytes_are_sent_and_shown_in_hex(open_page: Page) -> None:
    open_page.click("[value=hex]")
    open_page.fill("#message", "00 ff 7F80")
    open_page.click("#send")
    (what, facts), *_ = wait_for_lines(open_page, "received", 1)
    assert (what, facts.partition(" · ")[0]) == ("00 ff 7f 80", "4 B")


def test_bytes_that_are_none_are_complained_of(open_page: Page) -> None:
    open_page.click("[value=hex]")
    open_page.fill("#message", "0g")
    open_page.click("#send")
    assert "pairs of the digits" in open_page.text("#message-complaint")
    assert lines(open_page, "sent") == []


@pytest.mark.parametrize(("kind", "shown"), [("text", "(empty text)"), ("hex", "(no bytes)")])
def test_empty_message(open_page: Page, kind: str, shown: str) -> None:
    open_page.click(f"[value={kind}]")
    open_page.fill("#message", "")
    open_page.click("#send")
    assert wait_for_lines(open_page, "received", 1)[0][0] == shown


def test_long_message_is_shown_in_part(open_page: Page) -> None:
    open_page.fill("#message", "a" * 1500)
    open_page.click("#send")
    (what, facts), *_ = wait_for_lines(open_page, "received", 1)
    assert what == "a" * 500 + "… and 1,000 characters"
    assert facts.startswith("1.5 KiB · ")


def test_markup_stays_text(open_page: Page) -> None:
    markup = "<img src=x onerror=alert(1)><b>bold</b>"
    open_page.fill("#message", markup)
    open_page.click("#send")
    assert wait_for_lines(open_page, "received", 1)[0][0] == markup
    assert open_page.evaluate("document.querySelectorAll('#log img, #log b').length") == 0


def test_file_is_sent_as_bytes(open_page: Page, tmp_path: Path) -> None:
    file = tmp_path / "some.bin"
    file.write_bytes(bytes(range(256)))
    choice = open_page.call("Runtime.evaluate", expression="$('file-choice')")["result"]
    open_page.call("DOM.setFileInputFiles", files=[str(file)], objectId=choice["objectId"])
    (what, facts), *_ = wait_for_lines(open_page, "received", 1)
    assert what.startswith("00 01 02 03")
    assert what.endswith("and 192 bytes")
    assert facts.startswith("256 B · ")


def test_burst_is_told_in_one_line_each_way(open_page: Page) -> None:
    open_page.fill("#message", "again")
    open_page.fill("#times", "1000")
    open_page.click("#send")
    (what, facts), *more = wait_for_lines(open_page, "received", 1)
    assert (what, more) == ("all 1,000 messages", [])
    assert re.fullmatch(r"[\d.,]+ m?s · [\d,]+/s", facts)
    assert open_page.text("#received-total").startswith("1,000 messages, ")
    assert open_page.text("#sent-total") == open_page.text("#received-total")


def test_close_with_code_and_reason(open_page: Page, service: RunningServer) -> None:
    open_page.fill("#code", "4001")
    open_page.fill("#reason", "enough")
    open_page.click("#close")
    wait_for_state(open_page, "Not connected")
    assert lines(open_page, "event")[-2:] == [
        ("closing: 4001, “enough”", ""),
        ("closed: 4001", "clean"),
    ]
    eventually(lambda: "4001" in service.log and "enough" in service.log)


def test_code_that_a_page_may_not_send_is_complained_of(open_page: Page) -> None:
    open_page.fill("#code", "1002")
    open_page.click("#close")
    assert "1002" in open_page.text("#close-complaint")
    assert open_page.text("#state") == "Connected"


def test_close_of_the_server_is_explained(open_page: Page) -> None:
    open_page.evaluate("$('message').value = 'x'.repeat(2 ** 20 + 1)")
    open_page.click("#send")
    wait_for_state(open_page, "Not connected")
    what, facts = lines(open_page, "event")[-1]
    assert what.startswith("closed: 1009 message too big, “")
    assert "max_message_size" in what
    assert facts == "clean"


def test_connecting_again_begins_anew(open_page: Page) -> None:
    open_page.click("#send")
    wait_for_lines(open_page, "received", 1)
    open_page.click("#connect")
    wait_for_state(open_page, "Not connected")
    open_page.click("#connect")
    wait_for_state(open_page, "Connected")
    assert open_page.text("#sent-total").startswith("0 messages")
    open_page.click("#send")
    wait_for_lines(open_page, "received", 2)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "ws://["])
def test_url_that_is_none_is_complained_of(page: Page, url: str) -> None:
    page.fill("#url", url)
    page.click("#connect")
    assert page.text("#connect-complaint") != ""
    assert page.text("#state") == "Not connected"


def test_refusal_is_told_as_far_as_the_browser_tells_it(
    chromium: Browser, service: RunningServer, server: RunningServer
) -> None:
    with chromium.page(f"http://127.0.0.1:{service.port}/") as page:
        page.fill("#url", f"{server.url}/nowhere")
        page.click("#connect")
        assert "could not connect (1006)" in wait_for_lines(page, "failure", 1)[0][0]
        assert page.text("#state") == "Not connected"
        assert any("404" in complaint for complaint in page.complaints())


def test_log_has_an_end_and_can_be_cleared(open_page: Page) -> None:
    open_page.evaluate(f"for (let i = 0; i < {LIMIT}; i += 1) send(String(i))")
    last = str(LIMIT - 1)
    eventually(lambda: [what for what, _ in lines(open_page, "received")[-1:]] == [last])
    assert open_page.evaluate("document.querySelector('#log').children.length") == LIMIT
    open_page.click("#clear")
    assert open_page.text("#log") == ""


def test_log_stays_at_its_end_until_one_scrolls_back(open_page: Page) -> None:
    open_page.evaluate("for (let i = 0; i < 100; i += 1) send(String(i))")
    wait_for_lines(open_page, "received", 100)
    assert is_in_view(open_page, "#log > :last-child")
    open_page.evaluate("document.querySelector('.scroll').scrollBy(0, -300)")
    assert not is_in_view(open_page, "#log > :last-child")
    open_page.evaluate("send('later')")
    wait_for_lines(open_page, "received", 101)
    assert not is_in_view(open_page, "#log > :last-child")


def is_in_view(page: Page, selector: str) -> bool:
    """Tell whether an element of the log ends where one sees it."""
    bottoms = f"[{json.dumps(selector)}, '.scroll'].map((selector) => Math.floor("
    bottoms += "document.querySelector(selector).getBoundingClientRect().bottom))"
    inner, outer = page.evaluate(bottoms)
    return bool(inner <= outer)


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_page_fits_its_window(open_page: Page, width: int) -> None:
    open_page.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=800,
        deviceScaleFactor=1,
        mobile=width < 768,
    )
    open_page.fill("#message", "wide" * 200)
    open_page.click("#send")
    wait_for_lines(open_page, "received", 1)
    open_page.evaluate("for (let i = 0; i < 100; i += 1) send(String(i))")
    wait_for_lines(open_page, "received", 101)
    root = "document.documentElement"
    assert open_page.evaluate(f"{root}.scrollWidth") <= width
    assert open_page.evaluate("(log => log.scrollWidth <= log.clientWidth)($('log').parentElement)")
    footer = "document.querySelector('footer').getBoundingClientRect().bottom"
    end = open_page.evaluate(f"{footer} - {root}.getBoundingClientRect().top")
    assert open_page.evaluate(f"{root}.scrollHeight") <= max(800, end + 1)


def test_every_control_has_a_name(page: Page) -> None:
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "textbox", "spinbutton", "radio", "log", "form"}
    controls = [node for node in nodes if node["role"]["value"] in roles]
    assert {node["role"]["value"] for node in controls} == roles
    assert all(node["name"]["value"] for node in controls), controls


def test_page_over_tls_connects_over_tls(
    chromium: Browser, certificate: Certificate, tmp_path: Path
) -> None:
    with (
        run_server(tmp_path / "log", *certificate.arguments) as running,
        chromium.page(f"https://127.0.0.1:{running.port}/") as page,
    ):
        assert page.evaluate("$('url').value") == f"wss://127.0.0.1:{running.port}/"
        page.click("#connect")
        wait_for_state(page, "Connected")
        page.click("#send")
        assert wait_for_lines(page, "received", 1)[0][0] == "Hello, world"
