"""The command that serves: an echo service with a page, or somebody's own code.

Whatever goes wrong before the first connection is told in one line. Exit status: 0 stopped as
asked, 1 it could not serve, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ws_middleware.cli.target import TargetError, Targets
from ws_middleware.logs import format_address
from ws_middleware.options import Options
from ws_middleware.server import ListenError, ServerConfig, bind, serve
from ws_middleware.version import VERSION

__all__ = ["serve_command"]

_LEVELS = ("critical", "error", "warning", "info", "debug")

_EPILOG = """\
without a TARGET, an echo service on every path, and a page to try it with at /
a TARGET is module:name of a WebSockets object, an ASGI app or a WSGI app; name one of each to
serve plain HTTP beside the routes
"""


def _positive_size(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of bytes")
    return value


def _interval(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds; 0 sends no pings")
    return value or None


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535, 0 takes a free one)")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes")
    return int(text)


class _Parser(argparse.ArgumentParser):
    """Tell of wrong usage in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (--help lists the options)\n")


def make_parser() -> argparse.ArgumentParser:
    """Describe the command's options."""
    parser = _Parser(
        prog="python -m ws_middleware",
        description="Serve WebSockets.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="what to serve, see below")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="port to listen on (%(default)s)")
    parser.add_argument("--uds", metavar="PATH", help="Unix socket to listen on instead")
    parser.add_argument("--certfile", metavar="FILE", help="TLS certificate, in PEM")
    parser.add_argument("--keyfile", metavar="FILE", help="its key, where not in the same file")
    parser.add_argument("--workers", type=_count, default=1, metavar="N", help="processes (1)")
    parser.add_argument("--reload", action="store_true", help="restart when the code changes")
    parser.add_argument("--log-level", choices=_LEVELS, default="info", help="(%(default)s)")
    parser.add_argument("--root-path", default="", metavar="PATH", help="prefix a proxy takes away")
    parser.add_argument(
        "--max-size", type=_positive_size, metavar="BYTES", help="largest message (1048576)"
    )
    parser.add_argument(
        "--ping-interval",
        type=_interval,
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
    try:
        return _serve(parsed)
    except (TargetError, ListenError) as error:
        return _fail(str(error))
    except OSError as error:  # a certificate that cannot be read, or is none
        return _fail(f"cannot use the certificate: {error.strerror or error}")


def _fail(reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return 1


def _serve(parsed: argparse.Namespace) -> int:
    overrides = _overrides(parsed)
    targets = Targets(tuple(parsed.targets), overrides)
    multiple = parsed.reload or parsed.workers > 1
    # With --reload the code may be broken for a while: only the child loads it then.
    app = None if parsed.reload else targets()
    options = Options(**overrides) if app is None else app.router.options
    sock = bind(parsed.host, parsed.port, parsed.uds)
    config = ServerConfig(
        targets if multiple else app,
        options=options,
        factory=multiple,
        ssl_certfile=parsed.certfile,
        ssl_keyfile=parsed.keyfile,
        workers=parsed.workers,
        reload=parsed.reload,
        root_path=parsed.root_path.rstrip("/"),
        uds=parsed.uds,
        log_config=_log_config(parsed.log_level),
    )
    if config.is_ssl:
        config.load()
    _announce(
        parsed, sock.getsockname(), [route.rule for route in app.router.routes] if app else []
    )
    return serve(config, sock)


def _overrides(parsed: argparse.Namespace) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    if parsed.max_size is not None:
        overrides["max_message_size"] = parsed.max_size
    if hasattr(parsed, "ping_interval"):
        overrides["ping_interval"] = parsed.ping_interval
    if parsed.no_compression:
        overrides["extensions"] = ()
    return overrides


def _announce(parsed: argparse.Namespace, address: Any, rules: list[str]) -> None:
    if parsed.uds:
        where = f"unix:{parsed.uds}"
    else:
        place = format_address(address)
        secure = "s" if parsed.certfile else ""
        where = (
            f"http{secure}://{place}{parsed.root_path}/ and ws{secure}://{place}{parsed.root_path}/"
        )
    routes = f", routes: {' '.join(rules)}" if rules else ""
    logging.getLogger("ws_middleware").info(
        "ws_middleware %s serves %s%s (Ctrl+C stops)", VERSION, where, routes
    )


def _log_config(level: str) -> dict[str, Any]:
    level = level.upper()
    # What uvicorn says of starting and stopping, we say ourselves.
    server = level if level == "DEBUG" else max(level, "WARNING", key=_severity)
    return {
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
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "ws_middleware": {"level": level},
            "uvicorn.access": {"level": level},
            "uvicorn.error": {"level": server},
        },
    }


def _severity(level: str) -> int:
    return logging.getLevelNamesMapping()[level]
