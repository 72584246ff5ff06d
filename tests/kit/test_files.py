"""Files appear whole or not at all."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tasks.kit import files


def test_a_file_appears_when_the_block_ends_well(tmp_path):
    """Not before, and with nothing beside it."""
    target = tmp_path / "deep" / "target"
    with files.appearing(target) as scratch:
        scratch.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    """And no scratch."""
    target = tmp_path / "target"
    files.write(target, "old")
    with pytest.raises(KeyboardInterrupt):
        interrupted(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def interrupted(target: Path) -> None:
    with files.appearing(target) as scratch:
        scratch.write_text("half")
        raise KeyboardInterrupt


def test_a_secret_is_never_readable_by_others(tmp_path):
    """Not even while it is written."""
    with files.appearing(tmp_path / "pk.pem", mode=0o600) as scratch:
        assert scratch.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "pk.pem").stat().st_mode & 0o777 == 0o600


def test_what_a_killed_writer_left_is_replaced(tmp_path):
    """SIGKILL leaves a scratch; the next writer takes it away, and the target was never half."""
    target = tmp_path / "target"
    files.write(target, "old")
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(target)])
    scratch = files.scratch_of(target)
    deadline = time.monotonic() + 20
    while not (scratch.exists() and scratch.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert target.read_text() == "old"
    assert scratch.read_text() == "half"
    files.write(target, "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"]


KILLED = """
import pathlib, sys, time
from tasks.kit import files
with files.appearing(pathlib.Path(sys.argv[1])) as scratch:
    scratch.write_text("half")
    time.sleep(60)
"""


def test_extents_are_where_the_data_is(tmp_path):
    """A hole before, between and after."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        for at in (1 << 20, 3 << 20):
            file.seek(at)
            file.write(b"x" * 4096)
        file.truncate(5 << 20)
    handle = os.open(path, os.O_RDONLY)
    found = list(files.extents(handle, 5 << 20))
    os.close(handle)
    assert found == [(1 << 20, 4096), (3 << 20, 4096)]


def test_extents_are_of_the_content_not_of_the_file_system(tmp_path):
    """Zeros that were written, and a hole; they may cross a chunk, and the last block may be short."""
    content = b"".join(
        (
            bytes(4096),
            b"x" * 8192,
            bytes(files.CHUNK),
            b"y",
            bytes(9000),
            b"z" * (files.CHUNK + 1),
            b"\0" * 5000,
            b"!",
        )
    )
    written, sparse = tmp_path / "written", tmp_path / "sparse"
    written.write_bytes(content)
    subprocess.run(["cp", "--sparse=always", written, sparse], check=True)
    assert sparse.stat().st_blocks < written.stat().st_blocks
    told = []
    for path in (written, sparse):
        with path.open("rb") as file:
            told.append(list(files.extents(file.fileno(), len(content))))
    assert told[0] == told[1]
    rest = bytearray(content)
    for at, length in told[0]:
        assert at % 4096 == 0
        rest[at : at + length] = bytes(length)
    assert rest == bytes(len(content))
    assert sum(length for _, length in told[0]) < len(content) - files.CHUNK


def test_equal_values_have_equal_digests():
    """Whatever the order of their keys."""
    assert files.digest({"a": 1, "b": [2]}) == files.digest({"b": [2], "a": 1})
    assert files.digest({"a": 1}) != files.digest({"a": "1"})


@pytest.fixture
def two(tmp_path):
    """A new folder and an old one, each with a file that says which it is."""
    pair = tmp_path / "new", tmp_path / "old"
    for each in pair:
        each.mkdir()
        (each / "which").write_text(each.name)
    return pair


@pytest.mark.parametrize("able", [True, False])
def test_folders_are_exchanged(two, able, monkeypatch):
    """Also where the file system cannot do it at one instant."""
    if not able:
        monkeypatch.setattr(files, "_exchanged", lambda *_: False)
    new, old = two
    files.exchange(new, old)
    assert (old / "which").read_text() == "new"
    assert (new / "which").read_text() == "old"
    assert sorted(new.parent.iterdir()) == [new, old]


def test_a_folder_takes_a_place_where_there_is_none(two):
    """With the folders above it."""
    new, old = two
    files.exchange(new, old / "deep" / "place")
    assert (old / "deep/place/which").read_text() == "new"
    assert not new.exists()


def test_a_folder_goes_to_another_file_system(two, tmp_path):
    """As a copy, with its times."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system here")
    new, old = two
    files.mark(new / "which", 1_700_000_000, "00000001")
    with tempfile.TemporaryDirectory(dir=memory) as place:
        shutil.copytree(old, Path(place) / "old")
        files.exchange(new, Path(place) / "old")
        there = Path(place) / "old/which"
        assert there.read_text() == "new"
        assert there.stat().st_mtime_ns == files.time_of(1_700_000_000, "00000001") == 17 * 10**17 + 1
