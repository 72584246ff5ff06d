import os
import re
import shutil
import time
from pathlib import Path
from subprocess import CalledProcessError

import pytest

from tasks.kit.ext import Ext
from tasks.kit.exttimes import settle_times
from tasks.kit.fault import ConfigFault
from tests.trees import EPOCH, KINDS, mke2fs, plant, program

FILES: dict[str, bytes | str] = {f"/d{n % 5}/f{n}": b"%d" % n * n for n in range(200)}
FILES |= {"/d0/link": "f0", "/old": b"1970", "/before": b"1969", "/late": b"2037"}


def planted(root: Path, *, backwards: bool) -> Path:
    """The same tree, made in one order or the other, with one file older and some younger than the epoch."""
    tree = plant(root, dict(sorted(FILES.items(), reverse=backwards)))
    for path in tree.rglob("*"):
        os.utime(path, (time.time(), EPOCH + 86400.25), follow_symlinks=False)
    os.utime(tree / "old", (1, 1))
    os.utime(tree / "before", (-5, -5))
    os.utime(tree / "late", (1 << 30, (1 << 31) - 5))
    return tree


def times(image: Path, path: str) -> dict[str, int]:
    """Seconds, by debugfs; nanoseconds there must be none."""
    told = re.findall(
        r"(?m)^ *([acm]|cr)time: 0x([0-9a-f]+)(?::([0-9a-f]+))?",
        program("debugfs", "-R", f"stat {path}", image),
    )
    assert len(told) >= 3
    assert all(int(beyond or "0", 16) == 0 for _, _, beyond in told)
    return {name: int(seconds, 16) for name, seconds, _ in told}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Equal trees, made at other times, in another order, in other places."""
    first = planted(tmp_path_factory.mktemp("first"), backwards=False)
    time.sleep(1.1)  # so that the seconds of their change times differ
    return first, planted(tmp_path_factory.mktemp("second"), backwards=True)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_trees_give_equal_images(tmp_path, pair, kind):
    """Differing before, the images are the same bytes after, and e2fsck finds no fault; a second time changes nothing."""
    first, second = (mke2fs(tmp_path / f"{number}.img", tree, kind) for number, tree in enumerate(pair))
    assert first.read_bytes() != second.read_bytes()
    for image in (first, second, second):
        with Ext.open(image) as fs:
            assert settle_times(image, EPOCH) >= len({entry.inode for entry in fs.walk()})
        program("e2fsck", "-fn", image)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_every_time_is_the_epoch_and_older_contents_keep_theirs(tmp_path, kind):
    """As debugfs reads them, whose code is not ours."""
    image = mke2fs(tmp_path / "root.img", planted(tmp_path / "tree", backwards=False), kind)
    program("debugfs", "-w", "-R", "mknod console c 5 1", image)
    settle_times(image, EPOCH)
    for path, changed in {
        "/d0/f0": EPOCH, "/late": EPOCH, "/console": EPOCH, "/lost+found": EPOCH,
        "/": EPOCH, "/old": 1, "/before": (1 << 32) - 5,
    }.items():  # fmt: skip
        found = times(image, path)
        assert found.pop("m") == changed, path
        assert set(found.values()) == {EPOCH}, path
    program("e2fsck", "-fn", image)


def test_a_checksum_that_was_wrong_stays_wrong(tmp_path):
    """Settling hides no damage from e2fsck."""
    image = mke2fs(tmp_path / "root.img", plant(tmp_path / "tree", {"/a": b"1"}), size=8 << 20)
    with Ext.open(image) as fs:
        own, number = fs.volume.superblock, fs.lookup("/a").inode
        at = fs.volume.groups[0].inode_table * fs.block_size + (number - 1) * own.inode_size
    with image.open("r+b") as file:
        file.seek(at + 100)  # the generation, which nothing else looks at
        file.write(b"\1")
    settle_times(image, EPOCH)
    with pytest.raises(CalledProcessError) as raised:
        program("e2fsck", "-fn", image)
    assert f"Inode {number} passes checks, but checksum does not match" in raised.value.stdout.decode()


def test_only_what_is_used_is_written(tmp_path):
    """The holes of a sparse image stay, and with an offset nothing before it is touched."""
    image = mke2fs(tmp_path / "root.img", plant(tmp_path / "tree", {"/a": b"1"}), offset=1 << 20)
    shutil.copy(image, tmp_path / "before.img")
    blocks = image.stat().st_blocks
    settle_times(image, EPOCH, offset=1 << 20)
    assert image.stat().st_blocks <= blocks
    assert image.read_bytes()[: 1 << 20] == bytes(1 << 20)
    assert image.read_bytes() != (tmp_path / "before.img").read_bytes()
    program(
        "sh",
        "-c",
        f"tail -c +{(1 << 20) + 1} {image} > {tmp_path}/alone.img && e2fsck -fn {tmp_path}/alone.img",
    )


@pytest.mark.parametrize("epoch", [-1, 1 << 31])
def test_an_epoch_that_an_old_inode_cannot_say_is_refused(tmp_path, epoch):
    with pytest.raises(ConfigFault, match="is not between 1970 and 2038"):
        settle_times(tmp_path / "none.img", epoch)
