"""Demand that each module of the core is covered, every branch, by its own test module.

`ws_middleware/core/x.py` belongs to `tests/core/test_x.py`, extensions and auth likewise; the
codec and its implementation in Python share one. All of it is one run: what a test module executes
is told apart from what the others do.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import sys
from pathlib import Path

import coverage
import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("core", "extensions", "auth")
#: What importing executes belongs to every test module.
IMPORT = "import"


class ByTestModule:
    """Tell the coverage which test module it is measuring."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self._measured = measured
        self._current: Path | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> object:
        """Importing a test module belongs to it: parameters of its tests are made there."""
        self._switch(collector.path)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> object:
        """So does running its tests."""
        self._switch(item.path)
        return (yield)

    def _switch(self, path: Path) -> None:
        if path != self._current:
            self._current = path
            self._measured.switch_context(_context(path))


def _context(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def own_test(module: Path) -> Path:
    """Give the test module of a module."""
    name = "codec.py" if module.name == "pure.py" else module.name
    return ROOT / "tests" / module.parent.name / f"test_{name}"


def find_modules() -> list[Path]:
    """List the modules that have to be covered."""
    folders = [ROOT / "ws_middleware" / name for name in FOLDERS]
    paths = sorted(path for folder in folders for path in folder.glob("*.py"))
    return [path for path in paths if path.name != "__init__.py"]


def run_tests(modules: list[Path]) -> tuple[coverage.Coverage, int]:
    """Run the tests of all modules; returns what they covered and pytest's exit status."""
    measured = coverage.Coverage(data_file=None)
    measured.start()
    measured.switch_context(IMPORT)
    for name in FOLDERS:
        importlib.import_module(f"ws_middleware.{name}")
    tests = {str(own_test(module)) for module in modules if own_test(module).exists()}
    status = pytest.main(
        ["-q", "--no-header", "-p", "no:cacheprovider", f"--rootdir={ROOT}", *sorted(tests)],
        plugins=[ByTestModule(measured)],
    )
    measured.stop()
    return measured, int(status)


def report(measured: coverage.Coverage, module: Path) -> bool:
    """Print one line for a module; returns whether it is covered."""
    name, test = module.relative_to(ROOT), own_test(module)
    if not test.exists():
        print(f"{name}: {test.relative_to(ROOT)} is missing")
        return False
    contexts = [f"^{re.escape(context)}$" for context in (IMPORT, _context(test))]
    table = io.StringIO()
    percent = measured.report(
        [str(module)], contexts=contexts, show_missing=True, precision=1, file=table
    )
    missing = table.getvalue().splitlines()[2].partition("%")[2].strip()
    print(f"{name}: {percent:.1f} %{f', missing {missing}' if missing else ''}")
    return percent == 100.0


def main() -> int:
    """Run everything; returns the exit status."""
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    os.environ["WS_MIDDLEWARE_PURE"] = "1"  # nothing but Python can be measured
    modules = find_modules()
    measured, status = run_tests(modules)
    covered = [report(measured, module) for module in modules]
    return 0 if status == 0 and all(covered) else 1


if __name__ == "__main__":
    raise SystemExit(main())
