"""`connect` as people use it: at a terminal, with a line to type in and commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal, run_in_terminal
from tests.peer import TEXT, Peer
from tests.running import RunningServer, run_server

SERVICE = "tests.cli.talk_service:ws"
CLOSED = "closed with 1000 by this side"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Serve what is talked with."""
    with run_server(tmp_path_factory.mktemp("terminal") / "log", SERVICE) as server:
        yield server


def say(terminal: Terminal, line: str, *answers: str) -> None:
    """Type a line, and wait for what it brings."""
    terminal.until(">")
    terminal.type(f"{line}\r")
    terminal.until(f"> {line}", *answers, ">")


def test_line_being_typed_stays_whole_while_messages_come(server: RunningServer) -> None:
    url = f"{server.url}/room/whole"
    with Peer(server.port) as peer, run_in_terminal(url, "--close", "1001") as terminal:
        peer.open("/room/whole").read_message()
        terminal.until(f"connected to {url}; /help lists commands", "< welcome", ">")
        terminal.type("half of")
        terminal.until("< welcome", "> half of")
        peer.send_frame(TEXT, "one")
        terminal.until("< welcome", "< one", "> half of")
        terminal.resize(40)
        peer.send_frame(TEXT, "two\nlines")
        terminal.until("< two", "  lines", "> half of")
        terminal.type(" a line\r")
        assert peer.read_message() == "half of a line"
        terminal.until("> half of a line", ">")
        terminal.type("\x1b[A")  # the arrow that brings back what was typed before
        terminal.until("> half of a line", "> half of a line")
        terminal.type(" again\r")
        assert peer.read_message() == "half of a line again"
        terminal.until("> half of a line again", ">")
        terminal.type("\x03")
        assert terminal.wait() == 0


@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["ctrl-c", "ctrl-d"])
def test_keys_that_end_it(server: RunningServer, key: str) -> None:
    with run_in_terminal(f"{server.url}/echo") as terminal:
        say(terminal, "hello", "< hello")
        terminal.type(key)
        terminal.until(CLOSED)
        assert terminal.wait() == 0


def test_commands(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\0\1\2")
    with run_in_terminal(f"{server.url}/echo", "--no-compression") as terminal:
        say(terminal, "//slash", "< /slash")
        say(terminal, "/nonsense", "error: there is no such command; /help lists them")
        say(terminal, "/help", "/ping", *[""] * 8, "//TEXT")
        say(terminal, "/ping", "the pong came after ")
        say(terminal, f"/ping {'x' * 126}", "error: a ping holds 125 bytes at the most")
        say(terminal, "/binary 00 ff", "< (2 bytes) 00 ff")
        say(terminal, "/binary nonsense", "error: non-hexadecimal")
        say(terminal, f"/file {tmp_path}/file", "< (3 bytes) 00 01 02")
        say(terminal, "/file /none", "error: ")
        say(terminal, "/json", "JSON is shown indented")
        say(terminal, '{"a": 1}', "< {", '    "a": 1', "  }")
        say(terminal, "/headers", "> GET /echo", *["> "] * 5, "< HTTP/1.1 101", *["< "] * 4)
        say(terminal, "/stats", "sent 4 messages", "extensions: none", "latency: ")
        say(terminal, "/close x", "error: 'x' is not a close code")
        terminal.type("/close 4001 so long\r")
        terminal.until("closed with 4001 by this side which sent 4001 (so long)")
        assert terminal.wait() == 0


def test_quitting(server: RunningServer) -> None:
    with run_in_terminal(f"{server.url}/echo") as terminal:
        terminal.until(">")
        terminal.type("/quit\r")
        terminal.until(CLOSED)
        assert terminal.wait() == 0


def test_peer_that_leaves_ends_it(server: RunningServer) -> None:
    with run_in_terminal(f"{server.url}/close/4003") as terminal:
        assert terminal.wait() == 3
        assert terminal.lines[2].startswith("closed with 4003 (as you wish) by the peer")


def test_peer_cannot_steer_the_terminal(server: RunningServer) -> None:
    with run_in_terminal(f"{server.url}/harmful") as terminal:
        terminal.until(
            "connected to", r"< \x1b[2Jcleared", r"  next \u202etxet \x9b31m", "< (4 bytes)", ">"
        )
        terminal.type("\x04")
        assert terminal.wait() == 0


def test_refusal_comes_before_anything_is_asked_for(server: RunningServer) -> None:
    with run_in_terminal(f"{server.url}/nowhere") as terminal:
        assert terminal.wait() == 1
        assert terminal.lines[0].startswith("refused: ")
        assert terminal.lines[2:] == ["  hint: there is nothing at this path"]


def test_plain_terminal_has_to_do(server: RunningServer) -> None:
    with run_in_terminal(f"{server.url}/echo", TERM="dumb") as terminal:
        terminal.until("connected to")
        terminal.type("hello\r")
        terminal.until("< hello")
        terminal.type("/nonsense\r")
        terminal.until("error: there is no such command")
        terminal.type("\x03")
        assert terminal.wait() == 0
        assert CLOSED in terminal.lines[-1]


def test_without_the_library_it_says_what_is_missing(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "prompt_toolkit.py").write_text("raise ImportError")
    with run_in_terminal(f"{server.url}/echo", PYTHONPATH=str(tmp_path)) as terminal:
        terminal.until("pip install 'ws-middleware[cli]' keeps", "connected to")
        terminal.type("hello\r")
        terminal.until("< hello")
        terminal.type("\x04")
        terminal.until(CLOSED)
        assert terminal.wait() == 0


def test_password_is_asked_for_and_not_shown(server: RunningServer) -> None:
    with run_in_terminal(f"{server.url}/echo", "--auth", "ada") as terminal:
        terminal.until("Password of ada:")
        terminal.type("secret\r")
        terminal.until("connected to", ">")
        assert "secret" not in "\n".join(terminal.lines)
        terminal.type("\x04")
        assert terminal.wait() == 0


def test_question_for_the_password_can_be_left(server: RunningServer) -> None:
    with run_in_terminal(f"{server.url}/echo", "--auth", "ada") as terminal:
        terminal.until("Password of ada:")
        terminal.type("\x03")
        assert terminal.wait() == 130
        assert "Traceback" not in "\n".join(terminal.lines)
