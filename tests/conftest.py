"""What all tests share: nothing that is needed is missing where `CI=true`."""

from __future__ import annotations

import os
import shutil

import pytest

# Beside aioquic and trio, dnspython asks for more of a socket than eventlet's has, at its import.
os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")

pytest_plugins = ["tests.conformance", "tests.support", "pytester"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of one server together, where several processes share the run."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        server = callspec.params.get("server") if callspec else None
        if name := getattr(server, "name", ""):
            item.add_marker(pytest.mark.xdist_group(f"{type(server).__module__}.{name}"))


@pytest.fixture(scope="session")
def need() -> object:
    """Give a function that looks up a program; without it a test is skipped, but not in CI."""

    def find(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            message = f"{program} is not installed"
            if os.environ.get("CI") == "true":
                pytest.fail(message)
            pytest.skip(message)
        return path

    return find
