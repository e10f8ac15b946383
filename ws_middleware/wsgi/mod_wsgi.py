"""The sockets of Apache's mod_wsgi in embedded mode, where the app runs inside of Apache.

`WSGIPassApacheRequest On` puts Apache's record of the request into the environ. It leads to the
connection, and Apache's own functions to its descriptor and to what was read of it.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import c_int, c_int64, c_size_t, c_uint, c_void_p
from typing import Any, ClassVar

from ws_middleware.errors import HandshakeError
from ws_middleware.native import make_socket
from ws_middleware.wsgi.hijack import Hijacker, Taken, swap
from ws_middleware.wsgi.types import Environ

__all__ = ["ModWSGI"]

#: How much is asked for at once of what Apache holds, in bytes; it reads blocks of this size.
_BLOCK = 8192
#: How its filters are asked: for bytes (`util_filter.h`), without waiting (`apr_buckets.h`).
_READ_BYTES, _NO_WAIT = 0, 1
_PROXY = "let mod_proxy_http pass this path, with upgrade=websocket, to gunicorn on another port"


def _fields(names: str, kind: Any) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names.split()]


class _Connection(ctypes.Structure):
    """Be a `conn_rec` of Apache 2.4 (`httpd.h`), which only ever grows at its end."""

    _fields_ = (
        *_fields("pool base_server vhost_lookup_data local_addr client_addr client_ip", c_void_p),
        *_fields("remote_host remote_logname local_ip local_host id conn_config notes", c_void_p),
        *_fields("input_filters output_filters sbh bucket_alloc cs", c_void_p),
        *_fields("data_in_input_filters data_in_output_filters flags", c_uint),
        *_fields("aborted keepalive keepalives", c_uint),
        *_fields("log log_id current_thread master", c_void_p),
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
}


class ModWSGI(Hijacker):
    """Take sockets from Apache, where its configuration hands requests over."""

    name: ClassVar[str] = "mod_wsgi"

    def detect(self, environ: Environ) -> bool:
        """Look for mod_wsgi's own key."""
        return "mod_wsgi.process_group" in environ

    def take(self, environ: Environ) -> Taken:
        """Take the connection out of Apache's hands, and what it has read of it."""
        _refuse(_find_setting(environ))
        apache = _load()
        request = _request_of(environ)
        _refuse(_find_layer(apache, request.connection))
        apache.ap_flush_conn(request.connection)  # the peer may have sent requests before
        living = _swap(_number_of(apache, request.connection))
        return Taken(living, _drain(apache, request), borrowed=False)


def _refuse(problem: str) -> None:
    if problem:
        raise HandshakeError(501, f"Apache's mod_wsgi keeps its sockets to itself: {problem}")


def _find_setting(environ: Environ) -> str:
    """Say which setting stands in the way; "" where none does."""
    if environ["mod_wsgi.process_group"]:
        return f"it runs in daemon mode, {_PROXY}"
    if "apache.request_rec" not in environ:
        return f"set WSGIPassApacheRequest On, or {_PROXY}"
    if environ["mod_wsgi.application_group"]:
        # A process may crash while it ends them, and their peers would not be told.
        return "set WSGIApplicationGroup %{GLOBAL}, it gives none to sub-interpreters"
    if environ["apache.version"][:2] != (2, 4):
        return f"this is not Apache 2.4, {_PROXY}"
    return ""


def _find_layer(apache: Any, connection: Any) -> str:
    """Say what lies between a connection and its descriptor; "" where nothing does."""
    if connection.contents.master:
        return "this one carries HTTP/2, set H2WebSockets off"
    if apache.ap_ssl_conn_is_ssl(connection):
        return f"this one carries TLS, {_PROXY}"
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


def _request_of(environ: Environ) -> _Request:
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = c_void_p, [ctypes.py_object, ctypes.c_char_p]
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
