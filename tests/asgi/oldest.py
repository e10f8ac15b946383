"""The oldest servers that the package allows, beside the newest ones that are installed."""

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

__all__ = ["install_oldest", "oldest"]


@functools.cache
def oldest(name: str) -> str:
    """Give the oldest version of a server that the package allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["servers"]]
    matches = [re.fullmatch(rf"{name}(?:\[[\w,]+\])?>=([\d.]+)", one) for one in required]
    (version,) = [match.group(1) for match in matches if match]
    return version


@functools.cache
def install_oldest(name: str) -> Path:
    """Give a folder for `PYTHONPATH` that has it; everything else is shared."""
    folder = ROOT / ".cache" / f"{name}-{oldest(name)}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(exist_ok=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        target = Path(made) / "made"
        wanted = f"{name}=={oldest(name)}.*"
        subprocess.run([*pip, "--no-deps", "--target", target, wanted], check=True)
        with contextlib.suppress(OSError):  # another process was faster
            target.rename(folder)
    return folder
