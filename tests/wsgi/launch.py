"""The servers that have no command of their own: `python -m tests.wsgi.launch waitress flask`.

All listen on a free port of the loopback. A certificate and its key may follow.
"""

from __future__ import annotations

import contextlib
import socketserver
import sys
from collections.abc import Callable
from wsgiref.simple_server import WSGIServer, make_server

from tests.wsgi import apps
from ws_middleware.wsgi.types import WSGIApp

HOST = "127.0.0.1"

#: The files of a certificate and its key, where the server ends TLS.
Files = tuple[str, str] | None


def werkzeug(app: WSGIApp, files: Files, *, threaded: bool = True) -> None:
    from werkzeug.serving import run_simple

    run_simple(HOST, 0, app, threaded=threaded, ssl_context=files)


def werkzeug_single(app: WSGIApp, files: Files) -> None:
    werkzeug(app, files, threaded=False)


def flask_debugger(app: WSGIApp, files: Files) -> None:
    from werkzeug.serving import run_simple

    run_simple(HOST, 0, app, threaded=True, use_debugger=True, use_evalex=False)


class ThreadingServer(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


def wsgiref(app: WSGIApp, files: Files, *, kind: type[WSGIServer] = WSGIServer) -> None:
    make_server(HOST, 0, app, kind).serve_forever()


def wsgiref_threads(app: WSGIApp, files: Files) -> None:
    wsgiref(app, files, kind=ThreadingServer)


def pywsgi(app: WSGIApp, files: Files) -> None:
    import gevent
    import gevent.pywsgi

    apps.together = lambda works: gevent.joinall([gevent.spawn(work) for work in works])
    settings = {"certfile": files[0], "keyfile": files[1]} if files else {}
    gevent.pywsgi.WSGIServer((HOST, 0), app, **settings).serve_forever()


def eventlet(app: WSGIApp, files: Files) -> None:
    import eventlet
    import eventlet.wsgi

    def together(works: object) -> None:
        threads = [eventlet.spawn(work) for work in works]  # type: ignore[attr-defined]
        for thread in threads:
            thread.wait()

    apps.together = together
    listener = eventlet.listen((HOST, 0))
    if files:
        listener = eventlet.wrap_ssl(
            listener, certfile=files[0], keyfile=files[1], server_side=True
        )
    eventlet.wsgi.server(listener, app)


def waitress(app: WSGIApp, files: Files) -> None:
    import waitress

    waitress.serve(app, host=HOST, port=0, threads=2)


def cheroot(app: WSGIApp, files: Files) -> None:
    from cheroot.ssl.builtin import BuiltinSSLAdapter
    from cheroot.wsgi import Server

    server = Server((HOST, 0), app, numthreads=2, max=2)
    if files:
        server.ssl_adapter = BuiltinSSLAdapter(*files)
    server.safe_start()


def paste(app: WSGIApp, files: Files) -> None:
    from paste.httpserver import serve

    serve(app, host=HOST, port="0", protocol_version="HTTP/1.1")


def twisted(app: WSGIApp, files: Files) -> None:
    from twisted.internet import reactor
    from twisted.python.log import startLogging
    from twisted.web.server import Site
    from twisted.web.wsgi import WSGIResource

    startLogging(sys.stdout, setStdout=False)
    site = Site(WSGIResource(reactor, reactor.getThreadPool(), app))
    if files:
        from twisted.internet.ssl import DefaultOpenSSLContextFactory

        context = DefaultOpenSSLContextFactory(files[1], files[0])
        reactor.listenSSL(0, site, context, interface=HOST)
    else:
        reactor.listenTCP(0, site, interface=HOST)
    reactor.run()


def django(app: WSGIApp, files: Files) -> None:
    from django.core.management import execute_from_command_line

    from tests.wsgi import django_project

    django_project.application = app
    execute_from_command_line(["manage.py", "runserver", "--noreload", f"{HOST}:0"])


LAUNCHERS: dict[str, Callable[[WSGIApp, Files], None]] = {
    "werkzeug": werkzeug,
    "werkzeug-single": werkzeug_single,
    "flask-debugger": flask_debugger,
    "wsgiref": wsgiref,
    "wsgiref-threads": wsgiref_threads,
    "pywsgi": pywsgi,
    "eventlet": eventlet,
    "waitress": waitress,
    "cheroot": cheroot,
    "paste": paste,
    "django": django,
    "twisted": twisted,
}


def main() -> None:
    name, framework, *files = sys.argv[1:]
    with contextlib.suppress(KeyboardInterrupt):
        LAUNCHERS[name](apps.make(framework), (files[0], files[1]) if files else None)


if __name__ == "__main__":
    main()
