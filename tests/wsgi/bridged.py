"""The WSGI app behind a bridge, for a server that speaks ASGI."""

from __future__ import annotations

from a2wsgi import WSGIMiddleware

from tests.wsgi.apps import make

app = WSGIMiddleware(make("bottle"))  # type: ignore[arg-type]
