"""A Flask app with our routes, mounted for WSGI servers and served by an ASGI server."""

from __future__ import annotations

from tests.wsgi.apps import make_flask, ws

app = ws.asgi(make_flask())
