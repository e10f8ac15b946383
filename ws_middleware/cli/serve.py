"""The command that serves: an echo service with a page, or somebody's own code.

Whatever goes wrong before the first connection is told in one line. Exit status: 0 stopped as
asked, 1 it could not serve, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import functools
import logging
import logging.config
import os
import socket
import sys
from collections.abc import Sequence
from typing import Any

from ws_middleware.asgi.middleware import ASGIMiddleware
from ws_middleware.certificate import Arguments, CertificateError, check_certificate
from ws_middleware.cli.arguments import Parser, path, ping_interval, positive_size
from ws_middleware.cli.processes import CANNOT_START, Reloader, Supervisor
from ws_middleware.cli.target import TargetError, Targets
from ws_middleware.listening import ListenError, listening
from ws_middleware.logs import format_address
from ws_middleware.server import ServerConfig, serve
from ws_middleware.version import VERSION

__all__ = ["serve_command"]

logger: logging.Logger = logging.getLogger("ws_middleware")

#: How long connections may take to close before changed code is served, in seconds.
_RELOAD_GRACE_TIME = 1
_TLS_ARGUMENTS = Arguments("--certfile", "--keyfile", None)
_LEVELS = ("critical", "error", "warning", "info", "debug")

_EPILOG = """\
without a TARGET, an echo service on every path, and a page to try it with at /
a TARGET is module:name of a WebSockets object, an ASGI app or a WSGI app; module alone means
module:ws; name a WebSockets object and an app to serve plain HTTP beside the routes

connect URL is the other command, a client: see connect --help
"""


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535, 0 takes a free one)")
    return int(text)


def _prefix(text: str) -> str:
    return "/" + text.strip("/") if text.strip("/") else ""


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes")
    return int(text)


def make_parser() -> argparse.ArgumentParser:
    """Describe the command's options."""
    parser = Parser(
        prog="python -m ws_middleware",
        description="Serve WebSockets.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="what to serve, see below")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="port to listen on (%(default)s)")
    parser.add_argument("--uds", type=path, metavar="PATH", help="Unix socket to listen on instead")
    parser.add_argument("--certfile", metavar="FILE", help="TLS certificate, in PEM")
    parser.add_argument("--keyfile", metavar="FILE", help="its key, where not in the same file")
    parser.add_argument("--workers", type=_count, default=1, metavar="N", help="processes (1)")
    parser.add_argument("--reload", action="store_true", help="restart when the code changes")
    parser.add_argument(
        "--log-level",
        choices=_LEVELS,
        default="info",
        metavar="LEVEL",
        help=f"{', '.join(_LEVELS[:-1])} or {_LEVELS[-1]} (%(default)s)",
    )
    parser.add_argument(
        "--root-path", type=_prefix, default="", metavar="PATH", help="prefix a proxy takes away"
    )
    parser.add_argument(
        "--max-size", type=positive_size, metavar="BYTES", help="largest message (1048576)"
    )
    parser.add_argument(
        "--ping-interval",
        type=ping_interval,
        default=argparse.SUPPRESS,
        metavar="SECONDS",
        help="silence after which a ping is sent, 0 for none (20)",
    )
    parser.add_argument("--no-compression", action="store_true", help="offer no extension")
    parser.add_argument("--version", action="version", version=f"ws_middleware {VERSION}")
    return parser


def serve_command(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and serve; returns the exit status."""
    parser = make_parser()
    parsed = parser.parse_args(arguments)
    if parsed.keyfile and not parsed.certfile:
        parser.error("--keyfile needs --certfile")
    if parsed.reload and parsed.workers > 1:
        parser.error("--reload works with one process: leave out --workers")
    _configure_logging(parsed.log_level)
    try:
        app = _prepare(parsed)
        with listening(parsed.host, parsed.port, parsed.uds) as sock:
            status = _serve(parsed, app, sock)
    except (TargetError, CertificateError, ListenError) as error:
        return _fail(error)
    if status == 0:
        logger.info("stopped")
    return status


def _fail(error: Exception) -> int:
    print("error:", " ".join(str(error).split()), file=sys.stderr)
    return 1


def _prepare(parsed: argparse.Namespace) -> ASGIMiddleware | None:
    """Find out what is wrong before anything is served; None if each worker has to do so."""
    if parsed.certfile is not None:
        check_certificate(parsed.certfile, parsed.keyfile, arguments=_TLS_ARGUMENTS)
    if parsed.reload:
        return None  # the code may be broken for a while
    try:
        return _load(parsed)
    except KeyboardInterrupt:
        raise SystemExit(0) from None  # stopped as asked


def _load(parsed: argparse.Namespace) -> ASGIMiddleware:
    return Targets(tuple(parsed.targets), _overrides(parsed))()


def _serve(parsed: argparse.Namespace, app: ASGIMiddleware | None, sock: socket.socket) -> int:
    work = functools.partial(_work, parsed, sock)
    if app is None:
        return Reloader(work, os.getcwd()).run()
    announce = functools.partial(_announce, parsed, app, sock)
    if parsed.workers > 1:
        return Supervisor(work, parsed.workers).run(announce)
    return serve(_configure(parsed, app), sock, announce)


def _work(parsed: argparse.Namespace, sock: socket.socket) -> None:
    """Serve in a process of its own."""
    _configure_logging(parsed.log_level)
    try:
        app = _load(parsed)
    except TargetError as error:
        _fail(error)
        sys.exit(CANNOT_START)
    config = _configure(parsed, app)
    if parsed.reload:
        config.timeout_graceful_shutdown = _RELOAD_GRACE_TIME
    announce = functools.partial(_announce, parsed, app, sock)
    if serve(config, sock, announce if parsed.reload else lambda: None):
        sys.exit(CANNOT_START)


def _configure(parsed: argparse.Namespace, app: ASGIMiddleware) -> ServerConfig:
    return ServerConfig(
        app,
        options=app.router.options,
        ssl_certfile=parsed.certfile,
        ssl_keyfile=parsed.keyfile,
        root_path=parsed.root_path,
    )


def _overrides(parsed: argparse.Namespace) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    if parsed.max_size is not None:
        overrides["max_message_size"] = parsed.max_size
    if hasattr(parsed, "ping_interval"):
        overrides["ping_interval"] = parsed.ping_interval
    if parsed.no_compression:
        overrides["extensions"] = ()
    return overrides


def _announce(parsed: argparse.Namespace, app: ASGIMiddleware, sock: socket.socket) -> None:
    if parsed.uds:
        where = f"unix:{parsed.uds}"
    else:
        place = format_address(sock.getsockname())
        secure = "s" if parsed.certfile else ""
        where = f"http{secure}://{place}/ and ws{secure}://{place}/"
    rules = [route.rule for route in app.router.routes]
    logger.info(
        "ws_middleware %s serves %s%s (Ctrl+C stops)",
        VERSION,
        where,
        f", routes: {' '.join(rules)}" if rules else "",
    )


def _configure_logging(level: str) -> None:
    level = level.upper()
    # What uvicorn says of starting and stopping, we say ourselves.
    others = max(level, "WARNING", key=_severity)
    server = level if level == "DEBUG" else others
    configuration = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s"}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "stream": "ext://sys.stderr",
            }
        },
        "root": {"handlers": ["stderr"], "level": others},
        "loggers": {
            "ws_middleware": {"level": level},
            "uvicorn.access": {"level": level},
            "uvicorn.error": {"level": server},
        },
    }
    logging.config.dictConfig(configuration)


def _severity(level: str) -> int:
    return logging.getLevelNamesMapping()[level]
