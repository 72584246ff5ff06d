"""One run at a time, and the second is told who the first is."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tasks.kit.fault import HostFault
from tasks.kit.lock import alone, hold

HOLDER = """
import pathlib, sys, time
from tasks.kit.lock import hold
handle = hold(pathlib.Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_the_second_is_told_who_holds_it(tmp_path):
    """And takes it as soon as the first is gone, however it went."""
    lock = tmp_path / "build" / ".lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(
        HostFault, match=f"another run is at work: process {holder.pid}, since 20.* UTC: "
    ):
        hold(lock)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    time.sleep(0.05)
    os.close(hold(lock))


def test_one_at_a_time_in_a_folder(tmp_path):
    """Whoever comes second waits."""
    order = []

    def second() -> None:
        with alone(tmp_path):
            order.append("second")

    with alone(tmp_path):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.1)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
