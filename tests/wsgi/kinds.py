"""Every WSGI server of the suite: how it is started, and the facts in which it differs.

Each fact is proved by a test; the table of the documentation is made of them, see `support.py`.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil
import pytest

from tests.peer import Peer
from tests.running import RunningServer, eventually, run_command
from tests.tls import Certificate
from tests.wsgi import apache
from ws_middleware.callbacks import POOL_SIZE

__all__ = [
    "KINDS",
    "SHAPES",
    "Kind",
    "Served",
    "errors_in",
    "kind_of",
    "serve",
    "shapes",
    "warm_up",
]

#: The first part of a route's path: what its handler is.
SHAPES = ["async", "def", "callbacks", "async-callbacks"]
shapes = pytest.mark.parametrize("shape", SHAPES)


@dataclass(frozen=True, slots=True)
class Kind:
    """Describe one server."""

    name: str
    #: The framework of the app that it serves.
    framework: str
    #: What is said of it to people.
    title: str
    #: The command of its own that it has, and the options for that; "" where it has none.
    program: str = ""
    options: tuple[str, ...] = ()
    #: How many requests it serves at once; 0 for one thread or greenlet each.
    threads: int = 0
    #: Whether it runs requests in greenlets: connections stay there, instead of being parked.
    greenlets: bool = False
    #: The status in its access log; "" where it has none, or none of this.
    access_log: str = "101"
    #: What becomes of bytes behind the request that look like the next request.
    early_request: str = "kept"
    #: Which of two equal fields reach the app.
    doubled: str = "both"
    #: What becomes of `Sec_WebSocket_Key` beside `Sec-WebSocket-Key`.
    underscore: str = "dropped"
    #: Where a connection over TLS is served, if the server itself ends TLS.
    tls: str = ""
    #: Statuses of responses behind which it closes the connection.
    closes_behind: tuple[int, ...] = ()
    #: Whether it ends in the middle of a request when it is told to, and then tells nobody.
    ends_abruptly: bool = False

    def command(
        self, framework: str, settings: str, certificate: Certificate | None, folder: Path
    ) -> list[str]:
        """Give the command that serves on a free port."""
        if self.program == "apache":
            return apache.command(folder, f"make({framework!r}{settings})", self.options)
        if self.program == "uwsgi":
            app = f"tests.wsgi.apps:make_{framework}()"
            return [str(Path(sys.executable).with_name("uwsgi")), *_UWSGI, *self.options, "-w", app]
        if self.program == "gunicorn":
            arguments = certificate.arguments if certificate else ()
            app = f"tests.wsgi.apps:make({framework!r}{settings})"
            return [sys.executable, "-m", "gunicorn", *_GUNICORN, *self.options, *arguments, app]
        files = [str(path) for path in certificate or ()]
        return [sys.executable, "-m", "tests.wsgi.launch", self.name, framework, *files]


_GUNICORN = ["--bind", "127.0.0.1:0", "--workers", "1", "--access-logfile", "-"]
if int(metadata.version("gunicorn").partition(".")[0]) >= 26:
    _GUNICORN.append("--no-control-socket")
_UWSGI = [
    *("--master", "--die-on-term", "--need-app", "--pythonpath", "."),
    # It closes every connection behind the response, and tells of it only if it is told to.
    *("--add-header", "Connection: close"),
    *("--logformat", '"%(method) %(uri) %(proto)" %(status)'),
]

KINDS = [
    Kind(
        "gunicorn-sync",
        "flask",
        "gunicorn, sync",
        "gunicorn",
        ("-k", "sync"),
        threads=1,
        tls="thread",
    ),
    Kind(
        "gunicorn-gthread",
        "django",
        "gunicorn, gthread",
        "gunicorn",
        ("-k", "gthread", "--threads", "2"),
        threads=2,
        tls="thread",
    ),
    Kind(
        "gunicorn-gevent",
        "flask",
        "gunicorn, gevent",
        "gunicorn",
        ("-k", "gevent"),
        greenlets=True,
        tls="green",
    ),
    Kind(
        "gunicorn-pywsgi",
        "flask",
        "gunicorn, gevent_pywsgi",
        "gunicorn",
        ("-k", "gevent_pywsgi"),
        greenlets=True,
        access_log="socket",
        tls="green",
    ),
    Kind("werkzeug", "flask", "werkzeug, `flask run`", tls="thread"),
    Kind("werkzeug-single", "flask", "werkzeug, `threaded=False`", threads=1, tls="thread"),
    Kind("flask-debugger", "flask", "werkzeug, with the debugger"),
    Kind("pywsgi", "bottle", "gevent.pywsgi", greenlets=True, tls="green"),
    Kind("eventlet", "bottle", "eventlet.wsgi", greenlets=True, tls="green"),
    Kind("waitress", "bottle", "waitress", threads=2, access_log="", early_request="refused"),
    Kind(
        "cheroot",
        "bottle",
        "cheroot, CherryPy",
        threads=2,
        access_log="",
        doubled="last",
        underscore="taken",
        tls="thread",
    ),
    Kind("wsgiref", "bottle", "wsgiref", threads=1, access_log="", underscore="refused"),
    Kind(
        "wsgiref-threads", "bottle", "wsgiref, ThreadingMixIn", access_log="", underscore="refused"
    ),
    Kind("django", "django", "Django's runserver", access_log=""),
    Kind("twisted", "bottle", "Twisted's WSGIResource", threads=10, underscore="taken"),
    Kind(
        "uwsgi",
        "flask",
        "uWSGI, `--http-socket`",
        "uwsgi",
        ("--http-socket", "127.0.0.1:0"),
        threads=1,
        underscore="refused",
        ends_abruptly=True,
    ),
    Kind(
        "uwsgi-gevent",
        "flask",
        "uWSGI, `--gevent`",
        "uwsgi",
        ("--http-socket", "127.0.0.1:0", "--gevent", "100"),
        greenlets=True,
        underscore="refused",
        ends_abruptly=True,
    ),
    Kind(
        "apache-event",
        "flask",
        "mod_wsgi inside of Apache, event",
        "apache",
        (*apache.EVENT, *apache.OPENED),
        threads=10,
        closes_behind=(400,),
    ),
    Kind(
        "apache-prefork",
        "flask",
        "mod_wsgi inside of Apache, prefork",
        "apache",
        (*apache.PREFORK, *apache.OPENED),
        threads=1,
        closes_behind=(400,),
    ),
    Kind("paste", "bottle", "Paste's httpserver", threads=10, access_log="", underscore="taken"),
]


def kind_of(name: str) -> Kind:
    """Look up a server by its name."""
    return next(kind for kind in KINDS if kind.name == name)


class Served(RunningServer):
    """Look at a WSGI server: at its only worker, where it has workers."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, kind: Kind) -> None:
        super().__init__(process, log)
        self.kind = kind

    @property
    def worker(self) -> psutil.Process:
        """Give the process that serves."""
        if not self.kind.program:
            return self._ps
        eventually(lambda: self.children)
        return max(self.children, key=lambda child: child.create_time())

    @property
    def children(self) -> list[psutil.Process]:
        """List the workers."""
        return list(self._ps.children())

    @property
    def descriptors(self) -> int:
        """Count the worker's open sockets.

        Other descriptors come and go by themselves: werkzeug leaves a selector of each request
        to the garbage collector.
        """
        count = 0
        for entry in Path(f"/proc/{self.worker.pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                count += os.readlink(entry).startswith("socket:")
        return count

    @property
    def threads(self) -> int:
        """Count the worker's threads."""
        return int(self.worker.num_threads())

    def wait_until_idle(self) -> None:
        """Wait until its main thread sleeps: a signal then interrupts nothing but its loop."""
        eventually(lambda: all(self._sleeps() for _ in range(5)))

    def _sleeps(self) -> bool:
        time.sleep(0.01)
        return bool(self.worker.status() == psutil.STATUS_SLEEPING)

    def statuses(self, path: str) -> list[str]:
        """List what the access log says of requests for a path."""
        return re.findall(rf'GET {re.escape(path)} HTTP/1\.[01]\S*" (\S+)', self.log)

    def find_port(self) -> bool:
        """Look whether it listens, and where."""
        assert self.process.poll() is None, f"the server did not start:\n{self.log}"
        sockets = self._ps.net_connections("tcp4")
        ports = [entry.laddr[1] for entry in sockets if entry.status == psutil.CONN_LISTEN]
        self.port = ports[0] if ports else 0
        return bool(ports)


@contextmanager
def serve(
    kind: Kind,
    log: Path,
    *options: str,
    framework: str = "",
    settings: str = "",
    certificate: Certificate | None = None,
) -> Iterator[Served]:
    """Run a server to the end of the block; further `options` are for its own command."""
    command = kind.command(framework or kind.framework, settings, certificate, log.parent)
    with run_command([*command, *options], log) as running:
        served = Served(running.process, log, kind)
        eventually(served.find_port)
        yield served


def errors_in(printed: str) -> list[str]:
    """List the lines of a log that tell of something wrong with the server."""
    return [
        line for line in printed.splitlines() if _WRONG.search(line) and not _HARMLESS.search(line)
    ]


_WRONG = re.compile(
    r"Traceback|Exception|Error\b|\b(ERROR|CRITICAL|WARNING|DANGER|SIGPIPE)\b|Broken pipe \["
    # Apache's own words; as mod_wsgi's errors it logs all that the app prints.
    r"|\[(?!wsgi)\w+:(?:warn|error|crit|alert|emerg)\]"
)
#: What Django says of itself and of a 404, gunicorn of what it refuses by itself, waitress and
#: Apache of a request that waits for a thread, and uWSGI of its user.
_HARMLESS = re.compile(
    r'" 4\d\d |reached MaxRequestWorkers|Not Found: /|Invalid request from|Task queue depth is'
    r"|a development server|Reloader is on|you are running uWSGI as root"
)


def warm_up(port: int) -> None:
    """Let everything be made that a server makes once, such as each thread of the pool."""
    for shape in SHAPES + ["callbacks"] * POOL_SIZE:
        with Peer(port) as peer:
            peer.open(f"/{shape}").echo("warm up")
            peer.close()
