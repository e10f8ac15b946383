"""Count votes with callbacks: no loop, no `async`, and no thread for each connection.

python -m ws_middleware examples.callbacks:ws
"""

from __future__ import annotations

import threading
from collections import Counter

from ws_middleware import Handler, WebSockets

ws = WebSockets()
votes: Counter[str] = Counter()
lock = threading.Lock()


@ws.route("/vote")
class Vote(Handler):
    def on_open(self) -> None:
        self.connection.send_json(votes)

    def on_message(self, message: str | bytes) -> None:
        if message not in ("tea", "coffee"):
            self.connection.close(4000, "tea or coffee")
            return
        with lock:  # callbacks of several connections run at the same time
            votes[str(message)] += 1
        self.connection.send_json(votes)

    def on_close(self, code: int, reason: str) -> None:
        print(f"a voter left with {code} {reason}", flush=True)
