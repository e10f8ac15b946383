"""A Django project in one file."""

from __future__ import annotations

from django import conf
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from ws_middleware.wsgi.types import WSGIApp

__all__ = ["make_app"]


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("plain page")


def posted(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body[::-1])


urlpatterns = [path("plain", plain), path("posted", posted)]


#: What `runserver` serves, see `WSGI_APPLICATION`; the launcher puts it here.
application: WSGIApp | None = None


def make_app() -> WSGIApp:
    conf.settings.configure(
        ALLOWED_HOSTS=["*"],
        LOGGING_CONFIG=None,
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],  # for Content-Length
        ROOT_URLCONF=__name__,
        SECRET_KEY="of no use",
        WSGI_APPLICATION=f"{__name__}.application",
    )
    app: WSGIApp = get_wsgi_application()
    return app
