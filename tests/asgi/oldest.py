"""The oldest uvicorn that the package allows, beside the newest one that is installed."""

from __future__ import annotations

import contextlib
import functools
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tests.running import ROOT

__all__ = ["OLDEST", "install_oldest"]


def _oldest() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (requirement,) = [one for one in project["dependencies"] if one.startswith("uvicorn")]
    match = re.fullmatch(r"uvicorn>=([\d.]+)", requirement)
    assert match, requirement
    return match.group(1)


OLDEST = _oldest()


@functools.cache
def install_oldest() -> Path:
    """Give a folder for `PYTHONPATH` that has it; everything else is shared."""
    folder = ROOT / ".cache" / f"uvicorn-{OLDEST}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(exist_ok=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        target = Path(made) / "made"
        subprocess.run([*pip, "--no-deps", "--target", target, f"uvicorn=={OLDEST}.*"], check=True)
        with contextlib.suppress(OSError):  # another process was faster
            target.rename(folder)
    return folder
