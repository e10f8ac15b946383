"""The README's code works by the README's command."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.docs.commands import run_documented
from tests.docs.pages import blocks_of
from tests.peer import CLOSE, TEXT, Peer
from tests.running import ROOT

README = ROOT / "README.md"


def test_chat_of_the_readme_chats(tmp_path: Path) -> None:
    python = [block.text for block in blocks_of(README, "python")]
    assert python[0].startswith("# chat.py\n")
    (tmp_path / "chat.py").write_text("\n\n".join(python))
    commands = [command for block in blocks_of(README, "sh") for command in block.commands]
    (command,) = [command for command in commands if command.endswith("chat:ws")]
    with run_documented(shlex.split(command), tmp_path / "log", tmp_path) as server:
        with Peer(server.port) as ada, Peer(server.port) as bob, Peer(server.port) as eve:
            ada.open("/chat/tea").echo("ada is a member once she is answered")
            bob.open("/chat/tea").echo("so is bob")
            assert ada.read_message() == "so is bob"
            eve.open("/chat/coffee").send_frame(CLOSE, b"\x03\xe8")
            bob.send_frame(TEXT, "hello")
            assert ada.read_message() == bob.read_message() == "hello"
        with Peer(server.port) as peer:
            peer.open("/shout").send_frame(TEXT, "hello")
            assert peer.read_message() == "HELLO"
        assert "Traceback" not in server.log
