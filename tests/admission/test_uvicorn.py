"""Who is let in under uvicorn, beside an app and behind its middlewares: the same as everywhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.admission.attacks import ATTACKS
from tests.admission.checks import CHECKS, SHAPE_CHECKS
from tests.running import RunningServer, eventually, run_command

COMMAND = [sys.executable, "-m", "uvicorn", "--port", "0", "tests.admission.doors:app"]
PROTOCOL = ["--ws", "ws_middleware.asgi.uvicorn:WebSocketProtocol"]


@pytest.fixture(scope="module", params=["h11", "httptools"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """Give a uvicorn with either of its HTTP parsers."""
    log = tmp_path_factory.mktemp("uvicorn") / "log"
    with run_command([*COMMAND, *PROTOCOL, "--http", request.param], log) as running:
        eventually(lambda: "running on" in running.log)
        match = re.search(r"running on http://127\.0\.0\.1:(\d+)", running.log)
        assert match is not None
        running.port = int(match[1])
        yield running


@pytest.mark.parametrize("check", SHAPE_CHECKS)
def test_door_of_a_thread(
    server: RunningServer, check: Callable[[RunningServer, str], None]
) -> None:
    check(server, "def")


@pytest.mark.parametrize("check", [*CHECKS, *ATTACKS])
def test_door(server: RunningServer, check: Callable[[RunningServer], None]) -> None:
    check(server)
