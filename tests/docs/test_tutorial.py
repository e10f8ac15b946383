"""The tutorial is followed step by step: its files are written, its commands run, and talked to."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.commands import run_documented
from tests.docs.pages import Block, blocks_of
from tests.interop.chromium import run_chromium
from tests.peer import CLOSE, TEXT, Peer
from tests.running import PATIENCE, ROOT, RunningServer, eventually

TUTORIAL = ROOT / "docs" / "tutorial" / "chat.md"


def read_steps() -> tuple[list[tuple[str, dict[str, str]]], dict[str, str]]:
    """Give each server command with the files as they are then, and the files of the end."""
    steps: list[tuple[str, dict[str, str]]] = []
    files: dict[str, str] = {}
    for block in blocks_of(TUTORIAL, "python", "html", "sh"):
        if block.file_name is not None:
            files[block.file_name] = block.text
        steps += [(command, dict(files)) for command in server_commands(block)]
    return steps, files


def server_commands(block: Block) -> list[str]:
    commands = block.commands if block.language == "sh" else []
    return [command for command in commands if command.startswith("python -m ws_middleware")]


def write(files: dict[str, str], folder: Path) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)


def talk_to_echo(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        peer.send(f"GET / HTTP/1.1\r\nHost: {peer.host}\r\n\r\n".encode())
        assert peer.reply().fields["content-type"] == "text/html; charset=utf-8"
    with Peer(server.port) as peer:
        peer.open("/chat").echo("hello")
        peer.close()
    eventually(lambda: "'/chat' identity=" in server.log)


def talk_to_everybody(server: RunningServer) -> None:
    with Peer(server.port) as ada, Peer(server.port) as bob:
        ada.open("/chat").echo("both are members once they are answered")
        bob.open("/chat").send_frame(TEXT, "hello")
        assert ada.read_message() == bob.read_message() == "hello"
        bob.close()
        ada.echo("alone again")


def talk_by_name(server: RunningServer) -> None:
    with Peer(server.port) as ada, Peer(server.port) as bob:
        assert ada.open("/chat?name=ada").read_message() == "ada is here"
        assert bob.open("/chat").read_message() == "guest is here"
        bob.send_frame(TEXT, "hello")
        bob.reset()
        said = [ada.read_message() for _ in range(3)]
        assert said == ["guest is here", "guest: hello", "guest is gone"]


def talk_in_rooms(server: RunningServer) -> None:
    with Peer(server.port) as ada, Peer(server.port) as bob, Peer(server.port) as eve:
        assert ada.open("/chat?name=ada").read_message() == "ada is here"
        assert bob.open("/chat/garden?name=bob").read_message() == "bob is here"
        ada.send_frame(TEXT, "hello")
        assert ada.read_message() == "ada: hello"
        bob.send_frame(TEXT, "x" * 4097)
        assert "max_message_size=4096" in bob.expect_failure(1009)
        eve.send(eve.request("/chat/cellar"))
        assert eve.reply().status == 403
    eventually(lambda: "max_message_size=4096" in server.log)
    with Peer(server.port) as peer:
        peer.open("/chat/garden?name=eve").read_message()
        server.terminate()
        assert peer.read_close() == (1001, "the server is shutting down")
        peer.send_frame(CLOSE, (1001).to_bytes(2, "big"))
    assert server.wait() == 0


TALKS = [talk_to_echo, talk_to_everybody, talk_by_name, talk_in_rooms]
STEPS = [step for step in read_steps()[0] if "--reload" not in step[0]]


@pytest.mark.parametrize(
    ("step", "talk"), list(zip(STEPS, TALKS, strict=True)), ids=[talk.__name__ for talk in TALKS]
)
def test_step_works(
    step: tuple[str, dict[str, str]], talk: Callable[[RunningServer], None], tmp_path: Path
) -> None:
    command, files = step
    write(files, tmp_path)
    with run_documented(shlex.split(command), tmp_path / "log", tmp_path) as server:
        talk(server)
        assert "Traceback" not in server.log


def test_page_of_the_tutorial_chats_in_a_browser(
    need: Callable[[str], str], tmp_path: Path
) -> None:
    command, files = STEPS[-1]
    write(files, tmp_path)
    # A browser may take its time, while the other side waits without answering pings.
    patient = [*shlex.split(command), "--ping-interval", "0"]
    with (
        run_documented(patient, tmp_path / "log", tmp_path) as server,
        run_chromium(need("chromium"), tmp_path) as browser,
        Peer(server.port) as bob,
    ):
        bob.open("/chat/garden?name=bob").read_message()
        with browser.page(f"http://127.0.0.1:{server.port}/garden?name=ada") as page:
            assert bob.read_message() == "ada is here"
            # The server has greeted before the browser has read that the handshake is done.
            eventually(lambda: not page.is_disabled("button"))
            page.fill("input", "hello")
            page.press_enter()
            assert bob.read_message() == "ada: hello"
            eventually(lambda: "ada: hello" in page.text("ul"))
            page.fill("input", "x" * 5000)
            page.click("button")
            eventually(lambda: "closed with 1009" in page.text("ul"))
            assert page.is_disabled("button")
            assert page.complaints() == []
        assert bob.read_message() == "ada is gone"


def test_test_of_the_tutorial_passes(tmp_path: Path) -> None:
    write(read_steps()[1], tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_chat.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
