"""nginx in front of WSGI servers, with the lines that the documentation prints."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.docs.pages import blocks_of
from tests.peer import Peer
from tests.running import ROOT, eventually, free_port, is_listening, run_command
from tests.wsgi.asking import check_plain
from tests.wsgi.kinds import SHAPES, errors_in, kind_of, serve
from tests.wsgi.test_stopping import check_told, open_some

#: What a page leaves out: files of nginx's own stay in the test's folder.
CONFIGURATION = """\
worker_processes 1;
pid {folder}/pid;
error_log stderr;
{user}
events {{ worker_connections 200; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {block}
}}
"""
USER = "user root;" if os.name == "posix" and os.geteuid() == 0 else ""


def documented(port: int) -> tuple[str, str]:
    """Give the page's configuration, and its lines for uWSGI's own protocol."""
    proxy, uwsgi = (block.text for block in blocks_of(ROOT / "docs/howto/nginx.md", "nginx"))
    assert "listen 80;" in proxy
    return proxy.replace("listen 80;", f"listen 127.0.0.1:{port};"), uwsgi


@contextmanager
def nginx(block: str, port: int, folder: Path) -> Iterator[None]:
    """Run nginx with a block inside of `http`."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None and os.environ.get("CI") != "true":
        pytest.skip("nginx is not installed")
    assert program is not None, "nginx is not installed"
    shutil.copy("/etc/nginx/uwsgi_params", folder)
    configuration = folder / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, user=USER, block=block))
    command = [program, "-p", str(folder), "-c", str(configuration), "-g", "daemon off;"]
    with run_command(command, folder / "nginx.log"):
        eventually(lambda: is_listening(port))
        yield


def test_parked_sockets_behind_nginx(tmp_path: Path) -> None:
    port = free_port()
    proxy, _ = documented(port)
    with serve(kind_of("gunicorn-sync"), tmp_path / "log") as server, ExitStack() as stack:
        block = proxy.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
        stack.enter_context(nginx(block, port, tmp_path))
        for shape in SHAPES:
            with Peer(port) as peer:
                peer.open(f"/{shape}").echo("x" * 300_000)
                peer.close()
        peers = open_some(port, stack)
        check_plain(port)
        server.terminate()
        check_told(peers)
        assert not errors_in(server.log), server.log


def test_uwsgis_own_protocol_behind_nginx(tmp_path: Path) -> None:
    port = free_port()
    proxy, uwsgi = documented(port)
    kind = replace(kind_of("uwsgi"), options=("--socket", "127.0.0.1:0"))
    with serve(kind, tmp_path / "log") as server, ExitStack() as stack:
        location = uwsgi.replace("/live/", "/").replace(
            "127.0.0.1:3031", f"127.0.0.1:{server.port}"
        )
        start, end = proxy.index("    location / {"), proxy.rindex("}")
        block = proxy[:start] + location + proxy[end:]
        stack.enter_context(nginx(block, port, tmp_path))
        for peer in open_some(port, stack):
            peer.close()
        check_plain(port)
        assert not errors_in(server.log), server.log
