"""What is done in the sandbox stays there, and ends with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tasks.kit.proc import Command
from tasks.kit.sandbox import lent, mount_memory, mount_point, sandbox


def test_a_mount_is_seen_inside_only(tmp_path):
    """And all commands of one sandbox see the same."""
    with mount_point(tmp_path / "tree") as tree, sandbox() as box:
        mount_memory(box, tree)
        box.run(Command(("sh", "-c", f"echo inside > {tree}/file; chown 1:2 {tree}/file"), "write"))
        assert box.ask(Command(("stat", "-c", "%u:%g", f"{tree}/file"), "look")) == "1:2\n"
        assert list(tree.iterdir()) == []
        assert str(tree) not in Path("/proc/self/mounts").read_text()
    assert not tree.exists()


def test_it_is_root_alone_with_its_processes_and_without_a_network():
    """Nothing of ours is in its process list; only a loopback is in its network."""
    with sandbox() as box:
        assert box.ask(Command(("id", "-u"), "ask who")) == "0\n"
        processes = box.ask(Command(("sh", "-c", "ls -d /proc/[0-9]*"), "list processes")).split()
        assert len(processes) < 5
        assert box.ask(
            Command(("sh", "-c", "cat /proc/net/dev | tail -n +3 | cut -d: -f1"), "list networks")
        ).split() == ["lo"]


def test_the_network_is_there_when_asked_for():
    """A package manager needs it."""
    ours = sorted(path.name for path in Path("/sys/class/net").iterdir())
    with sandbox(network=True) as box:
        seen = box.ask(
            Command(("sh", "-c", "cat /proc/net/dev | tail -n +3 | cut -d: -f1"), "list networks")
        ).split()
    assert sorted(seen) == [name for name in ours if name != "bonding_masters"]


def test_what_a_program_left_running_keeps_nothing_busy(tmp_path):
    """An agent, a daemon: it ends, and the folder that it sat in comes back as it is."""
    (tmp_path / "cache").mkdir()
    running = Command(("sh", "-c", "cat /proc/[0-9]*/cmdline"), "list processes")
    with mount_point(tmp_path / "tree") as tree, sandbox() as box:
        mount_memory(box, tree)
        with lent(box, tmp_path / "cache", tree / "var/cache"):
            left = f"cd {tree}/var/cache && touch kept && (setsid sleep 1000 > /dev/null 2>&1 &)"
            box.run(Command(("sh", "-c", left), "leave something running"))
            assert "sleep" in box.ask(running)
        assert "sleep" not in box.ask(running)
        assert box.ask(Command(("ls", f"{tree}/var/cache"), "look")) == ""
    assert [each.name for each in (tmp_path / "cache").iterdir()] == ["kept"]


KILLED = """
import sys
from pathlib import Path
from tasks.kit.proc import Command
from tasks.kit.sandbox import *
with mount_point(Path(sys.argv[1])) as tree, sandbox() as box:
    mount_memory(box, tree)
    box.run(Command(("sh", "-c", "(sleep 1077 &) ; echo ready > " + sys.argv[2] + "; exec sleep 1078"), "sleep"))
"""


def test_killing_us_takes_everything_down(tmp_path):
    """Its processes, even one that was orphaned inside, and its mounts."""
    ready = tmp_path / "ready"
    us = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "tree"), str(ready)])
    deadline = time.monotonic() + 20
    while not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(sleepers()) == 2
    os.kill(us.pid, signal.SIGKILL)
    us.wait()
    deadline = time.monotonic() + 5
    while sleepers() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sleepers() == []
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    (tmp_path / "tree").rmdir()  # empty, and nothing is mounted on it


def sleepers() -> list[bytes]:
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(each.read_bytes())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return [line for line in found if line in (b"sleep\x001077\x00", b"sleep\x001078\x00")]
