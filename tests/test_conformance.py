"""The plugin that writes the tables of requirements, on small suites of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance import TABLES, Table
from tests.running import ROOT

PROJECT = """
[tool.pytest.ini_options]
testpaths = ["tests"]
addopts = ["--strict-markers"]
markers = ["row(*numbers): rows", "fault(*numbers): faults"]
xfail_strict = true
"""
ROWS = """
marker = "row"
document = "docs/rows.md"
title = "Rows"
intro = "Some rows."
columns = ["Requirement"]
[optional]
client = [2]
[documented]
3 = { page = "docs/words.md", says = "Clear words" }
[[groups]]
title = "Only group"
rows = [[1, "be kind"], [2, "be brave"], [3, "be clear"]]
"""
FAULTS = """
marker = "fault"
document = "docs/faults.md"
title = "Faults"
intro = "No faults."
columns = ["Case"]
groups = []
"""
PROVED = """
import pytest

@pytest.mark.row(1)
@pytest.mark.parametrize("case", "ab")
def test_kindness(case):
    assert case
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Give an empty suite with two tables, whose first row wants a test."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # it would take most of the time
    monkeypatch.setenv("CI", "false")
    pytester.makepyprojecttoml(PROJECT)
    for name, text in (("conformance.toml", ROWS), ("faults.toml", FAULTS)):
        _put(pytester, f"tests/{name}", text)
    _put(pytester, "docs/words.md", "Clear words.")
    return pytester


def _put(pytester: pytest.Pytester, name: str, text: str) -> None:
    path = pytester.path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def _run(suite: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return suite.runpytest("-p", "tests.conformance", *arguments)


def _page(suite: pytest.Pytester) -> Path:
    return suite.path / "docs" / "rows.md"


def _write(suite: pytest.Pytester, tests: str) -> None:
    _put(suite, "tests/test_it.py", tests)
    assert _run(suite, "--write-conformance").ret == pytest.ExitCode.OK


def test_page_names_tests_and_results(suite: pytest.Pytester) -> None:
    _write(suite, PROVED)
    lines = _page(suite).read_text().splitlines()
    assert lines[-3:] == [
        "| 1 | be kind | [test_kindness](../tests/test_it.py) | pass |",
        "| 2 | be brave |  | client |",
        "| 3 | be clear | [documented](words.md) | documented |",
    ]


def test_whole_run_passes_when_the_page_is_true(suite: pytest.Pytester) -> None:
    _write(suite, PROVED)
    assert _run(suite).ret == pytest.ExitCode.OK


def test_whole_run_fails_when_the_page_is_not_true(suite: pytest.Pytester) -> None:
    _write(suite, PROVED)
    _page(suite).write_text("everything passes")
    result = _run(suite)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["docs/rows.md is not what this run shows*"])


def test_whole_run_fails_when_a_row_has_no_test(suite: pytest.Pytester) -> None:
    _put(suite, "tests/test_it.py", "def test_other():\n    pass\n")
    result = _run(suite)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["row 1 has no test"])


@pytest.mark.parametrize("text", [None, "Vague words."])
def test_whole_run_fails_when_words_are_missing(suite: pytest.Pytester, text: str | None) -> None:
    _write(suite, PROVED)
    (suite.path / "docs" / "words.md").unlink()
    if text is not None:
        _put(suite, "docs/words.md", text)
    result = _run(suite)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["row 3: docs/words.md does not say 'Clear words'"])


@pytest.mark.parametrize(
    ("body", "how"),
    [
        ("assert case == 'a'", "fails in one of its cases"),
        ("pytest.xfail()", "is expected to fail"),
        ("raise SystemError", "raises"),
    ],
)
def test_page_never_says_pass_of_a_test_that(suite: pytest.Pytester, body: str, how: str) -> None:
    _put(suite, "tests/test_it.py", PROVED.replace("assert case", body))
    assert _run(suite, "--write-conformance").ret == pytest.ExitCode.TESTS_FAILED, how
    assert "| **fail** |" in _page(suite).read_text(), how


def test_nothing_is_written_where_a_proof_was_skipped(suite: pytest.Pytester) -> None:
    _put(suite, "tests/test_it.py", PROVED.replace("assert case", "pytest.skip('missing')"))
    assert _run(suite, "--write-conformance").ret == pytest.ExitCode.TESTS_FAILED
    assert not _page(suite).exists()


def test_skipped_proofs_are_told_and_taken_from_the_page(suite: pytest.Pytester) -> None:
    _write(suite, PROVED)
    _put(suite, "tests/test_it.py", PROVED.replace("assert case", "pytest.skip('missing')"))
    result = _run(suite)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["not proved here, because skipped: *::test_kindness"])


def test_skipped_proofs_fail_in_ci(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(suite, PROVED)
    _put(suite, "tests/test_it.py", PROVED.replace("assert case", "pytest.skip('missing')"))
    monkeypatch.setenv("CI", "true")
    assert _run(suite).ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize(
    "selection",
    [
        ("tests/test_it.py",),
        ("tests",),
        ("-k", "kind"),
        ("-m", "row"),
        ("-x",),
        ("--ignore=tests/none.py",),
        ("--deselect=tests/none.py",),
        ("--lf",),
    ],
)
def test_selection_is_not_checked_and_writes_nothing(
    suite: pytest.Pytester, selection: tuple[str, ...]
) -> None:
    _put(suite, "tests/test_it.py", PROVED)
    assert _run(suite, *selection).ret == pytest.ExitCode.OK
    assert _run(suite, "--write-conformance", *selection).ret == pytest.ExitCode.TESTS_FAILED
    assert not _page(suite).exists()


@pytest.mark.parametrize("rows", ["4", "1, 4", "'1'", ""])
def test_marker_has_to_name_rows_that_exist(suite: pytest.Pytester, rows: str) -> None:
    _put(suite, "tests/test_it.py", PROVED.replace("row(1)", f"row({rows})"))
    result = _run(suite)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*test_kindness names a row that is not there*"])


@pytest.mark.parametrize(
    ("path", "numbers"),
    [(TABLES[0], [*range(1, 233)]), (TABLES[1], [*range(1, 113)])],
)
def test_tables_hold_every_row_once_and_in_order(path: str, numbers: list[int]) -> None:
    table = Table(ROOT, path)
    assert [row.number for row in table.rows] == numbers
    assert table.numbers.issuperset(table.optional.keys() | table.documented.keys())
    columns = len(table.columns)
    assert {len(row.cells) for row in table.rows} == {columns}
