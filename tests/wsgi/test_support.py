"""The table of WSGI servers says what was proved, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.asgi.table import TABLE as ASGI
from tests.wsgi.kinds import KINDS, SHAPES
from tests.wsgi.table import TABLE

COLUMNS, render = TABLE.columns, TABLE.render
ALL = {(kind.name, column): True for kind in KINDS for column in COLUMNS}

PROJECT = """
[tool.pytest.ini_options]
testpaths = ["tests"]
addopts = ["--strict-markers"]
markers = ["support(*columns): columns", "row(*numbers): rows", "fault(*numbers): faults"]
"""
SUITE = """
import pytest
from tests.asgi.table import TABLE as ASGI
from tests.wsgi.kinds import KINDS

@pytest.mark.support("early")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_it(kind):
    assert kind.name != "waitress"
"""


def cells(page: str, title: str) -> list[str]:
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {title} |")]
    return [cell.strip() for cell in line[1:-1].split("|")]


def test_each_server_and_column_is_there() -> None:
    page = render(ALL)
    for kind in KINDS:
        assert len(cells(page, kind.title)) == len(COLUMNS) + 2
    assert "not tested" not in page
    assert "fail" not in page


def test_what_was_not_proved_is_told() -> None:
    proofs = {**ALL, ("waitress", "early"): False}
    del proofs["waitress", "sigterm"]
    row = cells(render(proofs), "waitress")
    assert row.count("**fail**") == row.count("**not tested**") == 1


def test_every_shape_has_a_column() -> None:
    assert {shape.removeprefix("async-") for shape in SHAPES} <= COLUMNS.keys()


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Give a suite of one test that fails for one of the servers."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyprojecttoml(PROJECT)
    folder = pytester.path / "tests" / "wsgi"
    folder.mkdir(parents=True)
    (folder / "test_it.py").write_text(SUITE)
    (pytester.path / "docs" / "reference").mkdir(parents=True)
    page = pytester.path / ASGI.document
    page.write_text(ASGI.render({}))  # of which nothing is tested here
    return pytester


def run(suite: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return suite.runpytest("-p", "tests.support", *arguments)


def page_of(suite: pytest.Pytester) -> Path:
    return suite.path / "docs" / "reference" / "wsgi-servers.md"


def test_page_is_written_from_the_outcomes(suite: pytest.Pytester) -> None:
    assert run(suite, "tests/wsgi", "--write-support").ret == pytest.ExitCode.TESTS_FAILED
    page = page_of(suite).read_text()
    assert "**fail**" in cells(page, "waitress")
    assert "kept" in cells(page, "wsgiref")


@pytest.mark.parametrize("selection", [("-k", "it"), ("tests/wsgi/test_it.py",), ("-x",)])
def test_selection_writes_nothing(suite: pytest.Pytester, selection: tuple[str, ...]) -> None:
    assert run(suite, "--write-support", *selection).ret == pytest.ExitCode.TESTS_FAILED
    assert not page_of(suite).exists()


def test_whole_run_checks_the_page(suite: pytest.Pytester) -> None:
    (suite.path / "tests" / "wsgi" / "test_it.py").write_text(SUITE.replace("waitress", ""))
    assert run(suite, "--write-support").ret == pytest.ExitCode.OK
    assert run(suite).ret == pytest.ExitCode.OK
    page_of(suite).write_text("everything is parked everywhere")
    result = run(suite)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["docs/reference/wsgi-servers.md is not what this run shows*"])


def test_page_stays_where_a_server_is_not_installed(suite: pytest.Pytester) -> None:
    skipping = SUITE.replace("assert kind.name", "pytest.skip() if kind.name")
    skipping = skipping.replace('!= "waitress"', '== "waitress" else None')
    (suite.path / "tests" / "wsgi" / "test_it.py").write_text(skipping)
    page_of(suite).write_text("what the last whole run has shown")
    assert run(suite).ret == pytest.ExitCode.OK
    assert run(suite, "--write-support").ret == pytest.ExitCode.TESTS_FAILED
    assert page_of(suite).read_text() == "what the last whole run has shown"


@pytest.mark.parametrize("change", [('"early"', '"late"'), ('"kind"', '"sort"')])
def test_marker_has_to_name_what_is_there(suite: pytest.Pytester, change: tuple[str, str]) -> None:
    text = SUITE.replace(*change).replace("(kind)", "(sort)" if "kind" in change[0] else "(kind)")
    (suite.path / "tests" / "wsgi" / "test_it.py").write_text(text)
    assert run(suite).ret == pytest.ExitCode.USAGE_ERROR
