"""What the commands' options have in common: how values are read, how wrong usage is told."""

from __future__ import annotations

import argparse
import math
from typing import NoReturn

__all__ = ["Parser", "path", "ping_interval", "positive_size", "seconds"]


class Parser(argparse.ArgumentParser):
    """Tell of wrong usage in one line."""

    def error(self, message: str) -> NoReturn:
        """Leave with status 2."""
        self.exit(2, f"error: {message} (--help lists the options)\n")


def positive_size(text: str) -> int:
    """Read a number of bytes."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of bytes")
    return value


def seconds(text: str) -> float:
    """Read a duration; `inf` is for ever."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def ping_interval(text: str) -> float | None:
    """Read the interval of pings; None for 0, which is without."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds; 0 sends no pings")
    return value or None


def path(text: str) -> str:
    """Read a path, which is not empty."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return text
