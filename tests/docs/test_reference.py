"""The reference says what the code says: names, defaults, options, codes, log lines."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import ws_middleware
from tests.docs.commands import run_documented
from tests.docs.pages import blocks_of, read
from tests.peer import TEXT, Peer
from tests.running import ROOT, eventually
from ws_middleware import (
    AsyncConnection,
    CloseCode,
    Connection,
    Endpoint,
    Handler,
    Options,
    Request,
    Server,
    WebSockets,
    auth,
)
from ws_middleware.cli import connect, serve

REFERENCE = ROOT / "docs" / "reference"
PACKAGE = ROOT / "ws_middleware"


def rows_of(page: Path, first_cell: str) -> list[list[str]]:
    """Give the cells of the table whose head begins with this cell."""
    table = read(page).partition(f"\n| {first_cell} |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()[2:]]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["api.md", "auth.md", "options.md"])
def test_written_page_is_up_to_date(generator: ModuleType, name: str) -> None:
    assert generator.is_current(name, generator.pages()[name]), "run python docs/generate.py"


@pytest.mark.parametrize(("page", "module"), [("api.md", ws_middleware), ("auth.md", auth)])
def test_every_public_name_is_in_the_api(page: str, module: ModuleType) -> None:
    headings = set(re.findall(r"^### (\w+)$", read(REFERENCE / page), flags=re.MULTILINE))
    assert headings == set(module.__all__) - {"__version__"}


@pytest.mark.parametrize(
    "kind",
    [AsyncConnection, Connection, Handler, Options, WebSockets, Server, Request, Endpoint],
    ids=lambda kind: kind.__name__,
)
def test_every_public_method_is_in_the_api(kind: type) -> None:
    section = read(REFERENCE / "api.md").partition(f"\n### {kind.__name__}\n")[2]
    section = section.partition("\n### ")[0]
    named = set(re.findall(r"^- `(?:async )?(\w+)", section, flags=re.MULTILINE))
    fields = {field.name for field in dataclasses.fields(Options)} if kind is Options else set()
    public = {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")}
    assert public - fields <= named


def test_table_of_options_holds_the_defaults() -> None:
    rows = {row[0].strip("`"): row for row in rows_of(REFERENCE / "options.md", "setting")}
    options = Options()
    assert list(rows) == [field.name for field in dataclasses.fields(Options)]
    for name, row in rows.items():
        default = row[2].strip("`")
        if name == "extensions":
            assert default == "[PermessageDeflate()]"
            assert options.extensions == (ws_middleware.PermessageDeflate(),)
        else:
            assert ast.literal_eval(default) == getattr(options, name)
        assert row[3]


@pytest.mark.parametrize(
    ("first_cell", "parser"),
    [("option", serve.make_parser()), ("option of `connect`", connect.make_parser())],
    ids=["serve", "connect"],
)
def test_command_line_page_holds_every_option_and_default(
    first_cell: str, parser: argparse.ArgumentParser
) -> None:
    rows = {
        re.findall(r"--[a-z0-9-]+", row[0])[0]: row
        for row in rows_of(REFERENCE / "command-line.md", first_cell)
    }
    actions = {
        action.option_strings[-1]: action for action in parser._actions if action.option_strings
    }
    assert set(rows) == set(actions)
    for option, action in actions.items():
        takes_value = action.nargs is None and action.option_strings
        assert bool(re.search(f"{option} ", rows[option][0])) == bool(takes_value), option
        assert rows[option][1].strip("`") == default_of(action), option


def default_of(action: argparse.Action) -> str:
    """Give the default that the help names, or that the parser has."""
    stated = re.search(r"\((\d+)\)$", action.help or "")
    if stated:
        return stated[1]
    return str(action.default) if action.default and action.default != "==SUPPRESS==" else ""


def test_every_status_that_is_sent_is_explained() -> None:
    source = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    sent = set(re.findall(r"HandshakeError\(\s*(\d{3}),", source))
    explained = {row[0] for row in rows_of(REFERENCE / "codes.md", "status")}
    assert sent <= explained


def test_every_close_code_that_is_sent_is_explained() -> None:
    code = [path for path in PACKAGE.rglob("*.py") if path.name != "frames.py"]
    used = set(re.findall(r"CloseCode\.([A-Z_]+)", "".join(path.read_text() for path in code)))
    text = read(REFERENCE / "codes.md")
    for name in sorted(used):
        assert f"| {CloseCode[name].value} | {name} |" in text


@pytest.mark.parametrize(
    ("page", "first_cell"),
    [
        (ROOT / "README.md", "what"),
        (ROOT / "docs" / "howto" / "limits.md", "what went too far"),
        (REFERENCE / "codes.md", "status"),
        (REFERENCE / "codes.md", "code"),
    ],
    ids=["readme", "limits", "status", "close"],
)
def test_settings_that_tables_name_exist(page: Path, first_cell: str) -> None:
    known = {field.name for field in dataclasses.fields(Options)}
    known |= {"limit_concurrency", "timeout_graceful_shutdown"}
    rows = rows_of(page, first_cell)
    named = {word for row in rows for word in re.findall(r"`([a-z]+_[a-z_]+)`", row[-1])}
    assert named
    assert named <= known


def test_log_lines_look_as_on_the_page(tmp_path: Path) -> None:
    command = "python -m ws_middleware --max-size 4096 examples.echo:ws"
    with run_documented(command.split(), tmp_path / "log") as server:
        with Peer(server.port) as peer:
            peer.open("/echo?token=s3cr3t").echo("hello")
            peer.close()
        with Peer(server.port) as peer:
            peer.open("/echo").send_frame(TEXT, "x" * 4097)
            peer.expect_failure(1009)
        with Peer(server.port) as peer:
            peer.open("/echo")
        with Peer(server.port) as peer:
            origin: dict[str, str | None] = {"Origin": "http://evil.example"}
            peer.send(peer.request("/echo?token=s3cr3t", fields=origin))
            assert peer.reply().status == 403
        eventually(lambda: server.log.count("identity=-") == 3 and "refused with" in server.log)
        log = server.log
    assert "s3cr3t" not in log
    lines = [shape(line) for line in log.splitlines()]
    for block in blocks_of(REFERENCE / "logs.md", "text"):
        for line in block.text.splitlines():
            if "ping_timeout" in line or line.startswith("stopping"):
                continue  # these are printed by the tests of time-outs and of stopping
            assert any(shape(line) in logged for logged in lines), line


def shape(line: str) -> str:
    """Leave out of a line what differs from one connection to another."""
    line = re.sub(r"routes: .* \(", "routes: (", line)
    line = re.sub(r"'/[^']*'", "'/'", line)
    return re.sub(r"\d+(?:\.\d+)*", "0", line)
