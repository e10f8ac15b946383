"""Headless Chromium, driven over the DevTools protocol by a few lines of our own.

One browser, any number of pages. What a page complains of is kept: nothing is lost by looking
at another thing first.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.running import PATIENCE, eventually

__all__ = ["Browser", "Page", "PageError", "run_chromium"]

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)


class PageError(Exception):
    """Tell of a script that raised, or of a command that the browser refused."""


class Browser:
    """Be a running browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last_id = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Carry out a command of the protocol and give its result."""
        self._last_id += 1
        command = {"id": self._last_id, "method": method, "params": parameters}
        self._connection.send(json.dumps(command | ({"sessionId": session} if session else {})))
        while True:
            message = json.loads(self._connection.recv(PATIENCE))
            if message.get("id") != self._last_id:
                self.events.append(message)
            elif "error" in message:
                raise PageError(f"{method}: {message['error']}")
            else:
                return message["result"]

    @contextmanager
    def page(self, url: str) -> Iterator[Page]:
        """Open a page with storage of its own, and close it behind."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = Page(self, attached["sessionId"])
        page.open(url)
        yield page
        self.call("Target.disposeBrowserContext", browserContextId=context)


class Page:
    """Be one page of a browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Security.setIgnoreCertificateErrors", ignore=True)

    def call(self, method: str, **parameters: Any) -> Any:
        """Carry out a command for this page."""
        return self._browser.call(method, self._session, **parameters)

    def open(self, url: str) -> None:
        """Go to a URL and wait until the page is there."""
        self.call("Page.navigate", url=url)
        eventually(lambda: self.evaluate("document.readyState") == "complete")

    def evaluate(self, expression: str) -> Any:
        """Give the value of an expression, of a promise what it is fulfilled with."""
        result = self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in result:
            raise PageError(result["exceptionDetails"]["exception"]["description"])
        return result["result"].get("value")

    def text(self, selector: str) -> str:
        """Give the text of the first element that a selector finds."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent"))

    def is_disabled(self, selector: str) -> bool:
        """Tell whether a field or a button cannot be used."""
        return bool(self.evaluate(f"document.querySelector({json.dumps(selector)}).disabled"))

    def click(self, selector: str) -> None:
        """Click an element."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def fill(self, selector: str, text: str) -> None:
        """Put text in the place of what a field holds, as if it were typed."""
        self.evaluate(
            f"(field => {{ field.focus(); field.select(); document.execCommand('delete') }})"
            f"(document.querySelector({json.dumps(selector)}))"
        )
        if text:
            self.call("Input.insertText", text=text)

    def press_enter(self) -> None:
        """Press the Enter key on whatever has the focus."""
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        self.call("Input.dispatchKeyEvent", type="keyDown", **key)
        self.call("Input.dispatchKeyEvent", type="keyUp", **key)

    def events(self, method: str) -> list[dict[str, Any]]:
        """Give the events of a kind so far."""
        self.call("Runtime.evaluate", expression="0")  # whatever came before its answer is read
        return [
            event["params"]
            for event in self._browser.events
            if event.get("sessionId") == self._session and event["method"] == method
        ]

    def complaints(self) -> list[str]:
        """Give what the console says: violations of the policy, errors, exceptions."""
        entries = [event["entry"]["text"] for event in self.events("Log.entryAdded")]
        raised = [
            str(event["exceptionDetails"]) for event in self.events("Runtime.exceptionThrown")
        ]
        return entries + raised


@contextmanager
def run_chromium(program: str, folder: Path) -> Iterator[Browser]:
    """Run the browser with a fresh profile below `folder`."""
    log = folder / "chromium.log"
    command = [program, *OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    with (
        open(log, "wb") as output,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as process,
    ):
        try:
            eventually(lambda: "DevTools listening on" in log.read_text(errors="replace"))
            match = re.search(r"DevTools listening on (ws://\S+)", log.read_text(errors="replace"))
            assert match
            with connect(match[1], max_size=None, ping_interval=None, proxy=None) as connection:
                yield Browser(connection)
                connection.send(json.dumps({"id": 0, "method": "Browser.close"}))
                process.wait(PATIENCE)
        finally:
            if process.poll() is None:
                process.kill()
