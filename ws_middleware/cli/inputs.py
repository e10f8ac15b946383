"""What is sent: lines or bytes of a descriptor, read in a thread, a block at a time.

Rule: the next block is read once the last one was sent, so a fast writer waits for a slow peer.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import BinaryIO

from ws_middleware.cli.forms import Form
from ws_middleware.core.messages import Data
from ws_middleware.pool import call_in, start_thread

__all__ = ["InputError", "read_blocks", "read_file", "read_lines", "read_messages"]

#: How much is read at once, and sent as one fragment, in bytes.
BLOCK = 65_536


class InputError(Exception):
    """Tell why something cannot be sent."""


async def read_blocks(descriptor: int) -> AsyncIterator[bytes]:
    """Read to the end."""
    while True:
        try:
            # Not through a file object: its lock would be held for as long as nothing comes.
            block = await call_in(start_thread, lambda: os.read(descriptor, BLOCK))
        except OSError as error:
            raise InputError(f"cannot read the input: {error.strerror}") from None
        if not block:
            return
        yield block


async def read_lines(descriptor: int, max_size: int) -> AsyncIterator[bytes]:
    """Read lines, without what ends them; the last one may have no end."""
    parts: list[bytes] = []
    size = count = 0
    async for block in read_blocks(descriptor):
        first, *others = block.split(b"\n")
        parts.append(first)
        size += len(first)
        for other in others:
            count += 1
            yield b"".join(parts).removesuffix(b"\r")
            parts, size = [other], len(other)
        if size > max_size:
            raise InputError(
                f"line {count + 1} has more than --max-size={max_size} bytes; "
                "--binary sends the input as one message of any size"
            )
    if size:
        yield b"".join(parts)


async def read_messages(descriptor: int, form: Form, max_size: int) -> AsyncIterator[Data]:
    """Read one message from each line."""
    number = 0
    async for line in read_lines(descriptor, max_size):
        number += 1
        try:
            message = form.read(line)
        except ValueError as error:
            raise InputError(f"line {number}: {error}") from None
        yield message


async def read_file(file: BinaryIO) -> AsyncIterator[bytes]:
    """Read a file block by block, and close it; one that is empty gives an empty block."""
    with file:
        block = file.read(BLOCK)
        yield block
        while block := file.read(BLOCK):
            yield block
