"""The same examined server around a WSGI app: `python -m tests.autobahn.wsgi_app SERVER PORT`."""

from __future__ import annotations

import sys

from tests.autobahn.echo_app import OPTIONS, ws
from ws_middleware import Connection, WebSockets

parked = ws.wsgi()

blocking = WebSockets(**OPTIONS)


@blocking.route("/")
def echo(connection: Connection) -> None:
    for message in connection:
        connection.send(message)


in_place = blocking.wsgi(park=False)
in_threads = blocking.wsgi()


def werkzeug(port: int) -> None:
    from werkzeug.serving import run_simple

    run_simple("127.0.0.1", port, parked, threaded=True)


def pywsgi(port: int) -> None:
    from gevent.pywsgi import WSGIServer

    WSGIServer(("127.0.0.1", port), in_threads).serve_forever()  # stays in its greenlets


def waitress(port: int) -> None:
    import waitress

    waitress.serve(in_threads, host="127.0.0.1", port=port)


if __name__ == "__main__":
    {"werkzeug": werkzeug, "pywsgi": pywsgi, "waitress": waitress}[sys.argv[1]](int(sys.argv[2]))
