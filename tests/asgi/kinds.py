"""Every ASGI server of the suite: how it is started, and the facts in which it differs.

Each fact is proved by a test; the table of the documentation is made of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.asgi.oldest import install_oldest
from tests.running import RunningServer, eventually, free_port, is_listening, run_command
from tests.tls import Certificate, make_certificate

__all__ = ["KINDS", "SHAPES", "Kind", "Served", "kind_of", "serve", "shapes"]

#: The routes whose handlers are of each shape.
SHAPES = ["async", "def", "callbacks", "async-callbacks"]
shapes = pytest.mark.parametrize("shape", SHAPES)

APP = "tests.asgi.apps:app"
_FLAG = ("--ws", "ws_middleware.asgi.uvicorn:WebSocketProtocol")


@dataclass(frozen=True, slots=True)
class Kind:
    """Describe one server."""

    name: str
    #: What is said of it to people.
    title: str
    #: The module that is run, its options, and what its options for a port and TLS look like.
    module: str = "uvicorn"
    options: tuple[str, ...] = ()
    #: Whether frames are ours: by the flag, or because our class was put in place.
    frames: bool = True
    #: Whether the environment variable leaves the server as it is.
    switched_off: bool = False
    #: Whether it is the oldest version that is supported.
    oldest: bool = False
    tls: bool = False
    #: Whether its peers speak HTTP/2.
    http2: bool = False
    #: What becomes of frames in the segment of the request: kept, lost or refused.
    early: str = "kept"
    #: Whether a refusal may have any status, fields and content; only 403 otherwise.
    denies: bool = True
    #: Whether the close codes of peers are told.
    tells_codes: bool = True
    #: Whether all codes of our closes are sent; else 4011 stands for 1011.
    sends_codes: bool = True
    #: Whether the reasons of our closes, and empty messages, are sent.
    sends_reasons: bool = True
    sends_empty: bool = True
    #: Whether fields that the app's own sockets add to the response are sent.
    sends_fields: bool = True
    #: The largest message that it takes before ours is asked, in bytes.
    limit: int | None = None
    #: The close code that peers get when the server stops; None for the end of the stream.
    stops_with: int | None = 1001

    def command(self, port: int, certificate: Certificate | None) -> list[str]:
        """Give the command that serves."""
        where, files = _PORTS[self.module](port), _TLS.get(self.module, ("", ""))
        secured = (
            []
            if certificate is None
            else [files[0], str(certificate.certfile), files[1], str(certificate.keyfile)]
        )
        return [sys.executable, "-m", self.module, *self.options, *where, *secured, APP]


_PORTS = {
    "uvicorn": lambda port: ["--port", str(port)],
    "gunicorn": lambda port: ["--bind", f"127.0.0.1:{port}", "--no-control-socket"],
    "hypercorn": lambda port: ["--bind", f"127.0.0.1:{port}"],
    "granian": lambda port: ["--interface", "asgi", "--host", "127.0.0.1", "--port", str(port)],
    "daphne": lambda port: ["-b", "127.0.0.1", "-p", str(port)],
}
_TLS = {
    "uvicorn": ("--ssl-certfile", "--ssl-keyfile"),
    "hypercorn": ("--certfile", "--keyfile"),
    "gunicorn": ("--certfile", "--keyfile"),
}

KINDS = [
    Kind("uvicorn", "uvicorn"),
    Kind(
        "uvicorn-none",
        "uvicorn, h11, asyncio, `--ws none`",
        options=("--http", "h11", "--loop", "asyncio", "--ws", "none"),
    ),
    Kind(
        "uvicorn-flag",
        "uvicorn, h11, uvloop, our `--ws`",
        options=("--http", "h11", "--loop", "uvloop", *_FLAG),
        switched_off=True,
    ),
    Kind(
        "uvicorn-flag-asyncio",
        "uvicorn, httptools, asyncio, our `--ws`",
        options=("--http", "httptools", "--loop", "asyncio", *_FLAG),
        switched_off=True,
    ),
    Kind("uvicorn-tls", "uvicorn, TLS", tls=True),
    Kind(
        "uvicorn-http2",
        "uvicorn, zttp, HTTP/2",
        options=("--http", "zttp", "--http2"),
        http2=True,
    ),
    Kind("uvicorn-workers", "uvicorn, two workers", options=("--workers", "2")),
    Kind(
        "uvicorn-worker",
        "gunicorn, UvicornWorker",
        "gunicorn",
        ("-k", "uvicorn_worker.UvicornWorker", "--workers", "2"),
    ),
    Kind("oldest", "uvicorn 0.36", oldest=True),
    Kind(
        "oldest-flag",
        "uvicorn 0.36, h11, asyncio, our `--ws`",
        options=("--http", "h11", "--loop", "asyncio", *_FLAG),
        oldest=True,
        switched_off=True,
    ),
    Kind(
        "uvicorn-events",
        "uvicorn, its own WebSockets",
        frames=False,
        switched_off=True,
        early="lost",
        stops_with=1012,
    ),
    Kind(
        "uvicorn-wsproto",
        "uvicorn, `--ws wsproto`, its own",
        options=("--http", "h11", "--loop", "asyncio", "--ws", "wsproto"),
        frames=False,
        switched_off=True,
        early="lost",
        stops_with=1012,
    ),
    Kind(
        "oldest-events",
        "uvicorn 0.36, its own WebSockets",
        frames=False,
        switched_off=True,
        oldest=True,
        early="lost",
        stops_with=1012,
    ),
    Kind("hypercorn", "hypercorn", "hypercorn"),
    Kind("hypercorn-uvloop", "hypercorn, uvloop", "hypercorn", ("-k", "uvloop")),
    Kind("hypercorn-tls", "hypercorn, uvloop, TLS", "hypercorn", ("-k", "uvloop"), tls=True),
    Kind("hypercorn-http2", "hypercorn, HTTP/2", "hypercorn", http2=True),
    Kind("hypercorn-oldest", "hypercorn 0.17", "hypercorn", oldest=True),
    Kind(
        "hypercorn-events",
        "hypercorn, its own WebSockets",
        "hypercorn",
        frames=False,
        switched_off=True,
        early="refused",
        tells_codes=False,
    ),
    Kind(
        "hypercorn-trio",
        "hypercorn, trio",
        "hypercorn",
        ("-k", "trio"),
        frames=False,
        early="refused",
        tells_codes=False,
    ),
    Kind(
        "granian",
        "granian",
        "granian",
        frames=False,
        sends_fields=False,
        stops_with=None,
    ),
    Kind(
        "daphne",
        "daphne",
        "daphne",
        frames=False,
        early="lost",
        denies=False,
        sends_codes=False,
        sends_reasons=False,
        sends_empty=False,
        sends_fields=False,
        limit=2**20,
        stops_with=None,
    ),
    Kind(
        "gunicorn-asgi",
        "gunicorn, its asgi worker",
        "gunicorn",
        ("-k", "asgi", "--workers", "2"),
        early="lost",
    ),
    Kind(
        "gunicorn-asgi-asyncio",
        "gunicorn, its asgi worker, asyncio",
        "gunicorn",
        ("-k", "asgi", "--asgi-loop", "asyncio"),
        early="lost",
    ),
    Kind(
        "gunicorn-asgi-tls",
        "gunicorn, its asgi worker, TLS",
        "gunicorn",
        ("-k", "asgi"),
        tls=True,
        early="lost",
    ),
    Kind(
        "gunicorn-asgi-oldest",
        "gunicorn 26.2, its asgi worker",
        "gunicorn",
        ("-k", "asgi"),
        oldest=True,
        early="lost",
    ),
    Kind(
        "gunicorn-asgi-events",
        "gunicorn, its asgi worker, its own WebSockets",
        "gunicorn",
        ("-k", "asgi", "--graceful-timeout", "1"),
        frames=False,
        switched_off=True,
        early="lost",
        denies=False,
        stops_with=None,
    ),
]


def kind_of(name: str) -> Kind:
    """Look up a server by its name."""
    return next(kind for kind in KINDS if kind.name == name)


class Served(RunningServer):
    """Look at an ASGI server."""

    kind: Kind
    certificate: Certificate | None = None


@contextmanager
def serve(kind: Kind, folder: Path) -> Iterator[Served]:
    """Run a server to the end of the block."""
    environment = {"WS_MIDDLEWARE_INSTALL": "0"} if kind.switched_off else {}
    if kind.oldest:
        environment["PYTHONPATH"] = str(install_oldest(kind.module))
    certificate = make_certificate(folder) if kind.tls else None
    port = free_port()
    command = kind.command(port, certificate)
    with run_command(command, folder / "log", environment) as running:
        served = Served(running.process, folder / "log")
        served.kind, served.port, served.certificate = kind, port, certificate

        def listens() -> bool:
            assert served.process.poll() is None, f"the server did not start:\n{served.log}"
            return is_listening(port)

        eventually(listens)
        yield served
