"""Apache with mod_wsgi, as Debian has it: its configuration, and the command that runs it."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.docs.pages import blocks_of
from tests.running import ROOT, free_port

__all__ = ["EVENT", "MODULES", "OPENED", "PASSED_ON", "PATH", "PREFORK", "WORKER", "command"]

PROGRAM = "/usr/sbin/apache2"
MODULES = "/usr/lib/apache2/modules"
#: Where Apache's Python finds the package, its tests and what they need.
PATH = f"{ROOT}:{sysconfig.get_path('purelib')}"

CONFIGURATION = """\
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/pid
ServerName localhost
Listen 127.0.0.1:{port}
ErrorLog /dev/stderr
{lines}
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule reqtimeout_module {modules}/mod_reqtimeout.so
LoadModule wsgi_module {modules}/mod_wsgi.so
LogFormat "\\"%r\\" %>s" short
CustomLog /dev/stdout short
StartServers 1
# Bodies of unknown length come as far as to the app.
WSGIChunkedRequest On
WSGIPythonHome /usr
WSGIPythonPath {path}
WSGIScriptAlias / {folder}/app.wsgi
"""
#: One process: with ten threads, since the event module drops idle connections where all are
#: busy, and with one.
EVENT = (
    f"LoadModule mpm_event_module {MODULES}/mod_mpm_event.so",
    *("ServerLimit 1", "ThreadsPerChild 10", "MaxRequestWorkers 10", "MinSpareThreads 1"),
)
WORKER = (EVENT[0].replace("event", "worker"), *EVENT[1:])
PREFORK = (f"LoadModule mpm_prefork_module {MODULES}/mod_mpm_prefork.so", "MaxRequestWorkers 1")
#: What the documentation says that our sockets need, and what it says of passing them on.
OPENED, PASSED_ON = (
    block.text.splitlines() for block in blocks_of(ROOT / "docs/howto/mod_wsgi.md", "apache")
)
#: Apache does not run as root, but what tests write is only to be read by root.
AS_SOMEBODY = (
    *("setpriv", "--reuid", "www-data", "--regid", "www-data", "--clear-groups"),
    *("--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"),
)


def command(folder: Path, app: str, lines: Iterable[str]) -> list[str]:
    """Write a configuration with further lines, and a script with an app; give what runs them."""
    if not Path(MODULES, "mod_wsgi.so").exists():
        assert os.environ.get("CI") != "true", "mod_wsgi is not installed"
        pytest.skip("mod_wsgi is not installed")
    settings = {"lines": "\n".join(lines), "modules": MODULES, "path": PATH}
    configuration = folder / "apache.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, port=free_port(), **settings))
    (folder / "app.wsgi").write_text(f"from tests.wsgi.apps import *\n\napplication = {app}\n")
    prefix = AS_SOMEBODY if os.geteuid() == 0 else ()
    # Its signals are for a whole process group, which has to be its own.
    return ["setsid", *prefix, PROGRAM, "-f", str(configuration), "-D", "FOREGROUND"]
