"""Other programs: started with what was said and nothing else, heard, and never left behind."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.kit.fault import HostFault, ToolFault
from tasks.kit.proc import Command, ask, interact, run
from tests.projects import ROOT


def test_a_failure_tells_purpose_command_and_last_words(tmp_path):
    """And where the whole output is."""
    log = tmp_path / "stage.log"
    script = "for i in $(seq 30); do echo line $i; done; exit 3"
    with pytest.raises(ToolFault) as caught:
        run(Command(("sh", "-c", script), "count to thirty"), log=log)
    assert caught.value.problem == "could not count to thirty: sh ended with 3"
    assert caught.value.evidence[-1] == "line 30"
    assert len(caught.value.evidence) == 20
    assert len(log.read_text().splitlines()) == 30
    assert str(log) in caught.value.hint


def test_a_full_disk_is_the_hosts_fault():
    """Whichever program met it first."""
    with pytest.raises(HostFault, match="could not copy: no space is left") as caught:
        run(Command(("cp", "/dev/zero", "/dev/full"), "copy"))
    assert "No space left on device" in caught.value.evidence[-1]
    assert caught.value.hint.startswith("make room")


def test_a_missing_program_is_the_hosts_fault():
    """With what it was for, and how to get it."""
    with pytest.raises(HostFault, match="no-such-tool is not installed; it is needed to see") as caught:
        ask(Command(("no-such-tool",), "see"))
    assert caught.value.hint == "doit host --install"


def test_the_environment_is_made_from_nothing(monkeypatch):
    """No credential of ours reaches a program that a package brought."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    said = ask(Command(("env",), "look", env={"SOURCE_DATE_EPOCH": "1"}))
    assert "hunter2" not in said
    assert {"SOURCE_DATE_EPOCH=1", "TZ=UTC", "LC_ALL=C.UTF-8", "HOME=/"} <= set(said.splitlines())


def test_standard_input_is_a_file_a_text_or_nothing(tmp_path):
    """Never the terminal."""
    (tmp_path / "in").write_text("from a file")
    assert ask(Command(("cat",), "read", stdin=tmp_path / "in")) == "from a file"
    assert ask(Command(("cat",), "read", stdin="text" * 50_000)) == "text" * 50_000
    assert ask(Command(("cat",), "read")) == ""


def test_a_program_that_does_not_answer_is_ended():
    """In the time that was given."""
    began = time.monotonic()
    with pytest.raises(ToolFault, match="gave no answer within 1 s"):
        ask(Command(("sleep", "60"), "wait"), timeout=1)
    assert time.monotonic() - began < 10


def test_a_signal_is_told_by_its_name():
    """137 says little at three in the morning."""
    with pytest.raises(ToolFault, match="was killed by SIGTERM"):
        run(Command(("sh", "-c", "kill -TERM $$"), "end"))


def test_no_child_outlives_us(tmp_path):
    """Killed without a chance to clean up, we leave no process."""
    seen = tmp_path / "pid"
    code = f"from tasks.kit.proc import *; run(Command(('sh', '-c', 'echo $$ > {seen}; exec sleep 77'), 'sleep'))"
    parent = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 20
    while not (seen.exists() and seen.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    child = Path(f"/proc/{int(seen.read_text())}")
    assert child.exists()
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 5
    while child.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not child.exists()


def test_an_interactive_program_has_our_terminal(tmp_path):
    """Its size, its name, what is typed on it; and its exit code is the answer."""
    code = (
        "from tasks.kit.proc import Command, interact\n"
        "said = 'test -t 0 && test -t 1 && read word && echo heard $word on $TERM; exit 7'\n"
        "raise SystemExit(interact(Command(('sh', '-c', said), 'talk')))"
    )
    mine, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "vt220"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, env=env
    )
    os.close(theirs)
    os.write(mine, b"hello\n")
    assert process.wait(timeout=20) == 7
    said = os.read(mine, 4096)
    os.close(mine)
    assert b"heard hello on vt220" in said


def test_an_interactive_program_that_is_killed_says_by_what():
    assert interact(Command(("sh", "-c", "kill -TERM $$"), "end")) == -signal.SIGTERM


def test_an_interactive_program_that_is_missing_is_the_hosts_fault():
    with pytest.raises(HostFault, match="no-such-tool is not installed"):
        interact(Command(("no-such-tool",), "talk"))
