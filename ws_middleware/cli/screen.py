"""Where messages and notes go: messages to the standard output, notes to the standard error.

Rule: people get messages in a form that cannot harm their terminal, programs get the message.
"""

from __future__ import annotations

import os
import sys

from ws_middleware.cli.forms import Form, escape
from ws_middleware.core.messages import Data

__all__ = ["ReaderGoneError", "Screen"]


class ReaderGoneError(Exception):
    """Tell that nobody reads the standard output any more."""


class Screen:
    """Write what came, as `form` says; what is written becomes visible with `flush`."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self._is_terminal = sys.stdout.isatty()
        self._messages: list[bytes] = []
        self._notes: list[str] = []

    def message(self, message: Data) -> None:
        """Write a message."""
        if self._is_terminal:
            line = f"{self.form.show(message)}\n"
            self._messages.append(line.encode(sys.stdout.encoding, "backslashreplace"))
        else:
            self._messages.append(self.form.write(message))

    def note(self, text: str) -> None:
        """Tell the user something, now."""
        sys.stderr.write(f"{escape(text)}\n")  # in one piece, whoever else writes
        sys.stderr.flush()

    async def flush(self) -> None:
        """Make visible what was written; `ReaderGoneError` where nobody is there to see it."""
        messages, self._messages = self._messages, []
        try:
            for message in messages:
                sys.stdout.buffer.write(message)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            _discard_output()
            raise ReaderGoneError from None


def _discard_output() -> None:
    """Lead the standard output nowhere: Python itself flushes once more when it ends."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
