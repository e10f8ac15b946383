"""One running server of each kind for the whole session, and peers of it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import cast

import pytest

from tests.asgi.kinds import KINDS, Kind, Served, serve
from tests.asgi.stream_socket import StreamSocket
from tests.peer import Peer
from tests.running import Log

Connect = Callable[[], Peer]


@pytest.fixture(scope="session", params=KINDS, ids=lambda kind: kind.name)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Give a server of each kind, in turn."""
    kind: Kind = request.param
    with serve(kind, tmp_path_factory.mktemp(kind.name)) as served:
        yield served


def connect(served: Served) -> Peer:
    """Connect to a server, over TLS where it speaks that."""
    peer = Peer(served.port)
    if served.certificate is not None:
        context = served.certificate.client_context()
        peer.socket = context.wrap_socket(peer.socket, server_hostname="127.0.0.1")
    if served.kind.http2:
        peer.socket = cast(socket.socket, StreamSocket(peer.socket, "http"))
    return peer


@pytest.fixture
def new_peer(server: Served) -> Iterator[Connect]:
    """Give a function that connects."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(connect(server))


@pytest.fixture
def peer(new_peer: Connect) -> Peer:
    """Give a connection to the server."""
    return new_peer()


@pytest.fixture
def log(server: Served) -> Log:
    """Give what the server prints from now on."""
    return Log(server)
