"""WebSockets over HTTP/3 (RFC 9220): a stream of hypercorn's, with aioquic as the client."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection, Setting
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent

from tests.asgi.stream_socket import extended_connect
from tests.core.wire import read_frames
from tests.inprocess import run_really
from tests.peer import BINARY, CLOSE, PING, PONG, TEXT, Received, frame
from tests.running import RunningServer, eventually, free_port, is_listening, run_command
from tests.tls import make_certificate


class Client(QuicConnectionProtocol):
    """Open one WebSocket in a connection of HTTP/3."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.h3 = H3Connection(self._quic)
        self.stream = 0
        self.fields: dict[str, str] = {}
        self.received = b""
        self.ended = False
        self.changed = asyncio.Event()

    def quic_event_received(self, event: QuicEvent) -> None:
        for one in self.h3.handle_event(event):
            if isinstance(one, HeadersReceived):
                self.fields = {name.decode(): value.decode() for name, value in one.headers}
            elif isinstance(one, DataReceived):
                self.received += one.data
            self.ended |= getattr(one, "stream_ended", False)
        self.changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for what the server sends."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    async def open(self, path: str, **fields: str) -> str:
        """Ask for a WebSocket; gives the status."""
        await self.until(lambda: self.h3.received_settings is not None)
        assert (self.h3.received_settings or {})[Setting.ENABLE_CONNECT_PROTOCOL] == 1
        self.stream = self._quic.get_next_available_stream_id()
        asked = extended_connect(path, **fields)
        headers = [(name.encode(), value.encode()) for name, value in asked.items()]
        self.h3.send_headers(self.stream, headers)
        self.transmit()
        await self.until(lambda: self.fields)
        return self.fields[":status"]

    def send(self, data: bytes, *, last: bool = False) -> None:
        """Send bytes of the WebSocket."""
        self.h3.send_data(self.stream, data, last)
        self.transmit()

    async def frames(self, count: int) -> list[Received]:
        """Wait for so many frames."""

        def whole() -> bool:
            try:
                return len(read_frames(self.received)) >= count
            except (AssertionError, IndexError):
                return False  # half a frame

        await self.until(whole)
        return read_frames(self.received)


@asynccontextmanager
async def connecting(port: int, **given: Any) -> AsyncIterator[Client]:
    settings = QuicConfiguration(
        alpn_protocols=H3_ALPN, is_client=True, verify_mode=ssl.CERT_NONE, **given
    )
    async with connect("127.0.0.1", port, configuration=settings, create_protocol=Client) as one:
        assert isinstance(one, Client)
        yield one


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder, port = tmp_path_factory.mktemp("http3"), free_port()
    command = [sys.executable, "-m", "hypercorn", "tests.asgi.apps:app"]
    command += ["--bind", f"127.0.0.1:{port}", "--quic-bind", f"127.0.0.1:{port}"]
    with run_command([*command, *make_certificate(folder).arguments], folder / "log") as running:
        running.port = port
        eventually(lambda: is_listening(port) and "(QUIC)" in running.log)
        yield running
        assert "Traceback" not in running.log


def memory_of(server: RunningServer) -> int:
    """Give the resident memory of all processes of a server, in bytes."""
    parent = psutil.Process(server.process.pid)
    processes = [parent, *parent.children(recursive=True)]
    return sum(int(one.memory_info().rss) for one in processes)


def talk(server: RunningServer, conversation: Callable[[Client], Awaitable[None]]) -> None:
    """Have a conversation over a connection of its own."""

    async def run() -> None:
        async with connecting(server.port) as client:
            await conversation(client)

    run_really(run())


@pytest.mark.parametrize("path", ["/async", "/def", "/callbacks", "/async-callbacks"])
def test_handlers_of_each_shape(server: RunningServer, path: str) -> None:
    async def converse(client: Client) -> None:
        assert await client.open(path) == "200"
        client.send(frame(TEXT, "hello") + frame(BINARY, bytes(100_000)))
        assert [one.payload for one in await client.frames(2)] == [b"hello", bytes(100_000)]
        client.send(frame(CLOSE, (4242).to_bytes(2, "big")))
        assert (await client.frames(3))[2].payload == (4242).to_bytes(2, "big")
        await client.until(lambda: client.ended)
        client.send(b"", last=True)

    talk(server, converse)
    eventually(lambda: f"'{path}' identity=" in server.log)
    assert "closed with 4242" in server.log


def test_pings_are_ours(server: RunningServer) -> None:
    async def converse(client: Client) -> None:
        await client.open("/pinging")
        (ping,) = await client.frames(1)
        assert ping.opcode == PING
        client.send(frame(PONG, ping.payload))
        assert (await client.frames(2))[1].payload.startswith(b"latency")

    talk(server, converse)


def test_compression_is_ours(server: RunningServer) -> None:
    async def converse(client: Client) -> None:
        await client.open("/async", sec_websocket_extensions="permessage-deflate")
        assert "server_max_window_bits=12" in client.fields["sec-websocket-extensions"]

    talk(server, converse)


def test_handler_knows_its_request(server: RunningServer) -> None:
    async def converse(client: Client) -> None:
        await client.open("/told/a%20b?x=1", cookie="taste=sweet")
        told = json.loads((await client.frames(1))[0].payload)
        assert (told["name"], told["query"], told["cookie"]) == ("a b", "1", "sweet")
        assert (told["secure"], told["version"], told["host"]) == (True, "1.1", "127.0.0.1")

    talk(server, converse)


def test_refusal_is_a_whole_response(server: RunningServer) -> None:
    async def converse(client: Client) -> None:
        assert await client.open("/known") == "401"
        assert client.fields["www-authenticate"] == 'Bearer realm="test"'
        await client.until(lambda: client.ended)
        assert client.received == b"who are you?\n"

    talk(server, converse)


def test_endpoint_of_the_app_itself(server: RunningServer) -> None:
    async def converse(client: Client) -> None:
        await client.open("/own/echo", sec_websocket_protocol="a, b")
        assert client.fields["sec-websocket-protocol"] == "b"
        client.send(frame(TEXT, "hello"))
        assert (await client.frames(1))[0].payload == b"hello"

    talk(server, converse)


def test_one_who_does_not_receive_keeps_nobody_waiting(server: RunningServer) -> None:
    async def converse(client: Client) -> None:
        await client.open("/sending")
        for _ in range(20):
            client.send(frame(TEXT, "x" * 1000))
        async with connecting(server.port) as other:
            await other.open("/async")
            other.send(frame(TEXT, "hello"))
            assert (await other.frames(1))[0].payload == b"hello"

    talk(server, converse)


def test_sender_waits_for_a_peer_that_gives_no_room(server: RunningServer) -> None:
    async def run() -> None:
        async with connecting(server.port, max_stream_data=50_000) as client:
            client._quic._write_stream_limits = lambda *_, **__: None  # type: ignore[method-assign]
            await client.open("/sending")
            await client.until(lambda: len(client.received) > 45_000)
            before = memory_of(server)
            await asyncio.sleep(1)
            assert memory_of(server) - before < 8 * 2**20

    run_really(run())


def test_stopping_server_says_goodbye(server: RunningServer) -> None:
    async def converse(client: Client) -> None:
        await client.open("/async")
        server.terminate()
        assert (await client.frames(1))[0].payload[:2] == (1001).to_bytes(2, "big")

    talk(server, converse)
