"""What Twisted does beside plain HTTP in its own threads."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from twisted.web.wsgi import _InputStream

from tests.peer import TEXT, Peer, frame
from tests.tls import Certificate
from tests.wsgi.kinds import errors_in, kind_of, serve
from tests.wsgi.test_tls import SecurePeer
from ws_middleware.errors import HandshakeError
from ws_middleware.wsgi.servers import find_hijacker


def test_tls_is_refused_with_advice(certificate: Certificate, tmp_path: Path) -> None:
    with (
        serve(kind_of("twisted"), tmp_path / "log", certificate=certificate) as server,
        SecurePeer(server.port, certificate) as peer,
    ):
        peer.send(peer.request("/async"))
        reply = peer.reply()
        assert reply.status == 501
        assert b"let a proxy in front of it do that" in peer.body(reply)
        assert not errors_in(server.log), server.log


def test_wrapped_callables_are_no_obstacle(tmp_path: Path) -> None:
    """Bottle and the app's own middleware are between Twisted and us; pipelined frames, too."""
    with serve(kind_of("twisted"), tmp_path / "log") as server, Peer(server.port) as peer:
        page = f"GET /plain HTTP/1.1\r\nHost: {peer.host}\r\n\r\n".encode()
        peer.send(page + peer.request("/def") + frame(TEXT, "early"))
        assert peer.read_until(b"plain page").startswith(b"HTTP/1.1 200")
        assert peer.reply().status == 101
        assert peer.read_message() == "early"
        peer.close()


def test_app_that_runs_elsewhere_has_no_socket() -> None:
    environ = {"wsgi.input": _InputStream(SimpleNamespace())}
    with pytest.raises(HandshakeError, match="has to call the app in its own thread"):
        find_hijacker(environ).take(environ)
