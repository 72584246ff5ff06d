import random
import re

import pytest

from tasks.kit import extused
from tasks.kit.extlayout import superblock, volume
from tasks.kit.fault import ImageFault
from tests import trees
from tests.trees import KINDS, program

WAYS = {
    "ext2": ("-t", "ext2"),
    "ext2 of 1 KiB": ("-t", "ext2", "-b", "1024"),
    "ext2, old": ("-t", "ext2", "-r", "0", "-b", "1024", "-O", "none"),
    "ext3": ("-t", "ext3"),
    "ext3 of 1 KiB": ("-t", "ext3", "-b", "1024"),
    "ext3 of 2 KiB": ("-t", "ext3", "-b", "2048"),
    "ext4": ("-t", "ext4", "-O", "metadata_csum,64bit"),
    "ext4 of 1 KiB": ("-t", "ext4", "-b", "1024", "-O", "metadata_csum,64bit"),
    "ext4 with uninit_bg": ("-t", "ext4", "-O", "^metadata_csum,^64bit,uninit_bg"),
    "ext4 with uninit_bg of 1 KiB": ("-t", "ext4", "-b", "1024", "-O", "^metadata_csum,uninit_bg"),
    "ext4 without flex_bg": ("-t", "ext4", "-O", "^flex_bg", "-b", "1024"),
    "ext4 without any checksum": ("-t", "ext4", "-O", "^metadata_csum,^uninit_bg,^64bit"),
    "ext4 with two backups": ("-t", "ext4", "-b", "1024", "-O", "sparse_super2,^resize_inode"),
    "ext4 with all backups": ("-t", "ext4", "-b", "1024", "-O", "^sparse_super,^resize_inode"),
    "ext4, to grow": ("-t", "ext4", "-b", "1024", "-E", "resize=4000000"),
    "ext4 of odd size": ("-t", "ext4", "-b", "1024", "-g", "4096"),
}
SIZES = {"96 MiB": 96 << 20, "odd": (130 << 20) + (3 << 10)}


@pytest.fixture(params=WAYS)
def way(request):
    return WAYS[request.param]


def made(path, way, size, *more):
    with path.open("wb") as file:
        file.truncate(size)
    program("mke2fs", "-q", "-F", *way, *more, path, f"{size >> 10}k")
    return path


def used(path, offset=0):
    with volume(path, offset) as fs:
        return list(extused.used(fs))


def blocks(path):
    """Numbers of the blocks in use, as ours tells."""
    with volume(path) as fs:
        size = fs.block_size
    return {block for at, length in used(path) for block in range(at // size, -(-(at + length) // size))}


def free_by_dumpe2fs(path):
    """(first, last) of each run of free blocks, as dumpe2fs tells by libext2fs, which reads the maps in its own way."""
    said = program("dumpe2fs", path)
    lines = re.findall(r"^  Free blocks: (.*)$", said, re.MULTILINE)
    return [
        (int(first), int(last or first))
        for line in lines
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", line)
    ]


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_what_is_in_use_is_what_dumpe2fs_does_not_call_free(way, size, tmp_path):
    """No block less, in any kind, and more only where fewer than 16 free ones lie between."""
    path = made(
        tmp_path / "fs.img", way, size, "-d", trees.plant(tmp_path / "tree", {"/a/b": b"x" * 99999})
    )
    with path.open("rb") as file:
        file.seek(1024)
        total = superblock(file.read(1024)).blocks
    free = free_by_dumpe2fs(path)
    ours = blocks(path)
    not_free = set(range(total)) - {block for first, last in free for block in range(first, last + 1)}
    assert not_free <= ours
    for first, last in free:
        counted_in = ours & set(range(first, last + 1))
        assert not counted_in or last - first < 15


def test_no_bit_of_a_map_can_flip_unseen(tmp_path):
    """Each group says how many of its blocks are free, and each map is counted."""
    path = made(tmp_path / "fs.img", WAYS["ext3 of 1 KiB"], 20 << 20)
    with volume(path) as fs:
        bitmaps = [group.block_bitmap * 1024 for group in fs.groups]
        bits = [extused._span(fs, number)[1] for number in range(len(fs.groups))]
    spots = random.Random(2)
    with path.open("r+b", buffering=0) as file:
        for _ in range(200):
            group = spots.randrange(len(bitmaps))
            bit = spots.randrange(bits[group])
            file.seek(bitmaps[group] + bit // 8)
            was = file.read(1)[0]
            file.seek(-1, 1)
            file.write(bytes((was ^ 1 << bit % 8,)))
            with pytest.raises(ImageFault, match=f"group {group} says"):
                used(path)
            file.seek(-1, 1)
            file.write(bytes((was,)))
    assert used(path)


def test_a_group_said_to_be_unused_whose_count_is_wrong_is_a_fault(tmp_path):
    """Its map was never written; what it must hold can still be counted."""
    path = made(tmp_path / "fs.img", WAYS["ext4 with uninit_bg of 1 KiB"], 96 << 20)
    with volume(path) as fs:
        number = next(n for n, group in enumerate(fs.groups) if group.blocks_unused)
        at = 2 * 1024 + number * fs.superblock.descriptor_size + 12
    with path.open("r+b") as file:
        file.seek(at)
        free = int.from_bytes(file.read(2), "little")
        file.seek(at)
        file.write((free - 1).to_bytes(2, "little"))
    with pytest.raises(ImageFault, match=f"group {number} says that {free - 1} of its blocks are free"):
        used(path)


def test_a_sum_that_is_not_the_superblocks_is_a_fault(tmp_path):
    """Every group is right, and together they are wrong."""
    path = made(tmp_path / "fs.img", WAYS["ext2"], 20 << 20)
    with path.open("r+b") as file:
        file.seek(1024 + 12)
        file.write((77).to_bytes(4, "little"))
    with pytest.raises(ImageFault, match="it says that 77 blocks are free"):
        used(path)


@pytest.mark.parametrize(("field", "value"), [(0, 3), (0, 1 << 31), (8, 1), (8, 20 << 10), (4, 0)])
def test_tables_over_each_other_or_outside_are_a_fault(tmp_path, field, value):
    """What they point to would be anything."""
    path = made(tmp_path / "fs.img", WAYS["ext2 of 1 KiB"], 20 << 20)
    with path.open("r+b") as file:
        file.seek(2048 + field)
        file.write(value.to_bytes(4, "little"))
    with pytest.raises(ImageFault, match="tables lie over each other"):
        used(path)


@pytest.mark.parametrize("kind", KINDS)
def test_an_offset_moves_nothing(tmp_path, kind):
    """The same file system, alone and inside a disk."""
    tree = trees.plant(tmp_path / "tree", {"/a": b"a" * 100_000})
    alone = trees.mke2fs(tmp_path / "alone.img", tree, kind)
    inside = trees.mke2fs(tmp_path / "inside.img", tree, kind, offset=64 << 20)
    assert used(alone) == used(inside, 64 << 20)
