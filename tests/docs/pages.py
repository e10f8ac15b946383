"""Read the documentation's pages: their fenced blocks, their links.

A block's HTML comment in the line before it says how it is to be taken: `example: name` is a
piece of that example, `not executed: reason` is compiled only. Blocks of one page that are
Python are executed from top to bottom in one namespace, as a reader would.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.running import ROOT

__all__ = ["PAGES", "Block", "blocks_of", "execute", "name_of", "read", "slugs_of"]

#: Every page for users.
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r"^( *)```(\w*)\s*$")
_NOTE = re.compile(r"^ *<!-- (.*) -->\s*$")


@dataclass(frozen=True)
class Block:
    """Hold a fenced block: where it begins, what it says, and the note in front of it."""

    page: Path
    line: int
    language: str
    text: str
    note: str = ""

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"

    @property
    def file_name(self) -> str | None:
        """Give the name of the file that the block is, from its first line."""
        match = re.match(r"(?:#|<!--) ([a-z_]+\.(?:py|html|conf))\b", self.text)
        return match[1] if match else None

    @property
    def commands(self) -> list[str]:
        """Give the commands of a shell block; a backslash continues a line."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [part for line in lines for part in line.split(" && ") if line.strip()]


def name_of(page: Path) -> str:
    """Name a page as tests do."""
    return str(page.relative_to(ROOT))


def read(page: Path) -> str:
    """Read a page."""
    return page.read_text(encoding="utf-8")


def blocks_of(page: Path, *languages: str) -> list[Block]:
    """List the fenced blocks of a page in these languages, of all without any."""
    return [block for block in _blocks(page) if not languages or block.language in languages]


def _blocks(page: Path) -> Iterator[Block]:
    lines = read(page).splitlines()
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if not fence:
            number += 1
            continue
        note = _NOTE.match(lines[number - 1]) if number else None
        begin = number + 1
        number = begin
        while lines[number].strip() != "```":
            number += 1
        indent = len(fence[1])
        text = "\n".join(line[indent:] for line in lines[begin:number]) + "\n"
        yield Block(page, begin + 1, fence[2], text, note[1] if note else "")
        number += 1


def slugs_of(page: Path) -> set[str]:
    """Give the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def execute(page: Path) -> dict[str, Any]:
    """Execute the Python blocks of a page; gives what they defined."""
    namespace: dict[str, Any] = {"__name__": "page"}

    with _unchanged_log_level():
        for block in blocks_of(page, "python"):
            if block.note.startswith("example: "):
                continue  # executed where it stands
            code = _compile(block)
            if not block.note.startswith("not executed: "):
                exec(code, namespace)
    return namespace


@contextlib.contextmanager
def _unchanged_log_level() -> Iterator[None]:
    logger = logging.getLogger("ws_middleware")
    level = logger.level
    try:
        yield
    finally:
        logger.setLevel(level)


def _compile(block: Block) -> Any:
    source = "\n" * (block.line - 1) + block.text  # tracebacks name the line of the page
    return compile(source, str(block.page), "exec", dont_inherit=True)
