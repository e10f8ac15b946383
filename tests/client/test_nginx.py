"""nginx as the end of TLS in front of our server, and clients of ours before it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from tests.inprocess import run_really
from tests.running import PATIENCE, free_port, run_server
from tests.tls import Authority
from tests.wsgi.test_nginx import documented, nginx
from ws_middleware import HandshakeRefused, aconnect, connect


class Front(NamedTuple):
    """Hold where nginx listens, and the settings of a client that trusts it."""

    url: str
    settings: dict[str, Any]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("nginx")
    authority, port = Authority(folder), free_port()
    certificate = authority.issue("localhost")
    with ExitStack() as stack:
        server = stack.enter_context(run_server(folder / "server.log", "tests.interop.app:ws"))
        block, _ = documented(port)
        listen = f"listen 127.0.0.1:{port};"
        secured = (
            f"listen 127.0.0.1:{port} ssl;\n"
            f"ssl_certificate {certificate.certfile};\nssl_certificate_key {certificate.keyfile};"
        )
        assert listen in block
        block = block.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
        stack.enter_context(nginx(block.replace(listen, secured), port, folder))
        settings = {"ssl_context": authority.client_context(), "proxy": None}
        yield Front(f"wss://localhost:{port}", settings)


def test_clients_talk_through_nginx(front: Front) -> None:
    message = "x" * 200_000
    with connect(f"{front.url}/echo", **front.settings) as connection:
        connection.send(message)
        assert connection.recv(PATIENCE) == message
        assert connection.ping(timeout=PATIENCE) < PATIENCE
    assert connection.close_code == 1000

    async def run() -> int | None:
        async with aconnect(f"{front.url}/echo", **front.settings) as connection:
            await connection.send(message)
            assert await connection.recv(PATIENCE) == message
        return connection.close_code

    assert run_really(run()) == 1000


def test_refusal_comes_through_nginx(front: Front) -> None:
    with pytest.raises(HandshakeRefused) as caught:
        connect(f"{front.url}/nowhere", **front.settings)
    assert caught.value.status == 404
    assert b"there is no WebSocket at this path" in caught.value.body
