"""The file system's commands: everything that would vary is said."""

import uuid
from pathlib import Path

import pytest

from tasks.plan import disk
from tasks.spec.model import Disk

IDS = (uuid.UUID(int=1), uuid.UUID(int=2))


def wanted_disk(size: str, **more: str) -> Disk:
    return Disk.model_validate({"size": size, **more})


@pytest.mark.parametrize("filesystem", ["ext3", "ext4"])
def test_nothing_is_left_to_the_host_or_to_chance(filesystem):
    """Identifiers, times and features are ours."""
    wanted = wanted_disk("64 MiB", filesystem=filesystem, layout="none")
    command = disk.mke2fs(wanted, Path("/t"), Path("/i"), ids=IDS, epoch=9, profile=Path("/p"))
    assert command.argv[-4:] == ("-d", "/t", "/i", "65536k")
    assert command.argv[command.argv.index("-U") + 1] == str(IDS[0])
    extended = command.argv[command.argv.index("-E") + 1]
    assert f"hash_seed={IDS[1]}" in extended
    assert "offset" not in extended
    assert command.env == {"E2FSPROGS_FAKE_TIME": "9", "MKE2FS_CONFIG": "/p"}


def test_on_a_hybrid_disk_every_tool_is_told_where_the_root_is():
    """Between the partitions that start it and the table's copy."""
    wanted = wanted_disk("1 GiB")
    command = disk.mke2fs(wanted, Path("/t"), Path("/i"), ids=IDS, epoch=9, profile=Path("/p"))
    assert command.argv[command.argv.index("-E") + 1].endswith(",offset=67108864")
    assert command.argv[-1] == f"{(1024 - 64 - 1) << 10}k"
    assert disk.mknods(wanted, ["null"], Path("/i"), epoch=9).argv[-1] == "/i?offset=67108864"
    assert disk.check(wanted, Path("/i"), epoch=9).argv[-1] == "/i?offset=67108864"
    bare = wanted_disk("1 GiB", layout="none")
    assert disk.check(bare, Path("/i"), epoch=9).argv[-1] == "/i"


def test_device_nodes_are_those_of_the_kernel():
    """Numbers from its own table, written in one order."""
    command = disk.mknods(wanted_disk("1 GiB", layout="none"), ("zero", "console"), Path("/i"), epoch=9)
    assert command.stdin == (
        "cd /dev\nmknod console c 5 1\nsif console mode 020600\nmknod zero c 1 5\nsif zero mode 020666\n"
    )


@pytest.mark.parametrize(
    ("used", "lack", "write"), [(300, 44, "315 MiB"), (257, 1, "270 MiB"), (256, 1, "269 MiB")]
)
def test_a_disk_that_is_too_small_says_by_how_much(used, lack, write):
    """And what to write instead."""
    said = disk.too_small(wanted_disk("256 MiB", layout="none"), used << 20)
    assert (
        f"takes {used} MiB, the disk has room for 256: {lack} MiB too small; write disk.size: {write} or more"
        in said
    )


@pytest.mark.parametrize(
    ("used", "lack", "write"), [(960, 1, "2 GiB"), (1800, 841, "2 GiB"), (1900, 941, "3 GiB")]
)
def test_a_hybrid_disk_that_is_too_small_grows_by_whole_gib(used, lack, write):
    """As volumes of EBS do; what starts it takes its part."""
    said = disk.too_small(wanted_disk("1 GiB"), used << 20)
    assert (
        f"takes {used} MiB, the disk has room for 959: {lack} MiB too small; write disk.size: {write} or more"
        in said
    )
