"""Conformance to RFC 6455 and RFC 7692, as the Autobahn Testsuite sees it.

Full marks are expected: nothing failed, left out, tolerated or closed in the wrong way. A case
is never repeated: what fails once has failed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.autobahn.install import InstallError, install, tool_python

pytestmark = pytest.mark.autobahn

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("WS_MIDDLEWARE_AUTOBAHN") or ROOT / ".cache" / "autobahn")
QUICK = Path(__file__).with_name("quick.py")

#: Messages per case where the testsuite by itself sends 1000: a minute instead of ten.
MESSAGES = int(os.environ.get("WS_MIDDLEWARE_AUTOBAHN_MESSAGES", "20"))
#: How long all cases may take, in seconds.
PATIENCE = 300 + 2 * MESSAGES
#: The number of cases; three of them have no right answer, so nobody can pass them.
CASES = 517
INFORMATIONAL = ["7.1.6", "7.13.1", "7.13.2"]

#: The servers that are examined: what starts each of them on a port of 127.0.0.1.
SERVERS: Mapping[str, Callable[[int], list[str]]] = {
    "standalone": lambda port: [
        *(sys.executable, "-m", "ws_middleware", "tests.autobahn.echo_app:ws"),
        *("--port", str(port), "--log-level", "warning"),
    ],
}


@pytest.fixture(scope="session")
def testsuite() -> Path:
    """Give the interpreter that runs the testsuite, which is installed where it is missing."""
    try:
        install(FOLDER)
    except InstallError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"the Autobahn Testsuite cannot be installed: {error}")
    return tool_python(FOLDER)


@pytest.mark.parametrize("name", SERVERS)
def test_server_gets_full_marks(name: str, testsuite: Path, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    port = _free_port()
    with _running(SERVERS[name](port), port, log):
        results = _examine(testsuite, f"ws://127.0.0.1:{port}/", tmp_path)
    # What is not OK comes first: these are the ids that one wants to see.
    assert _ids_by_verdict(results, "behavior", "OK") == {"INFORMATIONAL": INFORMATIONAL}
    assert _ids_by_verdict(results, "behaviorClose", "OK", "INFORMATIONAL") == {}
    assert len(results) == CASES
    assert log.read_text() == ""


def _examine(testsuite: Path, url: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Run all cases against a server; gives what the testsuite says of each."""
    spec = folder / "spec.json"
    spec.write_text(
        json.dumps(
            {
                "outdir": str(folder / "reports"),
                "servers": [{"agent": "server", "url": url}],
                "cases": ["*"],
            }
        )
    )
    command = [str(testsuite), "-W", "ignore", str(QUICK), str(spec), str(MESSAGES)]
    with (
        open(folder / "testsuite.log", "wb") as log,
        subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.terminate()  # it still reports the cases that ran
    # The testsuite exits with 0 whatever happens: only the index tells.
    index = folder / "reports" / "index.json"
    assert index.exists(), (folder / "testsuite.log").read_text()[-4000:]
    reports: dict[str, dict[str, dict[str, Any]]] = json.loads(index.read_text())
    return reports.get("server", {})


def _ids_by_verdict(
    results: Mapping[str, Mapping[str, Any]], key: str, *without: str
) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = defaultdict(list)
    for case_id in sorted(results, key=_numbers):
        verdict = results[case_id][key]
        if verdict not in without:
            ids[verdict].append(case_id)
    return dict(ids)


def _numbers(case_id: str) -> list[int]:
    return [int(number) for number in case_id.split(".")]


@contextmanager
def _running(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Run a server from when it listens to when the block ends; its output goes to `log`."""
    with (
        open(log, "wb") as output,
        subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output) as process,
    ):
        try:
            _wait_until_listening(process, port, log)
            yield
            assert process.poll() is None, f"the server ended: {log.read_text()}"
        finally:
            _stop(process)


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server did not start: {log.read_text()}"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"the server does not listen on port {port}: {log.read_text()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port
