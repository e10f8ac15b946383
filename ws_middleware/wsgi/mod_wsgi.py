"""The sockets of Apache's mod_wsgi in embedded mode, where the app runs inside of Apache.

`WSGIPassApacheRequest On` puts Apache's record of the request into the environ. It leads to the
connection, and Apache's own functions to its descriptor and to what was read of it.
"""

from __future__ import annotations

import ctypes
import functools
import os
from ctypes import c_int, c_int64, c_size_t, c_void_p
from typing import Any, ClassVar

from ws_middleware.errors import HandshakeError
from ws_middleware.native import make_socket, start_thread
from ws_middleware.waiting import ThreadWaiting
from ws_middleware.wsgi.endings import tell_when
from ws_middleware.wsgi.hijack import Hijacker, Taken, swap
from ws_middleware.wsgi.types import Environ

__all__ = ["ModWSGI", "find_setting"]

#: How much is asked for at once of what Apache holds, in bytes; it reads blocks of this size.
_BLOCK = 8192
#: How its filters are asked: for bytes (`util_filter.h`), without waiting (`apr_buckets.h`).
_READ_BYTES, _NO_WAIT = 0, 1
#: What the state of a process is called, and that of one that ends (`ap_mpm.h`).
_STATE, _STOPPING = 13, 2
_PROXY = "let mod_proxy_http pass this path, with upgrade=websocket, to gunicorn on another port"


def _fields(names: str, kind: Any) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names.split()]


class _Connection(ctypes.Structure):
    """Be the beginning of a `conn_rec` of Apache 2.4 (`httpd.h`)."""

    _fields_ = (
        *_fields("pool base_server vhost_lookup_data local_addr client_addr client_ip", c_void_p),
        *_fields("remote_host remote_logname local_ip local_host id conn_config notes", c_void_p),
        *_fields("input_filters output_filters sbh bucket_alloc", c_void_p),
    )


class _Request(ctypes.Structure):
    """Be the beginning of a `request_rec`."""

    _fields_ = (("pool", c_void_p), ("connection", ctypes.POINTER(_Connection)))


#: What functions of Apache's give, and what they take.
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "ap_ssl_conn_is_ssl": (c_int, c_void_p),
    "ap_flush_conn": (None, c_void_p),
    "ap_get_conn_socket": (c_void_p, c_void_p),
    "apr_os_sock_get": (c_int, c_void_p, c_void_p),
    "apr_brigade_create": (c_void_p, c_void_p, c_void_p),
    "ap_get_brigade": (c_int, c_void_p, c_void_p, c_int, c_int, c_int64),
    "apr_brigade_flatten": (c_int, c_void_p, c_void_p, c_void_p),
    "apr_brigade_cleanup": (c_int, c_void_p),
    "ap_mpm_query": (c_int, c_int, c_void_p),
}


class ModWSGI(Hijacker):
    """Take sockets from Apache, where its configuration hands requests over."""

    name: ClassVar[str] = "mod_wsgi"

    def detect(self, environ: Environ) -> bool:
        """Look for mod_wsgi's own key."""
        return "mod_wsgi.process_group" in environ

    def take(self, environ: Environ) -> Taken:
        """Take the connection out of Apache's hands, and what it has read of it."""
        _refuse(find_setting(environ))
        apache = _load()
        request = _request_of(environ)
        if apache.ap_ssl_conn_is_ssl(request.connection):
            _refuse(f"this one carries TLS, {_PROXY}")
        _watch()
        apache.ap_flush_conn(request.connection)  # the peer may have sent requests before
        living = _swap(_number_of(apache, request.connection))
        return Taken(living, _drain(apache, request), borrowed=False)


def _refuse(problem: str) -> None:
    if problem:
        raise HandshakeError(501, f"Apache's mod_wsgi keeps its sockets to itself: {problem}")


def find_setting(environ: Environ) -> str:
    """Say what stands in the way, and how to have it otherwise; "" where nothing does."""
    if environ["mod_wsgi.process_group"]:
        return f"it runs in daemon mode, {_PROXY}"
    if "apache.request_rec" not in environ:
        return f"set WSGIPassApacheRequest On, or {_PROXY}"
    if environ["mod_wsgi.application_group"]:
        # A process may crash while it ends them, and their peers would not be told.
        return "set WSGIApplicationGroup %{GLOBAL}, it gives none to sub-interpreters"
    if environ["apache.version"][:2] != (2, 4):
        return f"this is not Apache 2.4, {_PROXY}"
    if os.name != "posix":
        return f"none can be parked on Windows, {_PROXY}"
    return ""


@functools.cache
def _load() -> Any:
    """Look up Apache's functions, which are in this process."""
    apache = ctypes.CDLL(None)
    for name, (result, *arguments) in _FUNCTIONS.items():
        try:
            function = getattr(apache, name)
        except AttributeError:
            _refuse(f"this Apache has no {name}, use 2.4.48 or later")
        function.restype, function.argtypes = result, arguments
    return apache


@functools.cache
def _watch() -> None:
    """Tell the peers as soon as this process means to end: first it awaits its other requests."""
    apache, state = _load(), c_int()

    def ends() -> bool:
        apache.ap_mpm_query(_STATE, ctypes.byref(state))
        return state.value == _STOPPING

    start_thread(lambda: tell_when(ends, ThreadWaiting()))


def _request_of(environ: Environ) -> _Request:
    pointer_of = ctypes.PYFUNCTYPE(c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    return _Request.from_address(pointer_of(environ["apache.request_rec"], None))


def _number_of(apache: Any, connection: Any) -> int:
    number = c_int()
    apache.apr_os_sock_get(ctypes.byref(number), apache.ap_get_conn_socket(connection))
    return number.value


def _swap(number: int) -> Any:
    """Put a dead end in the place of a descriptor; returns the living socket."""
    lent = make_socket(number)
    try:
        return swap(lent)
    finally:
        lent.detach()  # the number stays Apache's


def _drain(apache: Any, request: _Request) -> bytes:
    """Take what Apache has read behind a request: it finds the end of its dead end after that."""
    connection = request.connection.contents
    brigade = apache.apr_brigade_create(request.pool, connection.bucket_alloc)
    buffer, drained = ctypes.create_string_buffer(_BLOCK), b""
    while not apache.ap_get_brigade(
        connection.input_filters, brigade, _READ_BYTES, _NO_WAIT, _BLOCK
    ):
        size = c_size_t(_BLOCK)
        apache.apr_brigade_flatten(brigade, buffer, ctypes.byref(size))
        apache.apr_brigade_cleanup(brigade)
        drained += buffer.raw[: size.value]
    return drained
