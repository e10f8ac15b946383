"""Install the Autobahn Testsuite into a folder: `python -m tests.autobahn.install FOLDER`.

It runs on Python 2.7 alone, so it gets an environment of its own. A folder that already holds
a working one is left as it is; a broken one is made anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

from tests.running import exclusively

__all__ = ["InstallError", "install", "is_installed", "tool_python"]

TESTSUITE = "autobahntestsuite"
VERSION = "25.10.1"
#: The last versions of virtualenv that make environments for Python 2.7.
VIRTUALENV = "virtualenv<20.22"
PYENV_VERSION = "2.7.18"


class InstallError(Exception):
    """Tell why the testsuite cannot be installed."""


def tool_python(folder: Path) -> Path:
    """Give the interpreter that runs the testsuite of `folder`."""
    return folder / "python27" / "bin" / "python"


def is_installed(folder: Path) -> bool:
    """Tell whether `folder` has the testsuite, in the right version, and it starts."""
    # Importing wstest is what starting it comes to; the metadata knows the version.
    code = (
        "import pkg_resources; from autobahntestsuite import wstest; "
        f"print(pkg_resources.get_distribution('{TESTSUITE}').version)"
    )
    return _output([tool_python(folder), "-W", "ignore", "-c", code]) == VERSION


def install(folder: Path) -> None:
    """Install the testsuite into `folder`; `InstallError` says why that cannot be."""
    with exclusively(folder):
        if not is_installed(folder):
            _install(folder)


def _install(folder: Path) -> None:
    interpreter = find_python27()
    builder = folder / "builder"
    shutil.rmtree(folder / "python27", ignore_errors=True)
    venv.create(builder, clear=True, with_pip=True)
    _run([builder / "bin" / "python", "-m", "pip", "install", "--quiet", VIRTUALENV])
    _run([builder / "bin" / "virtualenv", "--quiet", "-p", interpreter, folder / "python27"])
    # The pins of everything that it needs are in its own metadata.
    _run([tool_python(folder), "-m", "pip", "install", "--quiet", f"{TESTSUITE}=={VERSION}"])
    if not is_installed(folder):
        raise InstallError(f"{TESTSUITE} was installed into {folder} but does not start")


def find_python27() -> str:
    """Find a CPython 2.7, on the path or among pyenv's."""
    code = "import sys; assert sys.version_info[:2] == (2, 7); print(sys.executable)"
    for candidate, environment in _candidates():
        if executable := _output([candidate, "-c", code], environment):
            return executable
    raise InstallError(
        "there is no Python 2.7, which the Autobahn Testsuite needs: "
        f"put python2.7 on the path, or run 'pyenv install {PYENV_VERSION}'"
    )


def _candidates() -> Iterator[tuple[str, dict[str, str]]]:
    yield "python2.7", {}
    yield "python2.7", {"PYENV_VERSION": PYENV_VERSION}  # pyenv's stand-in on the path
    if prefix := _output(["pyenv", "prefix", PYENV_VERSION]):
        yield f"{prefix}/bin/python2.7", {}


def _output(command: list[str | Path], environment: dict[str, str] | None = None) -> str:
    """Give what a command prints; "" where it fails or does not exist."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _run(command: list[str | Path]) -> None:
    environment = {
        **os.environ,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        name = " ".join(map(str, command))
        raise InstallError(f"{name} failed:\n{done.stdout.strip()}")


def main() -> int:
    """Install into the folder named by the one argument."""
    if len(sys.argv) != 2:
        print("usage: python -m tests.autobahn.install FOLDER", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1]).resolve()
    try:
        install(folder)
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{TESTSUITE} {VERSION} is in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
