"""The WSGI side: a middleware that takes sockets out of any server, and parks them."""

from ws_middleware.wsgi.endings import close_all
from ws_middleware.wsgi.hijack import Hijacker, Taken
from ws_middleware.wsgi.middleware import WSGIMiddleware

__all__ = ["Hijacker", "Taken", "WSGIMiddleware", "close_all"]
