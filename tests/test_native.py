"""What real threads have of the standard library where greenlets have replaced it."""

from __future__ import annotations

import logging
import queue
import signal
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.running import PATIENCE, ROOT
from ws_middleware import native, pool
from ws_middleware.native import share_logging
from ws_middleware.waiting import ThreadWaiting

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


ENDING = {signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH}


STARTERS: list[Callable[[Callable[[], None]], object]] = [
    native.start_thread,
    pool.start_thread,
    lambda work: pool.Pool(1).submit(work),
    lambda work: ThreadWaiting().spawn(work, "spawned"),
]


@pytest.mark.parametrize("start", STARTERS)
@pytest.mark.parametrize(("module", "blocked"), [("prefork", ENDING), ("event", set())])
def test_signals_that_end_an_apache_stay_out_of_our_threads(
    start: Callable[[Callable[[], None]], object],
    module: str,
    blocked: set[signal.Signals],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "apache", SimpleNamespace(mpm_name=module))
    seen: queue.SimpleQueue[set[Any]] = queue.SimpleQueue()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    start(lambda: seen.put(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
    assert seen.get(timeout=PATIENCE) == former | blocked
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == former
