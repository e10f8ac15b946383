"""What is typed at a terminal: messages, and commands that begin with a slash.

Rule: a mistake is told and costs nothing; the connection stays open.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import NamedTuple

from ws_middleware.aio import AsyncConnection
from ws_middleware.cli.inputs import read_file
from ws_middleware.cli.screen import Screen
from ws_middleware.cli.transcript import request_lines, response_lines
from ws_middleware.core.frames import MAX_CONTROL_PAYLOAD, Close, CloseCode, encode_close
from ws_middleware.core.messages import Data
from ws_middleware.errors import ConnectionClosed

__all__ = ["Command", "Commands", "Input", "Link", "parse_close"]

#: How long a pong is waited for, in seconds.
PONG_TIME = 10.0

_HELP = """\
/ping [DATA]            send a ping, and tell how long its pong takes
/binary HEX             send a binary message
/file PATH              send a file as one binary message
/json                   show JSON indented, or again as it comes
/headers                show the opening handshake
/stats                  show what was sent and received
/close [CODE [REASON]]  close the connection with this code, and leave
/quit                   close the connection, and leave; Ctrl+D and Ctrl+C do so too
/help                   show this
//TEXT                  send a message that begins with one slash"""


class Link(NamedTuple):
    """Hold a connection, and when it was opened."""

    connection: AsyncConnection
    opened_at: float

    def describe_traffic(self) -> str:
        """Tell in one sentence what was sent and received."""
        endpoint = self.connection.endpoint
        return (
            f"sent {endpoint.messages_sent} messages ({endpoint.bytes_sent} bytes), "
            f"received {endpoint.messages_received} ({endpoint.bytes_received} bytes) "
            f"in {time.monotonic() - self.opened_at:.1f} s"
        )


Command = Callable[[Link], Awaitable[None]]
#: What is done next: a message, one in fragments, a command; closing ends it.
Input = Data | AsyncIterator[bytes] | Command | Close


def parse_close(code: str, reason: str = "") -> Close:
    """Read a close code and a reason; `ValueError` says why they cannot be sent."""
    if not code.isascii() or not code.isdigit():
        raise ValueError(f"{code!r} is not a close code")
    close = Close(int(code), reason)
    encode_close(close)
    return close


class Commands:
    """Turn lines into what is done for them."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._pings: set[asyncio.Task[None]] = set()
        self._known: dict[bytes, Callable[[str], Input | None]] = {
            b"/ping": self._ping,
            b"/binary": bytes.fromhex,
            b"/file": self._file,
            b"/json": self._json,
            b"/headers": lambda _: self._headers,
            b"/stats": lambda _: self._stats,
            b"/close": self._close,
            b"/help": lambda _: self._tell(_HELP.splitlines()),
        }

    async def follow(self, lines: AsyncIterator[bytes]) -> AsyncIterator[Input]:
        """Give what is to be done, line by line, until /quit or the end."""
        async for line in lines:
            if line.strip() == b"/quit":
                return
            try:
                wanted = self._understand(line)
            except (ValueError, OSError) as error:
                self._screen.note(f"error: {error}")
                continue
            if wanted is not None:
                yield wanted

    def _understand(self, line: bytes) -> Input | None:
        if line.startswith(b"//"):
            line = line[1:]
        elif line.startswith(b"/"):
            name, _, argument = line.partition(b" ")
            if name not in self._known:
                raise ValueError("there is no such command; /help lists them, // sends a slash")
            return self._known[name](argument.decode(errors="surrogateescape").strip())
        return self._screen.form.read(line) if line else None

    def _ping(self, data: str) -> Command:
        payload = data.encode(errors="surrogateescape")
        if len(payload) > MAX_CONTROL_PAYLOAD:
            raise ValueError(f"a ping holds {MAX_CONTROL_PAYLOAD} bytes at the most")

        async def ping(link: Link) -> None:
            task = asyncio.create_task(self._await_pong(link, payload or None))
            self._pings.add(task)
            task.add_done_callback(self._pings.discard)

        return ping

    async def _await_pong(self, link: Link, payload: bytes | None) -> None:
        try:
            latency = await link.connection.ping(payload, PONG_TIME)
        except TimeoutError:
            self._screen.note(f"no pong came within {PONG_TIME:g} s")
        except ConnectionClosed:
            pass  # which is told anyway
        else:
            self._screen.note(f"the pong came after {latency * 1000:.1f} ms")

    def _file(self, path: str) -> AsyncIterator[bytes]:
        return read_file(open(os.path.expanduser(path), "rb"))

    def _json(self, _: str) -> None:
        screen = self._screen
        screen.form = replace(screen.form, pretty=not screen.form.pretty)
        screen.note(f"JSON is shown {'indented' if screen.form.pretty else 'as it comes'}")

    async def _headers(self, link: Link) -> None:
        connection = link.connection
        assert connection.response is not None
        self._tell(request_lines(connection.request.head))
        self._tell(response_lines(connection.response))

    def _tell(self, lines: list[str]) -> None:
        for line in lines:
            self._screen.note(line)

    async def _stats(self, link: Link) -> None:
        connection = link.connection
        latency = connection.latency
        self._screen.note(link.describe_traffic())
        self._screen.note(f"extensions: {', '.join(connection.extensions) or 'none'}")
        if latency is not None:
            self._screen.note(f"latency: {latency * 1000:.1f} ms")

    def _close(self, argument: str) -> Close:
        code, _, reason = argument.partition(" ")
        return parse_close(code, reason.strip()) if code else Close(CloseCode.NORMAL)
