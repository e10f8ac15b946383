"""A terminal with a program in it: what is typed goes in, what a person would see comes out."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator

import pyte

from tests.peer import PATIENCE
from tests.running import ROOT

__all__ = ["Terminal", "run_in_terminal"]


class Terminal:
    """Be a terminal of some columns and lines."""

    def __init__(self, command: list[str], environment: dict[str, str], columns: int = 160) -> None:
        self._screen = pyte.Screen(columns, 24)
        self._stream = pyte.ByteStream(self._screen)
        self._master, slave = pty.openpty()
        self._set_size(columns)
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", **environment},
        )
        os.close(slave)

    @property
    def lines(self) -> list[str]:
        """Give what is to be seen, without empty lines below."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip().split("\n")

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def resize(self, columns: int) -> None:
        """Make the terminal as wide as that."""
        self._screen.resize(columns=columns)
        self._set_size(columns)
        self.process.send_signal(signal.SIGWINCH)

    def until(self, *wanted: str) -> None:
        """Read until the last lines begin like these; a mere prompt has nothing behind it."""

        def seen() -> bool:
            last = self.lines[-len(wanted) :]
            return len(last) == len(wanted) and all(map(_begins, last, wanted))

        while not seen():
            more = self._read()
            assert more or seen(), f"{wanted} did not come:\n" + "\n".join(self.lines)

    def wait(self) -> int:
        """Read to the end of the program; returns its exit status."""
        while self._read():
            pass
        return self.process.wait(PATIENCE)

    def _read(self) -> bool:
        """Show what the program writes next; false at its end, and when it keeps silent."""
        ready, _, _ = select.select([self._master], [], [], PATIENCE)
        data = b""
        with contextlib.suppress(OSError):  # the program has ended
            data = os.read(self._master, 65536) if ready else b""
        self._stream.feed(data)
        return bool(data)

    def close(self) -> None:
        """Switch off."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _set_size(self, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


def _begins(line: str, wanted: str) -> bool:
    return line == wanted if wanted == ">" else line.startswith(wanted)


#: Runs the command in a session that the terminal controls, so that its keys send signals.
_IN_SESSION = """\
import fcntl, runpy, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
runpy.run_module("ws_middleware", run_name="__main__", alter_sys=True)
"""


@contextlib.contextmanager
def run_in_terminal(*arguments: str, **environment: str) -> Iterator[Terminal]:
    """Run `python -m ws_middleware connect` in a wide terminal for the time of the block."""
    terminal = Terminal([sys.executable, "-c", _IN_SESSION, "connect", *arguments], environment)
    try:
        yield terminal
    finally:
        terminal.close()
