"""Run a command as the documentation prints it, on a free port."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.running import RunningServer, eventually, run_command, run_server

__all__ = ["run_documented"]


@contextlib.contextmanager
def run_documented(
    command: list[str], log: Path, path: Path | None = None
) -> Iterator[RunningServer]:
    """Run `python -m ws_middleware …` or `uvicorn …`; modules are found in `path` too."""
    environment = {} if path is None else {"PYTHONPATH": str(path)}
    program, *arguments = command
    if program == "uvicorn":
        uvicorn = [sys.executable, "-m", "uvicorn", *arguments, "--port", "0"]
        with run_command(uvicorn, log, environment) as server:
            server.port = announced_port(server)
            yield server
    else:
        assert [program, *arguments[:2]] == ["python", "-m", "ws_middleware"]
        with run_server(log, *arguments[2:], environment=environment) as server:
            yield server


def announced_port(server: RunningServer) -> int:
    pattern = re.compile(r"Uvicorn running on http://127\.0\.0\.1:(\d+)")

    def announced() -> bool:
        assert server.process.poll() is None, f"the server did not start:\n{server.log}"
        return pattern.search(server.log) is not None

    eventually(announced)
    match = pattern.search(server.log)
    assert match is not None
    return int(match.group(1))
