"""With --reload changed code is served by a new process, as soon as it can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Connect, Start
from tests.cli.talking import GOODBYE
from tests.peer import Peer
from tests.running import RunningServer, eventually
from ws_middleware.cli.processes import _list_code

SOURCE = """
from ws_middleware import WebSockets

ws = WebSockets()


@ws.route("/")
async def answer(connection):
    await connection.send("{}")
    await connection.wait_closed()
"""


# "three" is longer than "one": Python takes code of the same second and size for the same code.


def answer_of(server: RunningServer) -> str | bytes:
    with Peer(server.port) as peer:
        return peer.open("/").read_message()


@pytest.fixture
def server(start: Start, tmp_path: Path) -> RunningServer:
    """Give a server with --reload of `mine.py`, which says one."""
    (tmp_path / "mine.py").write_text(SOURCE.format("one"))
    return start("mine:ws", "--reload", cwd=tmp_path)


def wait_for_start(server: RunningServer, number: int) -> None:
    eventually(lambda: server.log.count("(Ctrl+C stops)") == number)


def test_changed_code_is_served(server: RunningServer, connect: Connect, tmp_path: Path) -> None:
    peer = connect(server, "/")
    assert peer.read_message() == "one"
    (tmp_path / "mine.py").write_text(SOURCE.format("three"))
    assert peer.read_close() == GOODBYE
    peer.socket.close()
    assert answer_of(server) == "three"  # whoever comes meanwhile waits
    assert " INFO changed: mine.py\n" in server.log
    assert "Traceback" not in server.log


def test_peer_that_does_not_answer_holds_nothing_up(
    server: RunningServer, connect: Connect, tmp_path: Path
) -> None:
    peer = connect(server, "/")
    assert peer.read_message() == "one"
    (tmp_path / "mine.py").write_text(SOURCE.format("three"))
    assert peer.read_close() == GOODBYE
    assert answer_of(server) == "three"


def test_broken_code_is_told_and_mended_code_is_served(
    server: RunningServer, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("def (:")
    eventually(lambda: "waiting for the code to change" in server.log)
    assert server.log.count("error: importing 'mine' failed: SyntaxError: ") == 1
    (tmp_path / "mine.py").write_text(SOURCE.format("three"))
    assert answer_of(server) == "three"
    wait_for_start(server, 2)
    server.terminate()
    assert server.wait() == 0
    assert "Traceback" not in server.log


def test_code_may_be_broken_at_first(start_exactly: Start, tmp_path: Path) -> None:
    server = start_exactly("mine:ws", "--reload", "--port", "0", cwd=tmp_path)
    eventually(lambda: "waiting for the code to change" in server.log)
    assert server.log.startswith("error: there is no module 'mine'\n")
    (tmp_path / "mine.py").write_text(SOURCE.format("one"))
    wait_for_start(server, 1)
    server.terminate()
    assert server.wait() == 0


def test_stopping_while_the_code_is_broken(start_exactly: Start, tmp_path: Path) -> None:
    server = start_exactly("mine:ws", "--reload", "--port", "0", cwd=tmp_path)
    eventually(lambda: "waiting for the code to change" in server.log)
    server.terminate()
    assert server.wait() == 0


def test_what_is_watched(tmp_path: Path) -> None:
    code = ["mine.py", "inner/deep/other.py"]
    for name in [
        *code,
        "page.html",
        ".hidden/a.py",
        "__pycache__/a.py",
        "node_modules/a.py",
        "env/lib/a.py",
        "env/pyvenv.cfg",
    ]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = dict(_list_code(str(tmp_path)))
    assert found.keys() == {str(tmp_path / name) for name in code}
    assert found[str(tmp_path / "mine.py")] == (tmp_path / "mine.py").stat().st_mtime_ns
