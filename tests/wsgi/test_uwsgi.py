"""What uWSGI does beside its plain HTTP socket: routers, threads, workers that go."""

from __future__ import annotations

import contextlib
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.peer import TEXT, Peer, frame
from tests.running import eventually
from tests.wsgi.asking import check_plain
from tests.wsgi.kinds import SHAPES, errors_in, kind_of, serve
from tests.wsgi.replacing import ENOUGH, check_all_shapes, check_used_up
from tests.wsgi.test_stopping import check_told, open_some
from ws_middleware.errors import HandshakeError
from ws_middleware.wsgi.servers import find_hijacker
from ws_middleware.wsgi.uwsgi import UWSGI

PLAIN = ("--http-socket", "127.0.0.1:0")


def test_router_passes_everything_on(tmp_path: Path) -> None:
    options = ("--http", "127.0.0.1:0", "--http-raw-body", "--socket", str(tmp_path / "socket"))
    kind = replace(kind_of("uwsgi"), options=options)
    with serve(kind, tmp_path / "log") as server:
        for shape in SHAPES:
            with Peer(server.port) as peer:
                peer.open(f"/{shape}", early=frame(TEXT, "early"))
                assert peer.read_message() == "early"
                peer.echo("x" * 300_000)
                check_plain(server.port)
                peer.close()
        assert not errors_in(server.log), server.log


def test_router_that_knows_websockets_passes_them_on(tmp_path: Path) -> None:
    options = ("--http", "127.0.0.1:0", "--http-websockets", "--socket", str(tmp_path / "socket"))
    kind = replace(kind_of("uwsgi"), options=options)
    with serve(kind, tmp_path / "log") as server, Peer(server.port) as peer:
        peer.open("/async").echo("through")
        check_plain(server.port)
        peer.close()


def test_router_that_would_hold_frames_back_is_refused(tmp_path: Path) -> None:
    options = ("--http", "127.0.0.1:0", "--socket", str(tmp_path / "socket"))
    kind = replace(kind_of("uwsgi"), options=options)
    with serve(kind, tmp_path / "log") as server, Peer(server.port) as peer:
        peer.send(peer.request("/async"))
        reply = peer.reply()
        assert reply.status == 501
        assert b"start its router with --http-raw-body" in peer.body(reply)


@pytest.mark.parametrize(
    "options",
    [
        (*PLAIN, "--threads", "2"),
        ("--http11-socket", "127.0.0.1:0"),
        (*PLAIN, "--gevent", "100", "--gevent-early-monkey-patch"),
    ],
    ids=["threads", "http11", "patched"],
)
def test_further_modes(options: tuple[str, ...], tmp_path: Path) -> None:
    kind = replace(kind_of("uwsgi"), options=options)
    with serve(kind, tmp_path / "log") as server, contextlib.ExitStack() as stack:
        check_all_shapes(server.port)
        peers = open_some(server.port, stack)
        check_plain(server.port)
        for peer in peers:
            peer.close()
        assert not errors_in(server.log), server.log


@pytest.mark.parametrize("name", ["uwsgi", "uwsgi-gevent"])
def test_sighup(name: str, tmp_path: Path) -> None:
    with serve(kind_of(name), tmp_path / "log") as server, contextlib.ExitStack() as stack:
        peers = open_some(server.port, stack, each=1)
        server.terminate(signal.SIGHUP)
        check_told(peers)
        eventually(lambda: "binary reloading uWSGI" in server.log)


def test_max_requests(tmp_path: Path) -> None:
    options = ("--max-requests", str(ENOUGH), "--min-worker-lifetime", "0")
    check_used_up(kind_of("uwsgi"), tmp_path / "log", *options)


# --- what stands in the way ---

#: What an environ of uWSGI's holds when it runs its own loop with cores.
ASYNC = {"x-wsgiorg.fdevent.readable": None}


@pytest.fixture
def uwsgi(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Give the module that a program finds inside of uWSGI."""
    uwsgi = SimpleNamespace(opt={"http-socket": b":8000"}, has_threads=1, connection_fd=lambda: 0)
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    return uwsgi


@pytest.mark.parametrize(
    ("options", "has_threads", "more", "words"),
    [
        ({}, 0, {}, "--enable-threads"),
        ({"http": b":80"}, 1, {}, "--http-raw-body"),
        ({"https-socket": b":443"}, 1, {}, "instead of --https-socket"),
        ({"fastcgi-socket": b":9000"}, 1, {}, "instead of --fastcgi-socket"),
        ({"async": b"10", "ugreen": True}, 1, ASYNC, "use --gevent instead of --async"),
        ({}, 1, {}, "this build of uWSGI hides simple_current_wsgi_req"),
    ],
)
def test_option_in_the_way_is_named(
    uwsgi: SimpleNamespace,
    options: dict[str, Any],
    has_threads: int,
    more: dict[str, Any],
    words: str,
) -> None:
    uwsgi.opt, uwsgi.has_threads = options, has_threads
    environ = {"uwsgi.version": b"2.0", **more}
    hijacker = find_hijacker(environ)
    assert isinstance(hijacker, UWSGI)
    with pytest.raises(HandshakeError, match=words) as caught:
        hijacker.take(environ)
    assert caught.value.status == 501


def test_key_without_the_module_is_not_uwsgi() -> None:
    with pytest.raises(HandshakeError, match="keeps its sockets to itself"):
        find_hijacker({"uwsgi.version": b"2.0"})
