"""The examples for WSGI frameworks, each under three servers with the commands of users."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peer import TEXT, Peer
from tests.running import RunningServer, eventually, free_port, is_listening, run_command

#: What starts each server for an app, on a port.
COMMANDS: dict[str, Callable[[str, int], list[str]]] = {
    "gunicorn": lambda app, port: ["gunicorn", "-b", f"127.0.0.1:{port}", app],
    "gthread": lambda app, port: [
        *("gunicorn", "-k", "gthread", "--threads", "2", "-b", f"127.0.0.1:{port}", app)
    ],
    "waitress": lambda app, port: ["waitress", f"--listen=127.0.0.1:{port}", app],
}


def talk_to_flask(server: RunningServer) -> None:
    assert "<title>lobby</title>" in get(server.port, "/lobby")[0]
    with Peer(server.port) as ada, Peer(server.port) as bob:
        ada.open("/chat/lobby").echo("hello")
        bob.open("/chat/lobby").echo("hi")
        assert ada.read_message() == "hi"
        bob.close()
        ada.close()


def talk_to_django(server: RunningServer) -> None:
    body, cookie = get(server.port, "/login/ada")
    assert body == "hello ada"
    with Peer(server.port) as peer:
        peer.open("/greet", fields={"Cookie": cookie.partition(";")[0]}).send_frame(TEXT, "hi")
        assert peer.read_message() == "ada said 'hi'"
        peer.close()
    with Peer(server.port) as stranger:
        assert stranger.open("/greet").expect_failure(4401) == "log in first"


def talk_to_bottle(server: RunningServer) -> None:
    assert "echo" in get(server.port, "/")[0]
    with Peer(server.port) as peer:
        peer.open("/echo").echo("hello")
        peer.echo(b"\x00\xff")
        peer.close()


TALKS = {
    "flask_chat:app": talk_to_flask,
    "django_wsgi:application": talk_to_django,
    "bottle_echo:app": talk_to_bottle,
}


def get(port: int, path: str) -> tuple[str, str]:
    """Give the body and the cookie that a page comes with."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status == 200
    body, cookie = response.read().decode(), response.getheader("Set-Cookie", "")
    connection.close()
    return body, cookie


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("app", TALKS)
def test_example_runs_under_three_servers(app: str, command: str, tmp_path: Path) -> None:
    port = free_port()
    program, *arguments = COMMANDS[command](f"examples.{app}", port)
    with run_command([sys.executable, "-m", program, *arguments], tmp_path / "log") as server:
        server.port = port
        eventually(lambda: is_listening(port))
        TALKS[app](server)
        server.terminate()
        server.wait()
        assert "Traceback" not in server.log
