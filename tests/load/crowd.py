"""Thousands of clients of one server, in the test's own process."""

from __future__ import annotations

import http.client
import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.peer import CLOSE, TEXT, Peer
from tests.running import PATIENCE

__all__ = ["allow_descriptors", "crowd", "get", "leave", "talk"]

#: How many handshakes are under way at once.
BATCH = 250
#: What a process opens beside its connections.
SPARE_DESCRIPTORS = 200


@contextmanager
def allow_descriptors(count: int) -> Iterator[None]:
    """Let this process, and those it starts, open `count` connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE_DESCRIPTORS
    if hard != resource.RLIM_INFINITY and hard < wanted:
        message = f"{wanted} descriptors are needed, the hard limit is {hard}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def crowd(port: int, count: int, path: str = "/", at_once: int = BATCH) -> Iterator[list[Peer]]:
    """Open `count` WebSockets, `at_once` in one go; their sockets are closed with the block."""
    with ExitStack() as stack:
        peers: list[Peer] = []
        while len(peers) < count:
            batch = [
                stack.enter_context(Peer(port)) for _ in range(min(at_once, count - len(peers)))
            ]
            for peer in batch:
                peer.send(peer.request(path))
            for peer in batch:
                assert peer.reply().status == 101
            peers += batch
        yield peers


def leave(peers: list[Peer], code: int, *, by_server: bool = False) -> None:
    """Do the closing handshake on all connections, whoever began it."""
    goodbye = code.to_bytes(2, "big")
    if not by_server:
        for peer in peers:
            peer.send_frame(CLOSE, goodbye)
    for peer in peers:
        assert peer.read_close()[0] == code
        if by_server:
            peer.send_frame(CLOSE, goodbye)
    for peer in peers:
        peer.read_end()
        peer.socket.close()  # the end of our stream


def talk(talkers: list[Peer], text: str) -> None:
    """Send on all connections before any answer is read."""
    for number, peer in enumerate(talkers):
        peer.send_frame(TEXT, text + str(number))
    for number, peer in enumerate(talkers):
        assert peer.read_message() == text + str(number)


def get(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()
