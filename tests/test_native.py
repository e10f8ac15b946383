"""What real threads have of the standard library where greenlets have replaced it."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from tests.running import PATIENCE, ROOT
from ws_middleware.native import share_logging

#: A greenlet and a real thread log as fast as they can; neither may stop the other.
BOTH_LOG = """
import logging, os, warnings
logging.basicConfig(stream=open(os.devnull, "w"), level=logging.INFO)
from ws_middleware.native import share_logging, start_thread

def log_on():
    while True:
        logging.info("from the thread")

share_logging()
start_thread(log_on)
for _ in range(2000):
    logging.info("from the greenlet")
    sleep(0)
os._exit(0)
"""
PATCHING = {
    "gevent": "from gevent import monkey, sleep\nmonkey.patch_all()\n",
    "eventlet": "from eventlet import monkey_patch, sleep\nmonkey_patch()\n",
}


@pytest.mark.parametrize("hub", PATCHING)
def test_threads_and_greenlets_log_at_once(hub: str) -> None:
    program = [sys.executable, "-W", "ignore", "-c", PATCHING[hub] + BOTH_LOG]
    subprocess.run(program, cwd=ROOT, check=True, timeout=PATIENCE)


def test_without_greenlets_the_locks_of_logging_stay() -> None:
    handler = logging.StreamHandler()
    logging.getLogger("tests.native").addHandler(handler)
    lock = handler.lock
    share_logging()
    assert handler.lock is lock
    logging.getLogger("tests.native").removeHandler(handler)
