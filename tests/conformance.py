"""Tables of what has to hold, proved by the tests that name their rows.

A table is data (`conformance.toml`, `faults.toml`) and becomes a page of the documentation, from
the outcomes of one whole run: `python -m pytest --write-conformance`. Every other whole run fails
where a page is not what that run would write, or where a row that needs a test has none.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

TABLES = ("tests/conformance.toml", "tests/faults.toml")
HINT = "python -m pytest --write-conformance"
#: How a run ends that was not broken off.
DONE = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)


class Row(NamedTuple):
    """Hold one requirement: its number, and what the page says of it."""

    number: int
    cells: tuple[str, ...]


class Words(NamedTuple):
    """Hold where the documentation says what no test can show, and how it begins."""

    page: str
    says: str


class Proof(NamedTuple):
    """Hold what the run showed of a row: its tests, and whether all of them passed."""

    tests: tuple[str, ...]
    passed: bool


class Table:
    """Read a table and write its page."""

    def __init__(self, root: Path, path: str) -> None:
        data = tomllib.loads((root / path).read_text())
        self._root = root
        self._title: str = data["title"]
        self._intro: str = data["intro"]
        self.columns: list[str] = data["columns"]
        self.marker: str = data["marker"]
        self.document = root / data["document"]
        self.groups: list[tuple[str, list[Row]]] = [
            (group["title"], [Row(number, tuple(cells)) for number, *cells in group["rows"]])
            for group in data["groups"]
        ]
        self.documented: dict[int, Words] = {
            int(number): Words(**words) for number, words in data.get("documented", {}).items()
        }
        self.optional: dict[int, str] = {
            number: why for why, rows in data.get("optional", {}).items() for number in rows
        }

    @property
    def rows(self) -> list[Row]:
        """List all rows."""
        return [row for _, rows in self.groups for row in rows]

    @property
    def numbers(self) -> set[int]:
        """Give the numbers of all rows."""
        return {row.number for row in self.rows}

    def problems(self, proofs: Mapping[int, Proof]) -> list[str]:
        """List what is missing: proofs of rows that need one, and words that rows link to."""
        found = [
            f"{self.marker} {number}: {words.page} does not say {words.says!r}"
            for number, words in self.documented.items()
            if not self._is_said(words)
        ]
        for number in sorted(self.numbers - self.documented.keys()):
            proof = proofs.get(number)
            if proof is None and number not in self.optional:
                found.append(f"{self.marker} {number} has no test")
            elif proof is not None and not proof.passed:
                found.append(f"{self.marker} {number} has a test that did not pass")
        return found

    def _is_said(self, words: Words) -> bool:
        path = self._root / words.page
        return path.is_file() and words.says in " ".join(path.read_text().split())

    def render(self, proofs: Mapping[int, Proof]) -> str:
        """Write the page."""
        lines = [f"# {self._title}", "", self._intro.strip(), ""]
        lines += [f"Tests write this page: `{HINT}`."]
        for title, rows in self.groups:
            lines += ["", f"## {title}", ""]
            lines += _line(("#", *self.columns, "Tests", "Result"))
            lines += _line(["---"] * (len(self.columns) + 3))
            for row in rows:
                lines += self._render(row, proofs.get(row.number))
        return "\n".join(lines) + "\n"

    def _render(self, row: Row, proof: Proof | None) -> list[str]:
        links = [self._link(*test.split("::")) for test in proof.tests] if proof else []
        words = self.documented.get(row.number)
        if words:
            links.append(self._link(words.page, "documented"))
        if proof:
            result = "pass" if proof.passed else "**fail**"
        else:
            result = "documented" if words else self.optional.get(row.number, "**no test**")
        return _line((str(row.number), *row.cells, "<br>".join(links), result))

    def _link(self, path: str, name: str) -> str:
        target = os.path.relpath(self._root / path, self.document.parent)
        return f"[{name}]({Path(target).as_posix()})"


def _line(cells: Iterable[str]) -> list[str]:
    return ["| " + " | ".join(cells) + " |"]


class Conformance:
    """Gather which test names which row, and how each of them ended."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._tables = [Table(config.rootpath, path) for path in TABLES]
        #: By table and row, the tests that name it; other properties of tests are among them.
        self._naming: dict[tuple[str, object], set[str]] = {}
        #: By test, whether each of its cases passed, failed or was skipped.
        self._outcomes: dict[str, set[str]] = {}
        self._problems: list[str] = []
        self._notes: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Let each test's reports say its rows; one that does not exist ends the run."""
        for item in items:
            for table in self._tables:
                for marker in item.iter_markers(table.marker):
                    _check_rows(table, marker.args, _test_of(item.nodeid))
                    item.user_properties += [(table.marker, number) for number in marker.args]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a case ended; an expected failure proves nothing."""
        test = _test_of(report.nodeid)
        for name, value in report.user_properties:
            self._naming.setdefault((name, value), set()).add(test)
        if report.when == "call" or not report.passed:
            outcome = "failed" if hasattr(report, "wasxfail") else report.outcome
            self._outcomes.setdefault(test, set()).add(outcome)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the pages, or check them."""
        if is_worker(self._config):
            return
        if self._config.option.write_conformance:
            self._write()
        elif session.exitstatus in DONE and is_whole(self._config):
            self._check()
        if self._problems and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _write(self) -> None:
        if not is_whole(self._config):
            self._problems.append("only a whole run writes pages: no selection, no options")
        elif skipped := self._skipped():
            self._problems.append(f"pages were not written: skipped {', '.join(skipped)}")
        else:
            for table in self._tables:
                proofs = self._proofs(table)
                self._problems += table.problems(proofs)
                table.document.parent.mkdir(parents=True, exist_ok=True)
                table.document.write_text(table.render(proofs))
                self._notes.append(f"wrote {table.document.relative_to(self._config.rootpath)}")

    def _check(self) -> None:
        # Outside of CI tests are skipped where a program is missing. Such a test is taken for
        # one that passes, as it did where the page was written.
        if skipped := self._skipped():
            told = self._problems if os.environ.get("CI") == "true" else self._notes
            told.append(f"not proved here, because skipped: {', '.join(skipped)}")
        for table in self._tables:
            proofs = self._proofs(table)
            self._problems += table.problems(proofs)
            document = table.document
            if not document.is_file() or document.read_text() != table.render(proofs):
                name = document.relative_to(self._config.rootpath)
                self._problems.append(f"{name} is not what this run shows: {HINT}")

    def _proofs(self, table: Table) -> dict[int, Proof]:
        return {
            row.number: Proof(tuple(sorted(tests)), all(map(self._holds, tests)))
            for row in table.rows
            if (tests := self._naming.get((table.marker, row.number)))
        }

    def _holds(self, test: str) -> bool:
        outcomes = self._outcomes.get(test, {"failed"})
        return "failed" not in outcomes

    def _skipped(self) -> list[str]:
        named = {
            test for table in self._tables for p in self._proofs(table).values() for test in p.tests
        }
        return sorted(test for test in named if "skipped" in self._outcomes.get(test, ()))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tell what was found."""
        if self._problems or self._notes:
            terminalreporter.section("conformance")
            for note in self._notes:
                terminalreporter.line(note)
            for problem in self._problems:
                terminalreporter.line(problem, red=True)


def _check_rows(table: Table, numbers: tuple[Any, ...], test: str) -> None:
    if not numbers or not table.numbers.issuperset(numbers):
        raise pytest.UsageError(f"{test} names a {table.marker} that is not there: {numbers}")


def _test_of(nodeid: str) -> str:
    # Behind an "@", the group of tests that one process keeps together.
    return nodeid.partition("[")[0].partition("@")[0]


def is_worker(config: pytest.Config) -> bool:
    """Tell whether this process runs a part of the tests for another one, which has the reports."""
    return hasattr(config, "workerinput")


def is_whole(config: pytest.Config) -> bool:
    """Tell whether a run is that of the whole suite, nothing chosen and nothing left out."""
    return config.args_source is config.ArgsSource.TESTPATHS and not is_selective(config)


def is_selective(config: pytest.Config) -> bool:
    """Tell whether options choose some of the tests, or leave some out."""
    option = config.option
    chosen = (
        option.keyword,
        option.markexpr,
        option.maxfail,
        option.ignore,
        option.ignore_glob,
        option.deselect,
        option.collectonly,
        getattr(option, "lf", False),
        getattr(option, "stepwise", False),
    )
    return any(chosen)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the pages."""
    parser.addoption(
        "--write-conformance",
        action="store_true",
        help="write docs/reference/conformance.md and faults.md from this run",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Watch the run."""
    config.pluginmanager.register(Conformance(config))
