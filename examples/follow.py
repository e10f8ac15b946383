"""Follow a topic of `broadcast.py`, whatever becomes of its server meanwhile.

python examples/follow.py ws://127.0.0.1:8000/listen/news
"""

from __future__ import annotations

import contextlib
import sys

from ws_middleware import ConnectionClosed, reconnecting


def main(url: str) -> None:
    for connection in reconnecting(url, min_delay=0.1):
        # What broke off is reason enough to connect again.
        with contextlib.suppress(ConnectionClosed):
            for value in connection:
                print(value, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(sys.argv[1])
