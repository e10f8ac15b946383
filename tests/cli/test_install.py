"""What `pip install .` installs is whole: the command, and the page that it serves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.talking import UnixPeer
from tests.running import ROOT, eventually, run_command

#: What a build needs; the rest of the tree is large.
PARTS = ("ws_middleware", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")


def copy_tree(folder: Path) -> Path:
    tree = folder / "tree"
    tree.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(
                ROOT / part, tree / part, ignore=shutil.ignore_patterns("*.pyc", "*.so")
            )
        else:
            shutil.copy(ROOT / part, tree)
    return tree


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package into a fresh environment; what it needs is found in ours."""
    folder = tmp_path_factory.mktemp("install")
    environment = folder / "environment"
    venv.create(environment, symlinks=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    # Of this path no .pth file is read: a development install of the package is not seen.
    (packages / "ours.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python")]
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "install", *options, str(copy_tree(folder))], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return environment


@pytest.mark.parametrize("command", ["python -m ws_middleware", "ws-middleware"])
def test_installed_command_serves_its_page(environment: Path, tmp_path: Path, command: str) -> None:
    program, *arguments = command.split()
    path = tmp_path / "socket"
    arguments += ["--uds", str(path)]
    with run_command(
        [str(environment / "bin" / program), *arguments], tmp_path / "log", cwd=tmp_path
    ) as server:
        eventually(lambda: "(Ctrl+C stops)" in server.log)
        with UnixPeer(path) as peer:
            peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            page = peer.body(peer.reply())
        with UnixPeer(path) as peer:
            peer.open("/any").echo("hello")
        server.terminate()
        assert server.wait() == 0
    assert page == (ROOT / "ws_middleware" / "cli" / "demo.html").read_bytes()


def test_everything_of_the_package_is_installed(environment: Path) -> None:
    (installed,) = environment.glob("lib/python*/site-packages/ws_middleware")
    assert list_files(installed) == list_files(ROOT / "ws_middleware")


def test_c_is_built_where_there_is_a_compiler(
    environment: Path, need: Callable[[str], str], tmp_path: Path
) -> None:
    need("cc")
    python, code = environment / "bin" / "python", "import ws_middleware as w; print(w.SPEEDUPS)"
    assert subprocess.check_output([python, "-c", code], cwd=tmp_path, text=True) == "True\n"


def test_without_a_compiler_it_is_python_alone(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    pip = [sys.executable, "-m", "pip", "install", "--target", str(packages)]
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, *options, str(copy_tree(tmp_path))], env={**os.environ, "CC": "/bin/false"}
    )
    assert done.returncode == 0
    code = "import ws_middleware as w; print(w.SPEEDUPS, w.encode_frame(0x81, b'hi'), w.__file__)"
    output = subprocess.check_output([sys.executable, "-c", code], cwd=packages, text=True)
    assert output.startswith(f"False b'\\x81\\x02hi' {packages}")


def test_source_distribution_holds_what_an_installation_needs(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path)
    (tree / "tests").mkdir()
    (tree / "tests" / "test_something.py").touch()
    build = "from setuptools.build_meta import build_sdist; build_sdist('.')"
    subprocess.run([sys.executable, "-c", build], cwd=tree, check=True, capture_output=True)
    (archive,) = tree.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    assert not any(name.startswith("tests") for name in names)
    assert {"LICENSE", "README.md", "ws_middleware/core/_speedups.c"} <= names
    assert {f"ws_middleware/{name}" for name in list_files(ROOT / "ws_middleware")} <= names


def list_files(folder: Path) -> set[str]:
    kinds = (".py", ".pyi", ".html", ".typed")
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in kinds}
