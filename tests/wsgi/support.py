"""The table of WSGI servers, made of the facts that the tests have proved.

`python -m pytest tests/wsgi --write-support` writes it; every whole run checks it. A test names
the columns that it proves: `@pytest.mark.support("early")`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conformance import DONE, is_selective, is_whole, is_worker
from tests.wsgi.kinds import KINDS, Kind, kind_of

__all__ = ["COLUMNS", "render"]

DOCUMENT = Path("docs/reference/wsgi-servers.md")
HINT = "python -m pytest tests/wsgi --write-support"

INTRO = """\
# WSGI servers

What the tests have shown of each server that `ws.wsgi(app)` can take sockets from. A *parked*
connection has left the server's hands: it costs no thread, no worker and no time-out of the
server's, and each server held 50 of every kind while it answered pages.

- **Early frames**: what becomes of frames in the segment of the request.
- **Fields twice**: what becomes of a request with two Host, Origin, Key or Version fields.
- **TLS**: what a connection costs where the server itself ends TLS; none can be parked then.
- **Access log**: the status that the server's own log shows of an accepted handshake.
- **SIGTERM**, **SIGINT**: what every peer gets before the process ends.

Tests write this page: `{hint}`. They run with the newest version of each server;
`tox -e oldest` converses with the oldest ones that are supported: gunicorn 20.1 (whose access log
leaves accepted handshakes out with sync and gthread), werkzeug 3.0, gevent 23.9, eventlet 0.33.3,
waitress 2.0, cheroot 9.0, Django 4.2, Paste 3.5.3, Twisted 23.10.
"""


def _ending(kind: Kind) -> str:
    return "1001, unless a request runs" if kind.ends_abruptly else "1001"


#: By the name that tests use: the head of a column, and what it says of a server.
COLUMNS: dict[str, tuple[str, Callable[[Kind], str]]] = {
    "async": ("`async def`", lambda kind: "relayed" if kind.greenlets else "parked"),
    "def": ("`def`", lambda kind: "greenlet" if kind.greenlets else "parked"),
    "callbacks": ("`Handler`", lambda kind: "greenlet" if kind.greenlets else "parked"),
    "early": (
        "Early frames",
        lambda kind: "kept" if kind.early_request == "kept" else "kept; 400 if like a request",
    ),
    "doubled": (
        "Fields twice",
        lambda kind: "refused" if kind.doubled == "both" else "the last one counts",
    ),
    "tls": ("TLS", lambda kind: {"": "-", "thread": "a thread", "green": "a greenlet"}[kind.tls]),
    "log": ("Access log", lambda kind: f"`{kind.access_log}`" if kind.access_log else "-"),
    "sigterm": ("SIGTERM", _ending),
    "sigint": ("SIGINT", _ending),
}

#: By server and column, whether all of the tests passed.
Proofs = Mapping[tuple[str, str], bool]


def render(proofs: Proofs) -> str:
    """Write the page."""
    heads = [head for head, _ in COLUMNS.values()]
    lines = [INTRO.format(hint=HINT), _line(["Server", "Requests at once", *heads])]
    lines.append(_line(["---"] * (len(heads) + 2)))
    for kind in KINDS:
        cells = [_cell(kind, column, proofs) for column in COLUMNS]
        lines.append(_line([kind.title, _capacity(kind), *cells]))
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _capacity(kind: Kind) -> str:
    return (
        str(kind.threads)
        if kind.threads
        else "a greenlet each"
        if kind.greenlets
        else "a thread each"
    )


def _cell(kind: Kind, column: str, proofs: Proofs) -> str:
    text = COLUMNS[column][1](kind)
    proof = proofs.get((kind.name, column))
    if proof is None:  # there is nothing to prove of what a server does not have
        return text if text == "-" else "**not tested**"
    return text if proof else "**fail**"


class Support:
    """Gather how the tests of each server ended."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._proofs: dict[tuple[str, str], bool] = {}
        self._problem = ""
        self._document = config.rootpath / DOCUMENT

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Let each test's reports say what it proves, and of which server."""
        for item in items:
            for marker in item.iter_markers("support"):
                item.user_properties += [
                    ("support", (_server_of(item), _column_of(item, name))) for name in marker.args
                ]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a test ended; one that was skipped proves nothing."""
        for name, value in report.user_properties:
            if name == "support":
                server, column = value
                passed = self._proofs.get((server, column), True) and report.passed
                self._proofs[server, column] = passed

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the page, or check it."""
        if is_worker(self._config):
            return
        if self._config.option.write_support:
            if session.exitstatus in DONE and self._is_complete():
                self._document.write_text(render(self._proofs))
            else:
                self._problem = f"only a whole run of tests/wsgi writes {DOCUMENT}"
        elif session.exitstatus in DONE and is_whole(self._config) and not self._is_true():
            self._problem = f"{DOCUMENT} is not what this run shows: {HINT}"
        if self._problem and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _is_true(self) -> bool:
        document = self._document
        return document.is_file() and document.read_text() == render(self._proofs)

    def _is_complete(self) -> bool:
        folder = [argument.rstrip("/") for argument in self._config.args] == ["tests/wsgi"]
        return is_whole(self._config) or (folder and not is_selective(self._config))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tell what was found."""
        if self._problem:
            terminalreporter.section("WSGI servers")
            terminalreporter.line(self._problem, red=True)


def _parameters(item: pytest.Item) -> Mapping[str, object]:
    callspec = getattr(item, "callspec", None)
    parameters: Mapping[str, object] = callspec.params if callspec else {}
    return parameters


def _server_of(item: pytest.Item) -> str:
    parameters = _parameters(item)
    kind = parameters.get("server") or parameters.get("kind")
    if not isinstance(kind, Kind):
        raise pytest.UsageError(f"{item.nodeid} proves something of no server")
    return kind_of(kind.name).name


def _column_of(item: pytest.Item, name: str) -> str:
    """Look up a column; "shape" stands for that of the handler's shape."""
    if name == "shape":
        name = str(_parameters(item)["shape"]).removeprefix("async-")
    if name not in COLUMNS:
        raise pytest.UsageError(f"{item.nodeid} names a column that is not there: {name}")
    return name


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the page."""
    parser.addoption("--write-support", action="store_true", help=f"write {DOCUMENT}")


def pytest_configure(config: pytest.Config) -> None:
    """Watch the run."""
    config.pluginmanager.register(Support(config))
