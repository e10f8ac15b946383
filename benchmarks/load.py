"""The load generator: built when its source is newer, run beside the server, its JSON read."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["LoadError", "build", "hold", "run"]

SOURCE = Path(__file__).with_name("load.c")
PROGRAM = SOURCE.parents[1] / ".cache" / "load"


class LoadError(Exception):
    """Tell what the load generator did not like."""


def build(program: Path = PROGRAM) -> Path:
    """Give the load generator, compiled if it is missing or older than its source."""
    if not program.exists() or program.stat().st_mtime < SOURCE.stat().st_mtime:
        program.parent.mkdir(parents=True, exist_ok=True)
        # Whoever runs the old one meanwhile keeps it.
        with tempfile.TemporaryDirectory(dir=program.parent) as folder:
            new = Path(folder) / "load"
            try:
                subprocess.run(["cc", "-O2", "-Wall", "-o", new, SOURCE], check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise LoadError(f"the load generator cannot be built: {error}") from error
            os.replace(new, program)
    return program


@contextmanager
def _started(
    core: int | None, mode: str, options: dict[str, Any]
) -> Iterator[subprocess.Popen[str]]:
    command = [str(build()), mode]
    for name, value in options.items():
        if value is True:
            command.append(f"--{name}")
        elif value is not False:
            command.append(f"--{name}={value}")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            if core is not None:
                os.sched_setaffinity(process.pid, {core})
            yield process
        except BaseException:
            process.kill()
            raise


def _read(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    result: dict[str, Any] = json.loads(process.stdout.readline() or '{"error": "it crashed"}')
    if "error" in result:
        raise LoadError(result["error"])
    return result


def run(mode: str, *, core: int | None = None, **options: Any) -> dict[str, Any]:
    """Run a load to its end, on one `core`; `options` are those of load.c."""
    with _started(core, mode, options) as process:
        return _read(process)


@contextmanager
def hold(*, core: int | None = None, **options: Any) -> Iterator[dict[str, Any]]:
    """Keep connections open for the time of the block, one message echoed on each."""
    with _started(core, "idle", options) as process:
        yield _read(process)
