"""The sockets of uWSGI, which keeps them in C, and what it has read from them too.

Its module gives the number of a connection. Bytes behind the request are only had from what
uWSGI exports to its own plugins; where a build hides that, nothing is taken.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, ClassVar

from ws_middleware.errors import HandshakeError
from ws_middleware.native import make_socket
from ws_middleware.wsgi.endings import close_all
from ws_middleware.wsgi.hijack import Hijacker, Taken, duplicate
from ws_middleware.wsgi.types import Environ

__all__ = ["UWSGI"]

#: The largest buffer that uWSGI reads a request into, in bytes.
_BUFFER_SIZE = 65_536
#: The options for sockets whose descriptor carries no plain bytes of the peer's.
_WRAPPED = (
    *("https-socket", "ssl-socket", "suwsgi-socket", "puwsgi-socket"),
    *("fastcgi-socket", "fastcgi-nph-socket", "scgi-socket", "scgi-nph-socket"),
)


class UWSGI(Hijacker):
    """Take sockets from uWSGI: its HTTP socket, its HTTP router, or a proxy that speaks uwsgi."""

    name: ClassVar[str] = "uWSGI"

    def detect(self, environ: Environ) -> bool:
        """Look for uWSGI's own key, and for the module that is only there inside of it."""
        return "uwsgi.version" in environ and "uwsgi" in sys.modules

    def take(self, environ: Environ) -> Taken:
        """Take the connection out of uWSGI's hands, and what it has read of it."""
        uwsgi = importlib.import_module("uwsgi")
        if problem := _find_problem(environ, uwsgi.opt, bool(getattr(uwsgi, "has_threads", True))):
            raise HandshakeError(501, f"uWSGI passes no WebSocket to the app: {problem}")
        in_greenlet = (request := _request_of_greenlet()) is not None
        number = uwsgi.connection_fd()
        leftover = _read_behind(request or _current_request(environ), number)
        _watch(in_greenlet)
        with open(os.devnull, "r+b", buffering=0) as nowhere:  # takes what uWSGI still writes
            living = duplicate(number)
            os.dup2(nowhere.fileno(), number, inheritable=False)
        if in_greenlet:
            sock = importlib.import_module("gevent.socket").socket(fileno=living)
        else:
            sock = make_socket(living)
        return Taken(sock, leftover, borrowed=False)


def _find_problem(environ: Environ, options: dict[str, Any], has_threads: bool) -> str:
    """Say which option stands in the way; "" where none does."""
    if not has_threads:
        return "start it with --enable-threads"
    routed = {"http", "https"} & options.keys()
    if routed and not {"http-websockets", "http-raw-body"} & options.keys():
        return "start its router with --http-raw-body"
    if wrapped := [name for name in _WRAPPED if name in options]:
        return f"use --http-socket instead of --{wrapped[0]}"
    if "x-wsgiorg.fdevent.readable" in environ and _request_of_greenlet() is None:
        return "use --gevent instead of --async"
    return ""


def _request_of_greenlet() -> int | None:
    """Give the address of the request that a greenlet of uWSGI's serves; None in a thread."""
    if "gevent" not in sys.modules:
        return None
    return getattr(importlib.import_module("gevent").getcurrent(), "uwsgi_wsgi_req", None)


def _current_request(environ: Environ) -> int:
    """Give the address of this thread's request."""
    name = "threaded" if environ.get("wsgi.multithread") else "simple"
    current = _export(f"{name}_current_wsgi_req", ctypes.c_void_p)
    return int(current())


def _read_behind(request: int, number: int) -> bytes:
    """Take what was read behind a request, or else what is in its socket now."""
    read = _export(
        *("uwsgi_proto_base_read_body", ctypes.c_ssize_t),
        *(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t),
    )
    buffer = ctypes.create_string_buffer(_BUFFER_SIZE)
    os.set_blocking(number, False)
    size = read(request, buffer, _BUFFER_SIZE)
    return buffer.raw[: max(size, 0)]


@functools.cache
def _export(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """Look up a function that uWSGI exports."""
    # uWSGI as a module; else it is the program itself.
    library = getattr(sys.modules.get("pyuwsgi"), "__file__", None)
    try:
        function = getattr(ctypes.CDLL(library), name)
    except (AttributeError, OSError):
        raise HandshakeError(501, f"this build of uWSGI hides {name}, use another one") from None
    function.restype, function.argtypes = result, arguments
    return function  # type: ignore[no-any-return]


@functools.cache
def _watch(in_greenlet: bool) -> None:
    """See to it that peers are told when a worker ends: it may not get to Python's own end."""
    uwsgi: Any = importlib.import_module("uwsgi")
    former = getattr(uwsgi, "atexit", None)

    def leave() -> None:
        close_all()
        if former is not None:
            former()

    uwsgi.atexit = leave
    if in_greenlet:
        # On SIGHUP such a worker waits for its greenlets; several may watch for one signal.
        importlib.import_module("gevent").signal_handler(signal.SIGHUP, close_all)
