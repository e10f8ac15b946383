"""A whole Django project in one file, with a WebSocket that greets who is logged in.

gunicorn examples.django_wsgi:application
"""

from __future__ import annotations

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.signing import BadSignature, Signer
from django.http import HttpRequest, HttpResponse
from django.urls import path

from ws_middleware import Connection, WebSockets

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="change me",
)
django.setup()


def log_in(request: HttpRequest, name: str) -> HttpResponse:
    response = HttpResponse(f"hello {name}")
    response.set_cookie("name", Signer().sign(name), httponly=True, samesite="Strict")
    return response


urlpatterns = [path("login/<slug:name>", log_in)]

ws = WebSockets()


@ws.route("/greet")
def greet(connection: Connection) -> None:
    """Run in a thread of its own, so Django's blocking calls are fine here."""
    try:
        name = Signer().unsign(connection.request.cookies.get("name", ""))
    except BadSignature:
        connection.close(4401, "log in first")
        return
    for greeting in connection:
        connection.send(f"{name} said {greeting!r}")


application = ws.wsgi(WSGIHandler())
