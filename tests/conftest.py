"""What all tests share: nothing that is needed is missing where `CI=true`."""

from __future__ import annotations

import os
import shutil

import pytest

pytest_plugins = ["tests.conformance", "tests.support", "pytester"]


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
