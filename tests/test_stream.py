"""Streams over TLS, of which several share a thread."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.running import PATIENCE, eventually
from tests.tls import Certificate, make_certificate
from ws_middleware.stream import Stream


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder: Path = tmp_path_factory.mktemp("certificate")
    return make_certificate(folder)


@contextlib.contextmanager
def connected(certificate: Certificate) -> Iterator[tuple[Stream, ssl.SSLSocket]]:
    """Connect a stream with a blocking peer, over TLS."""
    plain, theirs = _tcp_pair()
    server, client = certificate.server_context(), certificate.client_context()
    secured: list[ssl.SSLSocket] = []
    accepting = threading.Thread(
        target=lambda: secured.append(server.wrap_socket(plain, server_side=True))
    )
    accepting.start()
    with client.wrap_socket(
        theirs, server_hostname="127.0.0.1", suppress_ragged_eofs=False
    ) as peer:
        accepting.join()
        with secured[0] as ours:
            peer.settimeout(PATIENCE)
            yield Stream(ours), peer


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        return listener.accept()[0], theirs


def leave_an_error() -> None:
    """Leave an error in OpenSSL's queue for this thread, which has to do with no connection."""
    with contextlib.suppress(ValueError):
        cast(Any, ssl)._ASN1Object.fromname("nonsense")


def test_python_does_take_it_for_the_connections(certificate: Certificate) -> None:
    with connected(certificate) as (stream, _):
        leave_an_error()
        with pytest.raises(ssl.SSLError) as caught:
            stream.sock.recv(1)
        assert not isinstance(caught.value, ssl.SSLWantReadError)


def test_nothing_to_receive_is_no_error(certificate: Certificate) -> None:
    with connected(certificate) as (stream, peer):
        leave_an_error()
        assert stream.receive() is None
        peer.sendall(b"hello")
        leave_an_error()
        eventually(lambda: stream.receive() == b"hello")


def test_peer_that_takes_nothing_is_no_error(certificate: Certificate) -> None:
    data = bytes(100_000)
    with connected(certificate) as (stream, peer):
        sent = 0
        while taken := stream.send(data):
            sent += taken
        leave_an_error()
        assert stream.send(data) == 0
        left = sent + len(data)

        def receive() -> None:
            nonlocal left
            while left:
                left -= len(peer.recv(65_536))

        receiving = threading.Thread(target=receive)
        receiving.start()
        taken = 0
        while taken < len(data):
            leave_an_error()
            taken += stream.send(data[taken:])
        receiving.join()


def test_peer_is_told_of_the_end(certificate: Certificate) -> None:
    with connected(certificate) as (stream, peer):
        leave_an_error()
        stream.end_writing()
        assert peer.recv(1) == b"", "without a close_notify this would raise"


@pytest.mark.parametrize("call", ["send", "receive"])
def test_connection_that_was_reset_disturbs_no_other(certificate: Certificate, call: str) -> None:
    with connected(certificate) as (lost, resetting), connected(certificate) as (stream, peer):
        resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        resetting.close()
        with contextlib.suppress(OSError):
            eventually(lambda: lost.send(b"x") == 0 if call == "send" else lost.receive() == b"")
        with pytest.raises(ssl.SSLWantReadError):
            stream.sock.recv(1)  # by whomever
        peer.sendall(b"hello")
        eventually(lambda: stream.receive() == b"hello")
