"""The command line: `python -m ws_middleware` serves, with `connect` before all else it talks."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ws_middleware.cli.connect import connect_command
from ws_middleware.cli.serve import serve_command

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["connect"]:
        return connect_command(arguments[1:])
    return serve_command(arguments)
