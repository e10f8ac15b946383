"""The command, with settings that it has no options for: `loop=asyncio grace=1 -- arguments`."""

from __future__ import annotations

import sys

import pytest

from ws_middleware import server
from ws_middleware.cli.serve import serve_command

_NAMES = {"loop": "loop", "grace": "timeout_graceful_shutdown"}

#: Runs the tests of a module on servers with both event loops.
both_loops = pytest.mark.parametrize(
    "server",
    [("loop=asyncio", "grace=2"), ("loop=uvloop", "grace=2")],
    ids=["asyncio", "uvloop"],
    indirect=True,
)


def main() -> int:
    end = sys.argv.index("--")
    for setting in sys.argv[1:end]:
        name, _, value = setting.partition("=")
        server._SETTINGS[_NAMES[name]] = int(value) if value.isdigit() else value
    return serve_command(sys.argv[end + 1 :])


if __name__ == "__main__":
    sys.exit(main())
