"""The standalone server in one process: what it is told, TLS, its exit status."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.asgi.handshaking import request_bytes
from tests.core.wire import close, read_frames
from tests.inprocess import in_real_time, run_really
from tests.peer import CLOSE, PATIENCE, TEXT, Peer, Received, frame
from tests.tls import Certificate, make_certificate
from ws_middleware import server as module
from ws_middleware.aio import AsyncConnection
from ws_middleware.listening import bind
from ws_middleware.mounts import WebSockets
from ws_middleware.options import Options
from ws_middleware.server import Server, ServerConfig, serve

ws = WebSockets(extensions=(), max_queue=3)


@ws.route("/")
async def echo(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def failing_to_start(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "on purpose"})


class Client:
    """Be a WebSocket client over asyncio streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def open(self, early: bytes = b"") -> bytes:
        """Make the handshake; returns the response's head."""
        self.writer.write(request_bytes("/") + early)
        return await self.reader.readuntil(b"\r\n\r\n")

    async def read_frame(self) -> Received:
        head = await self.reader.readexactly(2)
        (received,) = read_frames(head + await self.reader.readexactly(head[1]))
        return received

    async def check_echo(self, text: str) -> None:
        self.writer.write(frame(TEXT, text))
        assert (await self.read_frame()).payload == text.encode()

    async def leave(self) -> None:
        self.writer.write(close())
        assert await self.reader.read() == close(masked=False)
        self.writer.close()
        await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def connected(**where: Any) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(**where)
    client = Client(reader, writer)
    yield client
    writer.close()


# --- the server in a running loop ---

LOOPS = [
    pytest.param(asyncio.new_event_loop, id="asyncio"),
    pytest.param(uvloop.new_event_loop, id="uvloop"),
]


@pytest.mark.parametrize("loop", LOOPS)
def test_messages(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scene() -> None:
        async with Server(ws, port=0) as server:
            assert server.url == f"ws://127.0.0.1:{server.port}/"
            async with connected(host="127.0.0.1", port=server.port) as client:
                assert (await client.open()).startswith(b"HTTP/1.1 101 ")
                await client.check_echo("hello")
                await client.leave()

    run_really(scene(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_messages_over_a_unix_socket(
    loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path
) -> None:
    path = str(tmp_path / "socket")

    async def scene() -> None:
        async with Server(ws, uds=path):
            client = Client(*await asyncio.open_unix_connection(path))
            assert (await client.open()).startswith(b"HTTP/1.1 101 ")
            await client.check_echo("hello")
            await client.leave()

    run_really(scene(), loop)
    assert not Path(path).exists()


@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6 here")
@in_real_time
async def test_url_of_an_ipv6_address() -> None:
    async with Server(ws, "::1", port=0) as server:
        assert server.url == f"ws://[::1]:{server.port}/"


@in_real_time
async def test_options_are_those_of_the_routes_unless_others_are_given() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    for given, options, expected in (
        (ws, None, 3),
        (ws, Options(max_queue=4), 4),
        (app, None, 16),
        (app, Options(max_queue=4), 4),
    ):
        server = Server(given, port=0, options=options)
        config = server._server.config
        assert isinstance(config, ServerConfig)
        assert config.options.max_queue == expected
        await server.stop()


@in_real_time
async def test_setting_that_does_not_exist_leaves_no_socket() -> None:
    with pytest.raises(TypeError, match="no_such_setting"):
        Server(ws, port=0, no_such_setting=1)
    gc.collect()


@in_real_time
async def test_settings_of_connections_have_another_place() -> None:
    with pytest.raises(TypeError, match=r"write WebSockets\(max_message_size=\.\.\.\)"):
        Server(ws, port=0, max_message_size=1)


@pytest.mark.parametrize("wrong", [None, 3, echo])
@in_real_time
async def test_what_is_no_app_cannot_be_served(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"an app is something|takes the arguments of neither"):
        Server(wrong, port=0)


@in_real_time
async def test_wsgi_app_needs_a_mount() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]: ...

    with pytest.raises(TypeError, match=r"is a WSGI app: serve it as Server\(ws\.asgi\(app\)\)"):
        Server(app, port=0)
    async with Server(ws.asgi(app), port=0):
        pass


@in_real_time
async def test_app_that_takes_anything_may_be_an_asgi_app() -> None:
    def app(*arguments: Any) -> Any:
        return ws.asgi()(*arguments)

    async with Server(app, port=0):
        pass


@in_real_time
async def test_factory_of_an_app_can_be_served() -> None:
    async with Server(lambda: ws.asgi(), port=0, factory=True):
        pass


@in_real_time
async def test_server_serves_once() -> None:
    server = Server(ws, port=0)
    async with server:
        with pytest.raises(RuntimeError, match="a Server serves once"):
            await server.__aenter__()
    with pytest.raises(RuntimeError, match="a Server serves once"):
        await server.__aenter__()


@in_real_time
async def test_running_on_a_loop_that_runs_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"async with Server\(ws\)"):
        ws.run(port=0)


@in_real_time
async def test_app_that_fails_to_start_is_told_to_who_embeds_it() -> None:
    server = Server(failing_to_start, port=0)
    with pytest.raises(RuntimeError, match=r"failed to start|stopped before it had started"):
        async with server:
            pytest.fail("it has not started")


# --- TLS ---


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def secure_server(certificate: Certificate, **options: Any) -> Server:
    router = WebSockets(extensions=(), **options)
    router.add("/", echo)
    return Server(
        router,
        port=0,
        ssl_certfile=str(certificate.certfile),
        ssl_keyfile=str(certificate.keyfile),
    )


@in_real_time
async def test_certificate_is_looked_at_before_anything_is_served(certificate: Certificate) -> None:
    with pytest.raises(ValueError, match=r"ssl_certfile: there is no certificate in '.*key\.pem'"):
        Server(ws, port=0, ssl_certfile=certificate.keyfile)
    with pytest.raises(ValueError, match="ssl_keyfile needs ssl_certfile"):
        Server(ws, port=0, ssl_keyfile=certificate.keyfile)


@pytest.mark.parametrize("loop", LOOPS)
def test_messages_over_tls(
    loop: Callable[[], asyncio.AbstractEventLoop], certificate: Certificate
) -> None:
    async def scene() -> None:
        async with secure_server(certificate) as server:
            assert server.url == f"wss://127.0.0.1:{server.port}/"
            context = certificate.client_context()
            async with connected(host="127.0.0.1", port=server.port, ssl=context) as client:
                assert (await client.open(frame(TEXT, "early"))).startswith(b"HTTP/1.1 101 ")
                assert (await client.read_frame()).payload == b"early"
                await client.check_echo("hello")
                client.writer.write(close())
                assert await client.reader.read() == close(masked=False)

    run_really(scene(), loop)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("open_timeout", [10.0, None])
def test_what_is_not_tls_is_dropped_and_logged(
    loop: Callable[[], asyncio.AbstractEventLoop],
    certificate: Certificate,
    open_timeout: float | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="ws_middleware")

    async def scene() -> None:
        async with secure_server(certificate, open_timeout=open_timeout) as server:
            async with connected(host="127.0.0.1", port=server.port) as client:
                client.writer.write(b"GET / HTTP/1.1\r\n\r\n")
                with contextlib.suppress(ConnectionResetError):
                    assert b"HTTP" not in await client.reader.read()
            assert not server._server.server_state.connections

    run_really(scene(), loop)
    assert "TLS handshake failed: " in caplog.text


@pytest.mark.parametrize("loop", LOOPS)
def test_tls_handshake_that_does_not_come_is_given_up(
    loop: Callable[[], asyncio.AbstractEventLoop], certificate: Certificate
) -> None:
    async def scene() -> None:
        async with (
            secure_server(certificate, open_timeout=0.2) as server,
            connected(host="127.0.0.1", port=server.port) as client,
        ):
            with contextlib.suppress(ConnectionResetError):
                assert await client.reader.read() == b""

    run_really(scene(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_silence_behind_the_tls_handshake_has_the_same_deadline(
    loop: Callable[[], asyncio.AbstractEventLoop], certificate: Certificate
) -> None:
    async def scene() -> None:
        async with secure_server(certificate, open_timeout=0.5) as server:
            context = certificate.client_context()
            async with connected(host="127.0.0.1", port=server.port, ssl=context) as client:
                with contextlib.suppress(ConnectionResetError, ssl.SSLError):
                    assert await client.reader.read() == b""

    run_really(scene(), loop)


# --- the command's server ---


def make_config(**settings: Any) -> ServerConfig:
    return ServerConfig(ws.asgi(), options=ws.options, **settings)


def test_signal_ends_the_server_well_and_is_not_raised_again() -> None:
    received: list[int] = []
    former = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    sock = bind(port=0)
    port = sock.getsockname()[1]

    goodbyes: list[tuple[int, str]] = []

    def connect_and_stop() -> None:
        with Peer(port) as peer:
            peer.open("/")
            os.kill(os.getpid(), signal.SIGTERM)
            goodbyes.append(peer.read_close())
            peer.send_frame(CLOSE, b"\x03\xe9")
            peer.read_end()

    connecting = threading.Thread(target=connect_and_stop)
    connecting.start()
    try:
        assert serve(make_config(), sock) == 0
        connecting.join(PATIENCE)
        assert goodbyes == [(1001, "the server is shutting down")]
        assert received == []
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM], "whoever had it before has it again"
    finally:
        signal.signal(signal.SIGTERM, former)


def test_app_that_fails_to_start_is_a_bad_end() -> None:
    config = ServerConfig(failing_to_start, options=Options())
    with pytest.raises(SystemExit) as error:
        raise SystemExit(serve(config, bind(port=0)))
    assert error.value.code not in (0, None)


def test_server_in_another_thread_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with module._ignored_afterwards():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before

    def work() -> None:
        with module._ignored_afterwards():
            assert signal.getsignal(signal.SIGTERM) is before
            entered.append(True)

    entered: list[bool] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [True]


@pytest.mark.parametrize("settings", [{"reload": True}, {"workers": 2}])
def test_several_processes_are_the_business_of_the_command(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="options of the command line alone"):
        make_config(**settings)


def test_number_of_processes_is_not_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    assert make_config().workers == 1
