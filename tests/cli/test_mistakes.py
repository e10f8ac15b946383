"""A mistake gives one clear line on the standard error stream, an exit status, and nothing else."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.cli.talking import run
from tests.tls import make_certificate

USAGE = r" \(--help lists the options\)"
MODULES = {
    "good": "from ws_middleware import WebSockets\nws = WebSockets()\nnumber = 42\n"
    "def nothing(): ...\nasync def handler(connection): ...\n"
    "async def app(scope, receive, send): ...\n",
    "misspelt": "x = 1\ndef (:",
    "raising": "x = 1\n1 / 0",
    "talkative": "raise ValueError('two\\nlines')",
    "leaving": "import sys\nsys.exit(3)",
    "needing": "import no_such_thing",
    "indirect": "import raising",
    "misusing": "from ws_middleware import WebSockets\n\nWebSockets(max_queue=0)",
    "misruling": "from ws_middleware import WebSockets\n\nWebSockets().add('/<a', print)",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with everything that mistakes can be made with."""
    folder = tmp_path_factory.mktemp("mistakes")
    for name, source in MODULES.items():
        (folder / f"{name}.py").write_text(source)
    (folder / "file").write_text("this is neither a socket nor a certificate")
    (folder / "truncated.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA")
    make_certificate(folder)
    (folder / "other").mkdir()
    other = make_certificate(folder / "other")
    key = serialization.load_pem_private_key(other.keyfile.read_bytes(), None)
    (folder / "encrypted.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    return folder


def check(folder: Path, arguments: str | list[str], status: int, line: str) -> None:
    words = arguments.split() if isinstance(arguments, str) else arguments
    done = run("--port", "0", *words, cwd=folder)
    assert done.stdout == ""
    assert re.fullmatch(f"error: {line}\n", done.stderr), done.stderr
    assert done.returncode == status


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--wrong", "unrecognized arguments: --wrong"),
        ("--port", "argument --port: expected one argument"),
        ("--port 65536", r"argument --port: '65536' is not a port .*"),
        ("--port -1", r"argument --port: '-1' is not a port .*"),
        ("--port http", r"argument --port: 'http' is not a port .*"),
        (["--uds", ""], "argument --uds: the path is empty"),
        ("--keyfile key.pem", "--keyfile needs --certfile"),
        ("--workers 0", "argument --workers: '0' is not a number of processes"),
        ("--workers x", "argument --workers: 'x' is not a number of processes"),
        ("--reload --workers 2", "--reload works with one process: leave out --workers"),
        ("--log-level loud", "argument --log-level: invalid choice: 'loud' .*"),
        ("--max-size 0", "argument --max-size: '0' is not a positive number of bytes"),
        ("--max-size 1k", "argument --max-size: '1k' is not a positive number of bytes"),
        ("--ping-interval -1", "argument --ping-interval: '-1' is not a number of seconds; .*"),
        ("--ping-interval inf", "argument --ping-interval: 'inf' is not a number of seconds; .*"),
        ("--ping-interval nan", "argument --ping-interval: 'nan' is not a number of seconds; .*"),
        ("--ping-interval x", "argument --ping-interval: 'x' is not a number of seconds; .*"),
    ],
)
def test_wrong_usage(folder: Path, arguments: str | list[str], line: str) -> None:
    check(folder, arguments, 2, line + USAGE)


@pytest.mark.parametrize(
    ("targets", "line"),
    [
        ("nowhere:ws", "there is no module 'nowhere'"),
        ("nowhere.inner:ws", "there is no module 'nowhere'"),
        ("good.inner:ws", "there is no module 'good.inner'"),
        ("good:missing", "the module 'good' has no 'missing'"),
        ("good:ws.missing", "the module 'good' has no 'missing'"),
        ("needing", "importing 'needing' failed: No module named 'no_such_thing'"),
        ("misspelt", r"importing 'misspelt' failed: SyntaxError: .* \(misspelt.py, line 2\)"),
        ("raising", r"importing 'raising' failed: ZeroDivisionError: .* \(.*/raising.py, line 2\)"),
        ("indirect", r"importing 'indirect' failed: .* \(.*/raising.py, line 2\)"),
        ("misusing", r"importing 'misusing' failed: .*max_queue=0 .* \(.*/misusing.py, line 3\)"),
        ("misruling", r"importing 'misruling' failed: .* \(.*/misruling.py, line 3\)"),
        ("talkative", r"importing 'talkative' failed: ValueError: two lines \(.*\)"),
        ("leaving", r"importing 'leaving' failed: SystemExit: 3 \(.*/leaving.py, line 2\)"),
        ("good.py", "'good.py' is a file: name the module, such as 'good'"),
        ("./other/good:ws", "'./other/good' is a file: name the module, such as 'other.good'"),
        (".good:ws", "'.good:ws' is not module:name"),
        (":ws", "':ws' is not module:name"),
        ("good:", "'good:' is not module:name"),
        ("good:number", "'good:number' is neither a WebSockets object nor an app: .* 'int'"),
        ("good:nothing", "'good:nothing' is neither a .* nor an app: .* 'function'"),
        ("good:handler", "'good:handler' is neither a .* nor an app: .* 'function'"),
        ("good:ws good", "name one WebSockets object and one app at the most"),
        ("good:app good:app", "name one WebSockets object and one app at the most"),
    ],
)
def test_nothing_to_serve(folder: Path, targets: str, line: str) -> None:
    check(folder, targets, 1, line)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--certfile missing.pem", "cannot read 'missing.pem': No such file or directory"),
        ("--certfile other", "cannot read 'other': Is a directory"),
        ("--certfile file", "there is no certificate in 'file', or a broken one"),
        ("--certfile truncated.pem", "there is no certificate in 'truncated.pem', or a broken one"),
        ("--certfile key.pem", "there is no certificate in 'key.pem', or a broken one"),
        ("--certfile certificate.pem", "there is no private key in 'certificate.pem', .*"),
        ("--reload --certfile file", "there is no certificate in 'file', or a broken one"),
        ("--workers 2 --certfile file", "there is no certificate in 'file', or a broken one"),
    ],
)
def test_wrong_certificate(folder: Path, arguments: str, line: str) -> None:
    check(folder, arguments, 1, f"--certfile: {line}")


@pytest.mark.parametrize(
    ("keyfile", "line"),
    [
        ("missing.pem", "cannot read 'missing.pem': No such file or directory"),
        ("file", "there is no private key in 'file', .*"),
        (
            "other/key.pem",
            "the key in 'other/key.pem' is not that of the certificate in 'certificate.pem'",
        ),
        ("encrypted.pem", "the key in 'encrypted.pem' is encrypted: decrypt it first"),
    ],
)
def test_wrong_key(folder: Path, keyfile: str, line: str) -> None:
    check(folder, f"--certfile certificate.pem --keyfile {keyfile}", 1, f"--keyfile: {line}")


LONG = "x" * 64


@pytest.mark.parametrize(
    ("arguments", "where", "why"),
    [
        (["--host", "nowhere.invalid"], "nowhere.invalid:0", "[^:]*"),
        (["--host", ""], ":0", "[^:]*"),
        (["--host", LONG], f"{LONG}:0", "this is not a host name"),
        (["--host", "192.0.2.1"], "192.0.2.1:0", "Cannot assign requested address"),
        (["--uds", "file"], "file", "this file exists, and is not a socket"),
        (["--uds", "other"], "other", "this file exists, and is not a socket"),
        (["--uds", "missing/socket"], "missing/socket", "No such file or directory"),
        (["--uds", "/proc/socket"], "/proc/socket", ".*"),  # nobody may write there
        (["--uds", LONG * 2], LONG * 2, "AF_UNIX path too long"),
    ],
)
def test_nowhere_to_listen(folder: Path, arguments: list[str], where: str, why: str) -> None:
    check(folder, arguments, 1, f"cannot listen on {where}: {why}")


Serving = Callable[[Path], tuple[socket.socket, str]]


def on_a_port(folder: Path) -> tuple[socket.socket, str]:
    sock = socket.create_server(("127.0.0.1", 0))
    return sock, f"--port {sock.getsockname()[1]}"


def on_a_path(folder: Path) -> tuple[socket.socket, str]:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(folder / "taken"))
    sock.listen()
    return sock, "--uds taken"


@pytest.mark.parametrize("more", ["", " --workers 2", " --reload"])
@pytest.mark.parametrize("serving", [on_a_port, on_a_path])
def test_place_where_another_server_listens(tmp_path: Path, serving: Serving, more: str) -> None:
    sock, arguments = serving(tmp_path)
    with sock:
        check(tmp_path, arguments + more, 1, "cannot listen on .*: Address already in use")


@pytest.mark.parametrize("more", [[], ["--workers", "2"]], ids=" ".join)
def test_app_that_cannot_start(more: list[str]) -> None:
    done = run("--port", "0", "tests.cli.service:app_that_cannot_start", *more)
    assert done.returncode == 1
    assert "there is no database" in done.stderr
    assert "Traceback" not in done.stderr
