import os
import struct

import pytest

from tasks.kit import diskuse
from tasks.kit.fault import ImageFault
from tests import disks, trees
from tests.disks import ESP_AT, ROOT_AT, MiB
from tests.trees import KINDS, program

SIZE = 256 * MiB
ALL = ((0, SIZE),)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return trees.plant(tmp_path_factory.mktemp("tree"), {"/etc/name": b"x" * 9999, "/link": "etc"})


@pytest.fixture
def disk(tree, tmp_path):
    return disks.hybrid(tmp_path / "disk.img", tree, size=SIZE)


def blank(path, size=SIZE):
    with path.open("wb") as file:
        file.truncate(size)
    return path


def put(path, at, content):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def covered(use, at, length):
    """Whether every byte there is read."""
    end = at
    for begin, size in sorted(use.read):
        if begin <= end:
            end = max(end, begin + size)
    return end >= at + length


def test_a_hybrid_disk_is_read_by_three_maps(disk):
    """The table, the BIOS boot partition whole, and what the two file systems do not call free."""
    use = diskuse.use(disk)
    assert use.maps == ("gpt", f"fat32 at {ESP_AT}", f"ext4 at {ROOT_AT}")
    assert use.whole == ()
    assert covered(use, 0, 34 * 512)
    assert covered(use, MiB, MiB)
    assert covered(use, SIZE - 33 * 512, 33 * 512)
    assert not covered(use, 34 * 512, MiB - 34 * 512)
    assert sum(length for _, length in use.read) < SIZE // 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_lone_file_system_is_read_by_its_own_map(tree, tmp_path, kind):
    """The layout `none`, known by what it is."""
    use = diskuse.use(trees.mke2fs(tmp_path / "root.img", tree, kind, size=SIZE))
    assert use.maps == (f"{kind.split()[0]} at 0",)
    assert use.whole == ()
    assert covered(use, 0, 4096)


def test_a_lone_fat_is_read_by_its_own_map(tmp_path):
    """Its boot code is no partition table."""
    path = blank(tmp_path / "fat.img")
    program("mkfs.fat", "-F", "32", path)
    assert diskuse.use(path).maps == ("fat32 at 0",)


def test_what_lies_behind_a_file_system_counts_whole(tree, tmp_path):
    """RAID and dm-verity keep their own there."""
    path = trees.mke2fs(tmp_path / "root.img", tree, size=128 * MiB)
    os.truncate(path, SIZE)
    assert (128 * MiB, 128 * MiB) in diskuse.use(path).read


@pytest.mark.parametrize(
    ("program_", "why"),
    [
        (("mkswap",), "swap space shows"),
        (("mkfs.xfs", "-q", "-f"), "XFS shows"),
        (("mke2fs", "-q", "-F", "-O", "meta_bg,^resize_inode"), "meta_bg"),
        (("mke2fs", "-q", "-F", "-t", "ext4", "-O", "bigalloc"), "bigalloc"),
        (("mke2fs", "-q", "-F", "-O", "journal_dev"), "a journal device"),
        (("true",), "nothing that is known"),
    ],
)
def test_what_has_no_map_that_we_know_counts_whole(tmp_path, program_, why):
    """And is told."""
    path = blank(tmp_path / "disk.img", 320 * MiB)
    program(*program_, path)
    use = diskuse.use(path)
    assert (use.read, use.maps) == (((0, 320 * MiB),), ())
    assert why in use.whole[0]


def test_a_partition_that_is_not_known_counts_whole_beside_others(tree, tmp_path):
    """Swap behind a root: each by what is in it, whatever its type says."""
    root = (128 * MiB) // 512
    script = f"label: gpt\n1: start=2048, size={root}, type=L\n2: size={32 * 2048}, type=L\n"
    path = trees.mke2fs(tmp_path / "disk.img", tree, size=128 * MiB, offset=MiB)
    disks.partition(path, script, size=SIZE)
    swap = blank(tmp_path / "swap.img", 32 * MiB)
    program("mkswap", swap)
    put(path, 129 * MiB, swap.read_bytes()[:8192])
    use = diskuse.use(path)
    assert use.maps == ("gpt", f"ext4 at {MiB}")
    assert (129 * MiB, 32 * MiB) in use.read
    assert use.whole == ("partition 2: swap space shows in it",)


def test_a_bios_boot_partition_counts_whole_whatever_is_in_it(disk, tmp_path):
    """GRUB reads it by sectors; what was a file system there once is not asked."""
    old = blank(tmp_path / "old.img", MiB)
    program("mke2fs", "-q", "-F", old)
    put(disk, MiB, old.read_bytes())
    assert covered(diskuse.use(disk), MiB, MiB)


@pytest.mark.parametrize(
    ("at", "mark", "why"),
    [
        (0, b"LUKS\xba\xbe", "ext and an encrypted volume"),
        (0, b"XFSB", "ext and XFS"),
        (512, b"LABELONE", "ext and an LVM volume"),
        (3, b"NTFS    ", "ext and NTFS"),
    ],
)
def test_a_file_system_that_bears_anothers_mark_counts_whole(tree, tmp_path, at, mark, why):
    """The one is what was left of the other, and which is which nobody knows."""
    path = trees.mke2fs(tmp_path / "root.img", tree, size=SIZE)
    put(path, at, mark)
    use = diskuse.use(path)
    assert use.read == ALL
    assert why in use.whole[0]


def test_a_fat_under_an_ext_counts_whole(tmp_path, tree):
    """mkfs.fat over the boot block of an ext4 leaves both."""
    path = trees.mke2fs(tmp_path / "root.img", tree, size=SIZE)
    other = blank(tmp_path / "fat.img")
    program("mkfs.fat", "-F", "32", other)
    with other.open("rb") as file:
        put(path, 0, file.read(512))
    assert "ext and FAT" in diskuse.use(path).whole[0]


@pytest.mark.parametrize("state", [0, 2, 3])
def test_a_file_system_that_was_not_unmounted_well_counts_whole(tree, tmp_path, state):
    """Its map may be behind; e2fsck would mend it, by reading what it calls free."""
    path = trees.mke2fs(tmp_path / "root.img", tree, size=SIZE)
    put(path, 1024 + 58, struct.pack("<H", state))
    use = diskuse.use(path)
    assert (use.read, use.whole) == (ALL, ("the disk: it was not unmounted well",))


def test_a_journal_that_was_not_replayed_counts_whole(tree, tmp_path):
    """The map is what it will say after the replay, not what it says now."""
    path = trees.mke2fs(tmp_path / "root.img", tree, size=SIZE)
    program("debugfs", "-w", "-R", "feature needs_recovery", path)
    assert "a journal that was never replayed" in diskuse.use(path).whole[0]


def test_a_table_of_the_old_kind_counts_whole(tree, tmp_path):
    """What lies between its partitions may be a boot loader."""
    path = trees.mke2fs(tmp_path / "disk.img", tree, size=128 * MiB, offset=MiB)
    disks.partition(path, f"label: dos\nstart=2048, size={128 * 2048}, type=83\n", size=SIZE)
    use = diskuse.use(path)
    assert use.read == ALL
    assert "of the old kind" in use.whole[0]


def test_a_table_that_cannot_be_verified_counts_whole(disk):
    """One bit of it, and nothing it says is relied on."""
    put(disk, 1024 + 32, b"\1")
    use = diskuse.use(disk)
    assert use.read == ALL
    assert "checksum" in use.whole[0]


@pytest.mark.parametrize("size", [SIZE - 100 * MiB, SIZE + MiB])
def test_an_image_of_another_size_than_its_table_says_is_a_fault(disk, size):
    """The user learns which file, and what to do."""
    os.truncate(disk, size)
    with pytest.raises(ImageFault, match="that of a disk of") as caught:
        diskuse.use(disk)
    assert str(disk) in str(caught.value)
    assert "run doit again" in str(caught.value)


@pytest.mark.parametrize("what", ["ext", "fat"])
def test_a_file_system_larger_than_its_place_is_a_fault(tree, tmp_path, what):
    """The rest of it was lost."""
    path = trees.mke2fs(tmp_path / "disk.img", tree, size=SIZE)
    if what == "fat":
        program("mkfs.fat", "-F", "32", blank(path))
    os.truncate(path, SIZE - MiB)
    with pytest.raises(ImageFault, match=f"cut short: {SIZE} B of file system in {SIZE - MiB} B"):
        diskuse.use(path)


def test_a_file_system_that_contradicts_itself_is_a_fault(disk):
    """One bit of the block map of the root."""
    at = ROOT_AT + 4096
    with disk.open("rb") as file:
        file.seek(at)
        bitmap = int.from_bytes(file.read(4), "little") * 4096
    put(disk, ROOT_AT + bitmap + 1000, b"\1")
    with pytest.raises(ImageFault, match="its map that"):
        diskuse.use(disk)
