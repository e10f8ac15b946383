"""A line to type in that stays whole while messages come, by prompt_toolkit.

That is an extra, `ws-middleware[cli]`: it draws the line anew below whatever is printed, which
takes an editor of its own, widths of characters and all that terminals do when they are resized.
Without it, lines are read as the terminal gives them.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from ws_middleware.cli.forms import Form, escape
from ws_middleware.cli.screen import Screen

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

__all__ = ["PromptScreen", "make_typing_screen"]


def make_typing_screen(form: Form) -> Screen:
    """Make the screen of somebody who types: with a prompt, where terminal and library allow."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return Screen(form)
    try:
        return PromptScreen(form)
    except ImportError:
        screen = Screen(form)
        screen.note("pip install 'ws-middleware[cli]' keeps what you type apart from what comes")
        return screen


class PromptScreen(Screen):
    """Write above the line that is being typed."""

    def __init__(self, form: Form) -> None:
        super().__init__(form)
        # Nothing here depends on where the cursor is, and not every terminal can tell.
        os.environ.setdefault("PROMPT_TOOLKIT_NO_CPR", "1")
        from prompt_toolkit import PromptSession

        self._session: PromptSession[str] = PromptSession()
        self._flushing: asyncio.Task[None] | None = None

    async def read_line(self) -> bytes | None:
        """Let a line be typed; None after Ctrl+C and Ctrl+D."""
        try:
            line = await self._session.prompt_async("> ", handle_sigint=False)
        except (EOFError, KeyboardInterrupt):
            return None
        return line.encode(errors="surrogateescape")

    def note(self, text: str) -> None:
        """Tell the user something, soon."""
        self._messages.append(f"{escape(text)}\n".encode(sys.stdout.encoding, "backslashreplace"))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self.flush())

    async def flush(self) -> None:
        """Make visible what was written, and draw the line below it."""
        from prompt_toolkit.application import in_terminal

        if self._messages:
            async with in_terminal():
                await super().flush()
