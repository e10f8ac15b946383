"""What the table of WSGI servers says."""

from __future__ import annotations

from pathlib import Path

from tests.support import SupportTable
from tests.wsgi.kinds import KINDS, Kind

__all__ = ["TABLE"]

INTRO = """\
What the tests have shown of each server that `ws.wsgi(app)` can take sockets from. A *parked*
connection has left the server's hands: it costs no thread, no worker and no time-out of the
server's, and each server held 50 of every kind while it answered pages.

- **Early frames**: what becomes of frames in the segment of the request.
- **Fields twice**: what becomes of a request with two Host, Origin, Key or Version fields.
- **TLS**: what a connection costs where the server itself ends TLS; none can be parked then.
- **Access log**: the status that the server's own log shows of an accepted handshake.
- **SIGTERM**, **SIGINT**: what every peer gets before the process ends.

These are the newest versions; of mod_wsgi it is Debian 12's, 4.9.4. `tox -e oldest` converses with
the oldest ones that are supported: gunicorn 20.1 (whose access log leaves accepted handshakes out
with sync and gthread), werkzeug 3.0, gevent 23.9, eventlet 0.33.3, waitress 2.0, cheroot 9.0,
Django 4.2, Paste 3.5.3, Twisted 23.10.
"""


def _capacity(kind: Kind) -> str:
    if kind.threads:
        return str(kind.threads)
    return "a greenlet each" if kind.greenlets else "a thread each"


def _ending(kind: Kind) -> str:
    return "1001, unless a request runs" if kind.ends_abruptly else "1001"


TABLE = SupportTable(
    "WSGI servers",
    INTRO,
    Path("docs/reference/wsgi-servers.md"),
    "tests/wsgi",
    KINDS,
    {
        "async": ("`async def`", lambda kind: "relayed" if kind.greenlets else "parked"),
        "def": ("`def`", lambda kind: "greenlet" if kind.greenlets else "parked"),
        "callbacks": ("`Handler`", lambda kind: "greenlet" if kind.greenlets else "parked"),
        "early": (
            "Early frames",
            lambda kind: "kept" if kind.early_request == "kept" else "kept; 400 if like a request",
        ),
        "doubled": (
            "Fields twice",
            lambda kind: "refused" if kind.doubled == "both" else "the last one counts",
        ),
        "tls": (
            "TLS",
            lambda kind: {"": "-", "thread": "a thread", "green": "a greenlet"}[kind.tls],
        ),
        "log": ("Access log", lambda kind: f"`{kind.access_log}`" if kind.access_log else "-"),
        "sigterm": ("SIGTERM", _ending),
        "sigint": ("SIGINT", _ending),
    },
    {"Requests at once": _capacity},
)
