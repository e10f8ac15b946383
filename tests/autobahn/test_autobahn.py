"""Conformance to RFC 6455 and RFC 7692, as the Autobahn Testsuite sees it.

Full marks are expected: nothing failed, left out, tolerated or closed in the wrong way. A case
is never repeated: what fails once has failed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.autobahn.install import InstallError, install, tool_python
from tests.running import (
    ROOT,
    RunningServer,
    eventually,
    free_port,
    is_listening,
    run_command,
    run_server,
)

pytestmark = pytest.mark.autobahn

FOLDER = Path(os.environ.get("WS_MIDDLEWARE_AUTOBAHN") or ROOT / ".cache" / "autobahn")
QUICK = Path(__file__).with_name("quick.py")

#: Messages per case where the testsuite by itself sends 1000: a minute instead of ten.
MESSAGES = int(os.environ.get("WS_MIDDLEWARE_AUTOBAHN_MESSAGES", "20"))
#: How long all cases may take, in seconds.
PATIENCE = 300 + 2 * MESSAGES
#: The number of cases; three of them have no right answer, so nobody can pass them.
CASES = 517
INFORMATIONAL = ["7.1.6", "7.13.1", "7.13.2"]

#: The servers that are examined: what starts each of them, with its output in a file.
SERVERS: Mapping[str, Callable[[Path], AbstractContextManager[RunningServer]]] = {
    "standalone": lambda log: run_server(log, "tests.autobahn.echo_app:ws"),
    "gunicorn, parked": lambda log: _gunicorn(log, "parked"),
    "gunicorn gthread, in place": lambda log: _gunicorn(
        log, "in_place", "-k", "gthread", "--threads", "4"
    ),
    "werkzeug": lambda log: _launched(log, "werkzeug"),
    "gevent.pywsgi": lambda log: _launched(log, "pywsgi"),
    "waitress": lambda log: _launched(log, "waitress"),
    "uvicorn": lambda log: _uvicorn(log),
    "uvicorn, Starlette's endpoint": lambda log: _uvicorn(log),
}
#: The paths that are examined where it is not the root.
PATHS = {"uvicorn, Starlette's endpoint": "/starlette"}


def _gunicorn(log: Path, app: str, *options: str) -> AbstractContextManager[RunningServer]:
    command = ["gunicorn", "-w", "1", *options, f"tests.autobahn.wsgi_app:{app}", "-b"]
    return _listening(log, lambda port: [*command, f"127.0.0.1:{port}"])


def _uvicorn(log: Path) -> AbstractContextManager[RunningServer]:
    command = ["uvicorn", "--ws-ping-interval", "0", "tests.autobahn.asgi_app:app", "--port"]
    return _listening(log, lambda port: [*command, str(port)])


def _launched(log: Path, server: str) -> AbstractContextManager[RunningServer]:
    return _listening(log, lambda port: ["tests.autobahn.wsgi_app", server, str(port)])


@contextmanager
def _listening(log: Path, module: Callable[[int], list[str]]) -> Iterator[RunningServer]:
    """Run a module that listens on the port it is told."""
    port = free_port()
    with run_command([sys.executable, "-m", *module(port)], log) as server:
        server.port = port
        eventually(lambda: is_listening(port))
        yield server


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
    with SERVERS[name](tmp_path / "server.log") as server:
        results = _examine(testsuite, server.url + PATHS.get(name, "/"), tmp_path)
        assert server.process.poll() is None, f"the server ended: {server.log}"
    _check(results)
    assert "Traceback" not in server.log


@pytest.mark.parametrize("way", ["connect", "aconnect"])
def test_client_gets_full_marks(way: str, testsuite: Path, tmp_path: Path) -> None:
    url = f"ws://127.0.0.1:{free_port()}"
    spec = {"url": url, "outdir": str(tmp_path / "reports"), "cases": ["*"]}
    with _run_testsuite(testsuite, spec, tmp_path) as process:
        eventually(lambda: is_listening(int(url.rpartition(":")[2])))
        client = [sys.executable, "-m", "tests.autobahn.echo_client", way, url]
        subprocess.run(client, cwd=ROOT, timeout=PATIENCE, check=True)
        process.terminate()  # it writes its reports now
        process.wait(PATIENCE)
    _check(_read_reports(tmp_path).get(way, {}))


def _check(results: Mapping[str, Mapping[str, Any]]) -> None:
    # What is not OK comes first: these are the ids that one wants to see.
    assert _ids_by_verdict(results, "behavior", "OK") == {"INFORMATIONAL": INFORMATIONAL}
    assert _ids_by_verdict(results, "behaviorClose", "OK", "INFORMATIONAL") == {}
    assert len(results) == CASES


def _examine(testsuite: Path, url: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Run all cases against a server; gives what the testsuite says of each."""
    spec = {
        "outdir": str(folder / "reports"),
        "servers": [{"agent": "server", "url": url}],
        "cases": ["*"],
    }
    with _run_testsuite(testsuite, spec, folder) as process:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.terminate()  # it still reports the cases that ran
    return _read_reports(folder).get("server", {})


@contextmanager
def _run_testsuite(
    testsuite: Path, spec: dict[str, Any], folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    path = folder / "spec.json"
    path.write_text(json.dumps(spec))
    command = [str(testsuite), "-W", "ignore", str(QUICK), str(path), str(MESSAGES)]
    with (
        open(folder / "testsuite.log", "wb") as log,
        subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def _read_reports(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    # The testsuite exits with 0 whatever happens: only the index tells.
    index = folder / "reports" / "index.json"
    assert index.exists(), (folder / "testsuite.log").read_text()[-4000:]
    reports: dict[str, dict[str, dict[str, Any]]] = json.loads(index.read_text())
    return reports


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
