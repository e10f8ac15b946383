"""What can be served: routes, ASGI apps, WSGI apps, and one beside the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Connect, Start
from tests.cli.talking import get, run
from tests.running import ROOT

SERVICE = "tests.cli.service"
ROUTES = f"{SERVICE}:ws"


@pytest.mark.parametrize("target", [SERVICE, ROUTES, f"{SERVICE}:Holder.inner"])
def test_routes_alone(start: Start, connect: Connect, target: str) -> None:
    server = start(target)
    connect(server).echo("hello")
    assert get(server, "/echo")[0] == 426
    assert get(server, "/elsewhere")[0] == 404


@pytest.mark.parametrize("arguments", [(0, 1), (1, 0)])
@pytest.mark.parametrize("name", ["asgi", "wsgi"])
def test_app_beside_routes(
    start: Start, connect: Connect, name: str, arguments: tuple[int, int]
) -> None:
    targets = [ROUTES, f"{SERVICE}:{name}_app"]
    server = start(*(targets[i] for i in arguments))
    connect(server).echo("hello")
    assert get(server, "/page")[1].decode().split()[:2] == [name, "/page"]


@pytest.mark.parametrize("name", ["asgi_app", "partial_app"])
def test_asgi_app_alone_has_its_own_sockets(start: Start, connect: Connect, name: str) -> None:
    server = start(f"{SERVICE}:{name}")
    connect(server, "/any").echo("hello")
    assert get(server, "/page") == (200, b"asgi /page ")


def test_wsgi_app_alone(start: Start) -> None:
    assert get(start(f"{SERVICE}:wsgi_app"), "/page") == (200, b"wsgi /page")


@pytest.mark.parametrize("name", ["mounted_asgi_app", "mounted_wsgi_app", "framework"])
def test_routes_that_are_mounted_on_an_app(start: Start, connect: Connect, name: str) -> None:
    server = start(f"{SERVICE}:{name}")
    assert "routes: /echo " in server.log
    connect(server).echo("hello")
    assert get(server, "/page")[1].split()[1] == b"/page"


@pytest.mark.parametrize("more", [[], ["--workers", "2"], ["--reload"]], ids=" ".join)
def test_module_is_found_from_the_current_folder(
    start: Start, connect: Connect, tmp_path: Path, more: list[str]
) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "mine.py").write_text((ROOT / "tests/cli/service.py").read_text())
    connect(start("inner.mine", *more, cwd=tmp_path)).echo("hello")


def test_what_a_wsgi_app_needs_is_told(tmp_path: Path) -> None:
    (tmp_path / "a2wsgi.py").write_text("raise ModuleNotFoundError")
    (tmp_path / "mine.py").write_text("def app(environ, start_response): ...")
    done = run("mine:app", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: to serve a WSGI app: pip install 'ws-middleware[wsgi]'\n"
