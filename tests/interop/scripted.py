"""Clients in JavaScript: the agent of `agent.js`, in Node or in a page of a browser."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.interop.chromium import Page
from tests.interop.clients import Closed, Connection, Data, Refused, Terms
from tests.running import PATIENCE, ROOT, exclusively

__all__ = ["Chromium", "InstallError", "Node", "install_package", "own_websocket", "run_node"]

HERE = Path(__file__).parent
AGENT = (HERE / "agent.js").read_text()

#: Calls a method of the agent and gives its result.
Call = Callable[..., Any]


class InstallError(Exception):
    """Tell why the packages of `package.json` cannot be installed."""


def install_package(npm: str) -> Path:
    """Install what `package.json` pins, unless it is there; gives the folder."""
    folder = ROOT / ".cache" / "node"
    with exclusively(folder):
        _install_package(npm, folder)
    return folder


def _install_package(npm: str, folder: Path) -> None:
    wanted = HERE / "package.json"
    installed = folder / "node_modules" / ".done.json"
    if installed.exists() and installed.read_text() == wanted.read_text():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(wanted, folder)
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise InstallError(f"npm install failed:\n{done.stderr.strip()}")
    shutil.copy(wanted, installed)


def own_websocket(node: str) -> Sequence[str] | None:
    """Give the options that this Node needs for a WebSocket of its own; None where it has none."""
    for options in ([], ["--experimental-websocket"]):
        done = subprocess.run(
            [node, *options, "-p", "typeof WebSocket"], capture_output=True, text=True, check=False
        )
        if done.stdout.strip() == "function":
            return options
    return None


@contextmanager
def run_node(*command: str, environment: Mapping[str, str]) -> Iterator[Call]:
    """Run the agent in a process of Node, from the start to the end of the block."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(PATIENCE)
        with subprocess.Popen(
            command, stdin=theirs.fileno(), stdout=theirs.fileno(), env=environment
        ) as process:
            theirs.close()
            lines = ours.makefile("r", encoding="utf-8", newline="\n")

            def call(method: str, *values: Any) -> Any:
                ours.sendall(json.dumps([method, *values]).encode() + b"\n")
                answer = json.loads(lines.readline())
                assert "raised" not in answer, answer
                return answer.get("result")

            try:
                with lines:
                    yield call
            finally:
                process.kill()


class Node:
    """Open connections in a process of Node."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def open(self, url: str, terms: Terms) -> Connection:
        asked = {
            "subprotocols": terms.subprotocols,
            "headers": dict(terms.headers),
            "origin": terms.origin,
            "deflate": terms.deflate and {_camel(key): val for key, val in terms.deflate.items()},
            "ca": terms.cafile and terms.cafile.read_text(),
        }
        return _ScriptedConnection(
            self._call, url, {k: v for k, v in asked.items() if v is not None}
        )


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


class Chromium:
    """Open connections from a page of the origin that is asked for, or of the server's own."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._origin = ""

    def open(self, url: str, terms: Terms) -> Connection:
        parts = urlsplit(url)
        own = f"{parts.scheme.replace('ws', 'http')}://{parts.netloc}"
        self._visit(terms.origin or own)
        return _ScriptedConnection(self._call, url, {"subprotocols": terms.subprotocols})

    def _visit(self, origin: str) -> None:
        if origin != self._origin:
            self._page.open(origin)
            self._page.evaluate(f"{AGENT}; {_MAKE}")
            self._origin = origin

    def _call(self, method: str, *values: Any) -> Any:
        return self._page.evaluate(f"agent.{method}(...{json.dumps(values)})")


_MAKE = (
    "globalThis.agent = makeAgent((url, { subprotocols }) => new WebSocket(url, subprotocols)); 0"
)


class _ScriptedConnection:
    def __init__(self, call: Call, url: str, terms: Mapping[str, Any]) -> None:
        self._call = call
        answer = call("open", url, terms)
        if "refused" in answer:
            raise Refused(answer["refused"])
        self.subprotocol: str | None = answer["subprotocol"] or None

    def send(self, message: Data) -> None:
        self._call("send", _pack(message))

    def send_pieces(self, pieces: Sequence[Data]) -> None:
        self._call("sendPieces", list(map(_pack, pieces)))

    def receive(self) -> Data:
        item = self._call("receive")
        if isinstance(item, str):
            return item
        if "base64" in item:
            return base64.b64decode(item["base64"])
        code, reason, _ = item["closed"]
        raise Closed(code, reason)

    def ping(self, payload: str) -> str:
        return str(self._call("ping", payload))

    def close(self, code: int | None, reason: str) -> None:
        self._call("close", *([] if code is None else [code, reason]))

    def drop(self) -> None:
        self._call("drop")


def _pack(message: Data) -> object:
    return message if isinstance(message, str) else {"base64": base64.b64encode(message).decode()}
