"""The WSGI servers whose sockets we know how to take, in the order in which they are tried."""

from __future__ import annotations

import importlib
import io
import signal
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from ws_middleware.errors import HandshakeError
from ws_middleware.wsgi.endings import watch_signal
from ws_middleware.wsgi.hijack import Hijacker, Taken, ask_thread, read_ahead
from ws_middleware.wsgi.mod_wsgi import ModWSGI
from ws_middleware.wsgi.twisted import Twisted
from ws_middleware.wsgi.types import Environ, StartResponse
from ws_middleware.wsgi.uwsgi import UWSGI

__all__ = ["HIJACKERS", "find_hijacker"]


class Gunicorn(Hijacker):
    """Take sockets from gunicorn's own workers: sync, gthread, gevent, eventlet."""

    name: ClassVar[str] = "gunicorn"

    def detect(self, environ: Environ) -> bool:
        """Look for gunicorn's own key."""
        return "gunicorn.socket" in environ

    def take(self, environ: Environ) -> Taken:
        """Take the socket, and what the parser read too much."""
        unreader = environ["wsgi.input"].reader.unreader
        if hasattr(unreader, "take_buffered"):
            leftover = unreader.take_buffered()
        else:
            leftover, unreader.buf = unreader.buf.getvalue(), io.BytesIO()
        return Taken(environ["gunicorn.socket"], leftover)


class Buffered(Hijacker):
    """Take sockets from servers that read from `io.BufferedReader(SocketIO(socket))`.

    These are werkzeug, gevent.pywsgi, wsgiref, Django's runserver and Paste.
    """

    name: ClassVar[str] = "a server with a buffered socket reader"

    def detect(self, environ: Environ) -> bool:
        """Look for such a reader under `wsgi.input`."""
        return _find_reader(environ.get("wsgi.input")) is not None

    def take(self, environ: Environ) -> Taken:
        """Take the socket, and what is in the reader's buffer."""
        reader = _find_reader(environ["wsgi.input"])
        sock = reader.raw._sock
        return Taken(sock, read_ahead(reader, sock))


#: Where the wrappers of `wsgi.input` keep what they wrap.
_WRAPPED = ("rfile", "file", "stream", "_stream", "_file", "input", "_input", "fp")
#: How many wrappers there may be.
_DEPTH = 6


def _find_reader(stream: Any) -> Any:
    """Find the buffered reader of a socket inside a `wsgi.input`; None where there is none."""
    for _ in range(_DEPTH):
        if hasattr(getattr(stream, "raw", None), "_sock") and hasattr(stream, "peek"):
            return stream
        inner = next((getattr(stream, name) for name in _WRAPPED if hasattr(stream, name)), None)
        # Django's LimitedStream keeps its reader's method only.
        stream = inner or getattr(getattr(stream, "_read", None), "__self__", None)
    return None


class Eventlet(Hijacker):
    """Take sockets from eventlet.wsgi."""

    name: ClassVar[str] = "eventlet"

    def detect(self, environ: Environ) -> bool:
        """Look for eventlet's own key."""
        return "eventlet.input" in environ

    def take(self, environ: Environ) -> Taken:
        """Take the socket, and what is in the reader's buffer."""
        stream = environ["eventlet.input"]
        sock = stream.get_socket()
        leftover = read_ahead(stream.rfile, sock)
        # When interrupted it waits for its requests, who are told then; it cuts idle ones off.
        if not watch_signal(signal.SIGINT) and "eventlet.set_idle" in environ:
            environ["eventlet.set_idle"]()
        return Taken(sock, leftover)

    def finish(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Tell eventlet that the response was sent already."""
        start_response("101 Switching Protocols", [])
        importlib.import_module("eventlet.wsgi").WSGI_LOCAL.already_handled = True
        return []


class Waitress(Hijacker):
    """Take sockets from waitress, in its main thread: that one reads while the app runs."""

    name: ClassVar[str] = "waitress"

    def detect(self, environ: Environ) -> bool:
        """Look for waitress's own key."""
        return "waitress.client_disconnected" in environ

    def take(self, environ: Environ) -> Taken:
        """Take the socket, and what was parsed as the beginning of a next request."""
        channel = environ["waitress.client_disconnected"].__self__

        def steal() -> bytes | None:
            vars(channel).update(_MUTED)
            return _half_parsed(channel)

        leftover = ask_thread(channel.server.trigger.pull_trigger, steal)
        if leftover is None:
            self._unmute(channel)
            raise HandshakeError(400, "waitress read frames behind the request as a request")
        return Taken(channel.socket, leftover)

    def finish(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Let the channel find its dead socket."""
        self._unmute(environ["waitress.client_disconnected"].__self__)
        return super().finish(environ, start_response)

    def _unmute(self, channel: Any) -> None:
        for name in _MUTED:
            vars(channel).pop(name, None)


_MUTED: dict[str, Any] = {
    "readable": lambda: False,
    "writable": lambda: False,
    "handle_read": lambda: None,
    "handle_write": lambda: None,
}


def _half_parsed(channel: Any) -> bytes | None:
    """Take back what waitress read as a further request; None where it parsed too much."""
    request, channel.request = channel.request, None
    if len(channel.requests) > 1:
        return None
    if request is None:
        return b""
    if request.headers_finished or request.completed:
        return None
    return bytes(request.header_plus)


class Cheroot(Hijacker):
    """Take sockets from cheroot, and so from CherryPy."""

    name: ClassVar[str] = "cheroot"

    def detect(self, environ: Environ) -> bool:
        """Look at where the input comes from: cheroot has no key of its own."""
        return type(environ.get("wsgi.input")).__module__.partition(".")[0] == "cheroot"

    def take(self, environ: Environ) -> Taken:
        """Take the socket, and what is in cheroot's own reader."""
        reader = environ["wsgi.input"].rfile
        leftover = bytes(reader._read_buf[reader._read_pos :])
        reader._reset_read_buf()
        return Taken(reader.raw._sock, leftover)

    def finish(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Let cheroot write its response to nobody.

        From Python 3.13 on, a writer that could not get rid of something complains at its end.
        """
        gateway: Any = getattr(start_response, "__self__", None)
        if hasattr(gateway, "req"):  # nobody stands between
            gateway.req.close_connection = True
            gateway.req.conn.wfile = io.BytesIO()
        return super().finish(environ, start_response)


HIJACKERS: Sequence[Hijacker] = (
    Gunicorn(),
    Eventlet(),
    Waitress(),
    UWSGI(),
    ModWSGI(),
    Cheroot(),
    Twisted(),
    Buffered(),
)


def find_hijacker(environ: Environ, own: Sequence[Hijacker] = ()) -> Hijacker:
    """Find who can take the socket of a request; users' `own` hijackers come first."""
    if "wsgi.websocket" in environ:
        raise HandshakeError(501, "another library has answered this handshake already")
    for hijacker in (*own, *HIJACKERS):
        if hijacker.detect(environ):
            return hijacker
    raise HandshakeError(501, _advice(environ))


#: Servers that give no socket: the start of a value in their environ, their name, what works.
_CLOSED = [
    (
        "SERVER_SOFTWARE",
        "Granian",
        "Granian's WSGI interface",
        "start it with --interface asgi and mount with ws.asgi(app)",
    ),
    (
        "asgi.scope",
        "",
        "a bridge from ASGI to WSGI",
        "mount with ws.asgi(app) around the bridge",
    ),
]
_OTHERS = (
    "gunicorn, werkzeug, gevent, eventlet, waitress, cheroot, uWSGI, Twisted and wsgiref give "
    "them, and under an ASGI server ws.asgi(app) works"
)


def _advice(environ: Environ) -> str:
    """Say what to do where no socket can be had."""
    for key, start, server, advice in _CLOSED:
        if key in environ and str(environ[key]).startswith(start):
            return f"{server} keeps its sockets to itself: {advice}"
    server = environ.get("SERVER_SOFTWARE") or "this WSGI server"
    return f"{server} keeps its sockets to itself: {_OTHERS}"
