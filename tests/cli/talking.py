"""Run the command as a user does, and talk to what it serves."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from tests.peer import CLOSE, PATIENCE, Peer
from tests.running import ROOT, RunningServer

__all__ = ["GOODBYE", "UnixPeer", "get", "run", "say_goodbye"]

GOODBYE = (1001, "the server is shutting down")


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "ws_middleware", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )


def get(server: RunningServer, path: str) -> tuple[int, bytes]:
    """Make a plain HTTP request; returns status and body."""
    with Peer(server.port) as peer:
        peer.send(f"GET {path} HTTP/1.1\r\nHost: {peer.host}\r\n\r\n".encode())
        reply = peer.reply()
        return reply.status, peer.body(reply)


def say_goodbye(peer: Peer) -> None:
    """Check that the server closes because it stops, and answer."""
    assert peer.read_close() == GOODBYE
    peer.send_frame(CLOSE, b"\x03\xe9")
    peer.read_end()


class UnixPeer(Peer):
    """Be a connection to a server on a Unix socket."""

    def __init__(self, path: Path) -> None:
        self.key = "dGhlIHNhbXBsZSBub25jZQ=="
        self.host = "localhost"
        self.port = 0
        self.buffer = b""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
