"""A name with several addresses: one that does not answer leaves time for the others."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.client.scripted import accepting, scripted
from tests.client.ways import Open, standard_ways


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """Give a port whose connections are neither accepted nor refused: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


@contextlib.contextmanager
def resolved_to(monkeypatch: pytest.MonkeyPatch, *ports: int) -> Iterator[str]:
    """Give a name that leads to several ports of loopback."""
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *rest: Any, **named: Any) -> Any:
        if host != "several.test":
            return real(host, port, *rest, **named)
        if named.get("flags", 0) & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not an address")
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", one))
            for one in ports
        ]

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", look_up)
        yield "ws://several.test/"


@standard_ways
def test_address_that_refuses_is_passed_over(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        scripted() as gone,
        scripted(accepting()) as server,
        resolved_to(monkeypatch, gone.port, server.port) as url,
    ):
        gone.stop()
        open_(url, proxy=None)
    assert server.asked[0].field("Host") == "several.test"


@standard_ways
def test_address_that_says_nothing_leaves_time_for_others(
    open_: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        silent_port() as silent,
        scripted(accepting()) as server,
        resolved_to(monkeypatch, silent, server.port) as url,
    ):
        open_(url, proxy=None, open_timeout=5)
    assert len(server.asked) == 1


@standard_ways
def test_all_addresses_share_the_time(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        silent_port() as one,
        silent_port() as other,
        resolved_to(monkeypatch, one, other) as url,
        pytest.raises(TimeoutError, match=r"open_timeout=0\.3"),
    ):
        open_(url, proxy=None, open_timeout=0.3)
