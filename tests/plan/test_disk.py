"""The file system's commands: everything that would vary is said."""

import uuid
from pathlib import Path

import pytest

from tasks.plan import disk
from tasks.spec.model import Disk

IDS = (uuid.UUID(int=1), uuid.UUID(int=2))


@pytest.mark.parametrize("filesystem", ["ext3", "ext4"])
def test_nothing_is_left_to_the_host_or_to_chance(filesystem):
    """Identifiers, times and features are ours."""
    wanted = Disk.model_validate({"size": "64 MiB", "filesystem": filesystem})
    command = disk.mke2fs(wanted, Path("/t"), Path("/i"), ids=IDS, epoch=9, profile=Path("/p"))
    assert command.argv[-4:] == ("-d", "/t", "/i", "65536k")
    assert command.argv[command.argv.index("-U") + 1] == str(IDS[0])
    assert f"hash_seed={IDS[1]}" in command.argv[command.argv.index("-E") + 1]
    assert command.env == {"E2FSPROGS_FAKE_TIME": "9", "MKE2FS_CONFIG": "/p"}


def test_device_nodes_are_those_of_the_kernel():
    """Numbers from its own table, written in one order."""
    command = disk.mknods(("zero", "console"), Path("/i"), epoch=9)
    assert command.stdin == (
        "cd /dev\nmknod console c 5 1\nsif console mode 020600\nmknod zero c 1 5\nsif zero mode 020666\n"
    )


@pytest.mark.parametrize(
    ("used", "lack", "write"), [(300, 44, "315 MiB"), (257, 1, "270 MiB"), (256, 1, "269 MiB")]
)
def test_a_disk_that_is_too_small_says_by_how_much(used, lack, write):
    """And what to write instead."""
    said = disk.too_small(Disk.model_validate({"size": "256 MiB"}), used << 20)
    assert (
        f"takes {used} MiB, the disk has 256: {lack} MiB too small; write disk.size: {write} or more"
        in said
    )
