"""What the pages print is true: Python runs, commands parse, links lead somewhere."""

from __future__ import annotations

import argparse
import doctest
import importlib
import itertools
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import uvicorn

from tests.docs.pages import PAGES, Block, blocks_of, execute, name_of, read, slugs_of
from tests.running import ROOT
from ws_middleware.cli import connect, serve
from ws_middleware.client.plan import make_plan

ALL_BLOCKS = [block for page in PAGES for block in blocks_of(page)]
COMMANDS = [
    pytest.param(block, command, id=f"{block}-{command[:40]}")
    for block in ALL_BLOCKS
    if block.language in ("sh", "console")
    for command in block.commands
]
#: It consists of files, which a test of its own puts in place.
TUTORIAL = ROOT / "docs" / "tutorial" / "chat.md"
#: Programs of others, whose command lines are not ours to check.
FOREIGN = {"curl", "nginx", "openssl", "python", "tox", "bash", "cd"}
LANGUAGES = {"", "text", "python", "pycon", "sh", "html", "nginx", "apache", "ini"}


@pytest.mark.parametrize("page", [page for page in PAGES if page != TUTORIAL], ids=name_of)
def test_python_of_a_page_runs_from_top_to_bottom(page: Path) -> None:
    execute(page)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_sessions_of_a_page_show_what_really_comes(page: Path) -> None:
    sessions = blocks_of(page, "pycon")
    namespace = execute(page) if sessions else {}
    runner = doctest.DocTestRunner()
    for block in sessions:
        test = doctest.DocTestParser().get_doctest(
            block.text, namespace, str(block), str(page), block.line
        )
        assert test.examples
        runner.run(test, clear_globs=False)
        namespace.update(test.globs)
    assert runner.failures == 0


@pytest.mark.parametrize("block", ALL_BLOCKS, ids=str)
def test_block_is_in_a_language_that_is_checked(block: Block) -> None:
    assert block.language in LANGUAGES
    assert block.note == "" or re.match(r"(example: \w+|not executed: .{20,})$", block.note)


@pytest.mark.parametrize(
    "block", [block for block in ALL_BLOCKS if block.note.startswith("example: ")], ids=str
)
def test_piece_of_an_example_stands_in_the_example(block: Block) -> None:
    example = ROOT / "examples" / f"{block.note.removeprefix('example: ')}.py"
    assert block.text in example.read_text()


@pytest.mark.parametrize(("block", "command"), COMMANDS)
def test_command_is_one_that_exists(block: Block, command: str) -> None:
    program, *arguments = shlex.split(command, comments=True)
    if arguments[:2] == ["-m", "ws_middleware"]:
        check_our_command(arguments[2:])
    elif program == "ws-middleware":
        check_our_command(arguments)
    elif program == "uvicorn":
        check_uvicorn(arguments)
    elif program in ("daphne", "gunicorn", "hypercorn"):
        check_target(arguments[-1])
    elif program == "uwsgi":
        check_uwsgi(arguments)
    elif program == "pip":
        check_pip(arguments)
    else:
        assert program in FOREIGN


def check_our_command(arguments: list[str]) -> None:
    if arguments[:1] == ["connect"]:
        check_connect(arguments[1:])
        return
    parsed: argparse.Namespace = serve.make_parser().parse_args(arguments)
    assert all(re.fullmatch(r"[\w.]+:\w+", target) for target in parsed.targets)


def check_connect(arguments: list[str]) -> None:
    ours = itertools.takewhile(lambda word: word not in ("<", ">", "|"), arguments)
    make_plan(connect.make_parser().parse_args(list(ours)).url, {})


def check_uvicorn(arguments: list[str]) -> None:
    context = uvicorn.main.make_context("uvicorn", list(arguments))
    check_target(context.params["app"])
    if context.params["ws"] != "auto":
        check_target(context.params["ws"])


def check_target(target: str) -> None:
    """Check that a module has what is named behind it."""
    module, _, name = target.partition(":")
    assert hasattr(importlib.import_module(module), name)


def check_uwsgi(arguments: list[str]) -> None:
    command = [Path(sys.executable).with_name("uwsgi"), "--help"]
    printed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    options = {argument for argument in arguments if argument.startswith("--")}
    assert options <= set(re.findall(r"--[\w-]+", printed))


def check_pip(arguments: list[str]) -> None:
    """Check the extras that are installed of a checkout."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert arguments[0] == "install"
    for argument in arguments[1:]:
        match = re.fullmatch(r"(?:-e|\.(?:\[([\w,]+)\])?|[a-z]+)", argument)
        assert match
        extras = match[1].split(",") if match[1] else []
        assert set(extras) <= set(project["optional-dependencies"])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in slugs_of(target), link


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        links = re.findall(r"\]\(([^)\s#]+)", read(page))
        waiting += [(page.parent / link).resolve() for link in links if "://" not in link]
    assert set(PAGES) - reached == set()
