"""Tables of servers, made of the facts that the tests have proved.

`python -m pytest tests/wsgi --write-support` writes the one of WSGI servers, with `tests/asgi`
that of ASGI servers; every whole run checks both. A test names the columns that it proves:
`@pytest.mark.support("early")`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import DONE, is_selective, is_whole, is_worker

__all__ = ["SupportTable"]

#: By server and column, whether all of the tests passed.
Proofs = Mapping[tuple[str, str], bool]


@dataclass(frozen=True)
class SupportTable:
    """Say what a table shows: its kinds of servers, and what each column says of them."""

    #: What the page is called, and what it says before the table.
    title: str
    intro: str
    document: Path
    #: The folder of its tests.
    folder: str
    #: All of one class, each with a name and a title.
    kinds: Sequence[Any]
    #: By the name that tests use: the head of a column, and what it says of a server.
    columns: Mapping[str, tuple[str, Callable[[Any], str]]]
    #: Columns that say what needs no proof.
    facts: Mapping[str, Callable[[Any], str]]

    @property
    def hint(self) -> str:
        """Give the command that writes the page."""
        return f"python -m pytest {self.folder} --write-support"

    def render(self, proofs: Proofs) -> str:
        """Write the page."""
        heads = ["Server", *self.facts, *(head for head, _ in self.columns.values())]
        lines = [f"# {self.title}", "", self.intro.strip(), ""]
        lines += [f"Tests write this page: `{self.hint}`.", "", _line(heads)]
        lines.append(_line(["---"] * len(heads)))
        for kind in self.kinds:
            facts = [say(kind) for say in self.facts.values()]
            cells = [self._cell(kind, column, proofs) for column in self.columns]
            lines.append(_line([kind.title, *facts, *cells]))
        return "\n".join(lines) + "\n"

    def _cell(self, kind: Any, column: str, proofs: Proofs) -> str:
        text = self.columns[column][1](kind)
        proof = proofs.get((kind.name, column))
        if proof is None:  # there is nothing to prove of what a server does not have
            return text if text == "-" else "**not tested**"
        return text if proof else "**fail**"

    def has(self, kind: object) -> bool:
        """Tell whether a server is one of this table's, be it with changes."""
        return isinstance(kind, type(self.kinds[0])) and any(
            one.name == getattr(kind, "name", None) for one in self.kinds
        )


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


class Support:
    """Gather how the tests of each server ended."""

    def __init__(self, config: pytest.Config, table: SupportTable) -> None:
        self._config = config
        self._table = table
        self._proofs: dict[tuple[str, str], bool] = {}
        self._problem = ""
        #: Whether a test was skipped: nothing is said of the page then, neither is it written.
        self._lacks_some = False
        self._document = config.rootpath / table.document
        #: What the reports of tests say of this table.
        self._property = f"support of {table.title}"

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Let each test's reports say what it proves, and of which server."""
        for item in items:
            columns = [name for mark in item.iter_markers("support") for name in mark.args]
            kind = _kind_of(item) if columns else None
            if columns and self._table.has(kind):
                item.user_properties += [
                    (self._property, (getattr(kind, "name", ""), self._column_of(item, name)))
                    for name in columns
                ]

    def _column_of(self, item: pytest.Item, name: str) -> str:
        """Look up a column; "shape" stands for that of the handler's shape."""
        if name == "shape":
            name = str(_parameters(item)["shape"]).removeprefix("async-")
        if name not in self._table.columns:
            raise pytest.UsageError(f"{item.nodeid} names a column that is not there: {name}")
        return name

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a test ended; one that was skipped proves nothing."""
        for name, value in report.user_properties:
            if name == self._property:
                self._lacks_some |= report.skipped
                server, column = value
                passed = self._proofs.get((server, column), True) and report.passed
                self._proofs[server, column] = passed

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the page, or check it."""
        if is_worker(self._config):
            return
        document = self._table.document
        if self._config.option.write_support and self._is_asked_for():
            lacks_some = self._lacks_some or is_selective(self._config)
            if session.exitstatus in DONE and not lacks_some:
                self._document.write_text(self._table.render(self._proofs))
            else:
                self._problem = f"only a whole run of {self._table.folder} writes {document}"
        elif session.exitstatus in DONE and is_whole(self._config) and not self._is_true():
            self._problem = f"{document} is not what this run shows: {self._table.hint}"
        if self._problem and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _is_true(self) -> bool:
        if self._lacks_some:
            return True
        document = self._document
        return document.is_file() and document.read_text() == self._table.render(self._proofs)

    def _is_asked_for(self) -> bool:
        asked = [argument.rstrip("/") for argument in self._config.args]
        return is_whole(self._config) or self._table.folder in asked

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tell what was found."""
        if self._problem:
            terminalreporter.section(self._table.title)
            terminalreporter.line(self._problem, red=True)


def _parameters(item: pytest.Item) -> Mapping[str, object]:
    callspec = getattr(item, "callspec", None)
    parameters: Mapping[str, object] = callspec.params if callspec else {}
    return parameters


def _kind_of(item: pytest.Item) -> object:
    parameters = _parameters(item)
    kind = parameters.get("server") or parameters.get("kind")
    if kind is None:
        raise pytest.UsageError(f"{item.nodeid} proves something of no server")
    return kind


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the pages."""
    parser.addoption("--write-support", action="store_true", help="write the tables of servers")


def pytest_configure(config: pytest.Config) -> None:
    """Watch the run."""
    from tests.asgi.table import TABLE as ASGI
    from tests.wsgi.table import TABLE as WSGI

    for table in (WSGI, ASGI):
        config.pluginmanager.register(Support(config, table))
