"""The command line: `python -m ws_middleware`."""

from __future__ import annotations

from collections.abc import Sequence

from ws_middleware.cli.serve import serve_command

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return serve_command(arguments)
