"""Whom nginx speaks for, with the lines that the documentation prints."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.admission.checks import enter, key
from tests.peer import Peer
from tests.running import RunningServer, eventually, free_port, run_server
from tests.wsgi.asking import ask
from tests.wsgi.test_nginx import documented, nginx

#: Another address than nginx's own, from which clients come.
CLIENT = "127.0.0.2"


@pytest.fixture(scope="module")
def front(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[int, RunningServer]]:
    """Give nginx's port, and the server behind it."""
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    targets = ("tests.admission.doors:ws", "tests.admission.doors:pages")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(run_server(folder / "log", *targets))
        block = documented(port)[0].replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
        stack.enter_context(nginx(block, port, folder))
        yield port, server


@pytest.mark.fault(24)
def test_client_behind_nginx_has_its_own_address(front: tuple[int, RunningServer]) -> None:
    port, server = front
    lies: dict[str, str | None] = {
        "X-Forwarded-For": "6.6.6.6",
        "Forwarded": "for=6.6.6.6",
        "X-Forwarded-Proto": "https",
        "Origin": f"http://127.0.0.1:{port}",
    }
    with Peer(port, source=CLIENT) as peer:
        told = enter(peer, "/door/async/proxied", lies)
        peer.close()
    assert told["address"] == [CLIENT, 0]
    assert (told["secure"], told["host"]) == (False, f"127.0.0.1:{port}")
    eventually(lambda: f"{CLIENT}:0 '/door/async/proxied'" in server.log)


def test_nginx_is_the_client_where_it_is_not_trusted(front: tuple[int, RunningServer]) -> None:
    port, _ = front
    with Peer(port, source=CLIENT) as peer:
        told = enter(peer, "/door/async/open")
    assert told["address"][0] == "127.0.0.1"


def test_challenge_is_answered_through_nginx(front: tuple[int, RunningServer]) -> None:
    port, _ = front
    with Peer(port, source=CLIENT) as peer:
        answer = ask(peer, peer.request("/door/async/key"))
        assert answer.status == 401
        assert not answer.closes
        assert enter(peer, "/door/async/key", key("ann"))["identity"] == "ann"
        peer.echo("hello")
