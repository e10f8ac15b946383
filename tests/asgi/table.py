"""What the table of ASGI servers says."""

from __future__ import annotations

from pathlib import Path

from tests.asgi.kinds import KINDS, Kind
from tests.support import SupportTable

__all__ = ["TABLE"]

INTRO = """\
What the tests have shown of each server that `ws.asgi(app)` was run on. Where frames are ours, the
handshake is, too: authentication, extensions, limits, keepalive and speed are those of this
package. Elsewhere the same handlers run over the server's ASGI events, as well as it allows.

- **Frames**: whose they are; `ping()`, `pong()` and `send_frame()` raise `UnsupportedError` where
  they are the server's.
- **Extensions**: who agrees on compression.
- **Refusals**: which responses can refuse a handshake.
- **Early frames**: what becomes of frames in the segment of the request.
- **Peer's code**: which close code handlers see when the peer closes with one.
- **Our code**: which code peers see of our closes.
- **Our reason**: whether the reason of our close reaches the peer.
- **Empty messages**: whether they are sent.
- **Largest message**: who refuses one that is too large, and how.
- **Fields of an app's own**: whether the app's own sockets can add fields to the response.
- **SIGTERM**: what every peer gets before the process ends.
"""


def _stops(kind: Kind) -> str:
    return "end of stream" if kind.stops_with is None else str(kind.stops_with)


TABLE = SupportTable(
    "ASGI servers",
    INTRO,
    Path("docs/reference/asgi-servers.md"),
    "tests/asgi",
    KINDS,
    {
        "frames": ("Frames", lambda kind: "ours" if kind.frames else "the server's"),
        "extensions": ("Extensions", lambda kind: "we" if kind.frames else "the server"),
        "denies": ("Refusals", lambda kind: "any" if kind.denies else "403 alone"),
        "early": ("Early frames", lambda kind: str(kind.early)),
        "codes": ("Peer's code", lambda kind: "as sent" if kind.tells_codes else "always 1006"),
        "our-codes": (
            "Our code",
            lambda kind: "as given" if kind.sends_codes else "1000 and 3000 to 4999; 4011 for 1011",
        ),
        "reasons": ("Our reason", lambda kind: "sent" if kind.sends_reasons else "lost"),
        "empty": ("Empty messages", lambda kind: "sent" if kind.sends_empty else "lost"),
        "limit": (
            "Largest message",
            lambda kind: "1009" if kind.limit is None else f"{kind.limit} bytes, then cut off",
        ),
        "fields": ("Fields of an app's own", lambda kind: "sent" if kind.sends_fields else "lost"),
        "sigterm": ("SIGTERM", _stops),
    },
    {},
)
