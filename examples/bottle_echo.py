"""An echo beside a Bottle app, as a class with callbacks: no thread each, no async in sight.

python -m examples.bottle_echo
"""

from __future__ import annotations

import bottle

from ws_middleware import Handler, WebSockets

site = bottle.Bottle()
ws = WebSockets()


@site.get("/")
def index() -> str:
    return "There is an echo at /echo."


@ws.route("/echo")
class Echo(Handler):
    def on_message(self, message: str | bytes) -> None:
        self.connection.send(message)


app = ws.wsgi(site)

if __name__ == "__main__":
    bottle.run(app, server="waitress", host="127.0.0.1", port=8000)
