import os
import struct
import zlib
from contextlib import contextmanager
from uuid import UUID

import pytest

from tasks.kit import gpt
from tasks.kit.fault import ImageFault
from tests import disks
from tests.disks import MiB
from tests.trees import program

SIZE = 128 * MiB
SCRIPT = disks.SCRIPT.format(root=100_000)
LAST = SIZE - 512
BACKUP_ENTRIES = SIZE - 33 * 512


@contextmanager
def opened(path):
    handle = os.open(path, os.O_RDWR)
    try:
        yield handle
    finally:
        os.close(handle)


def table(path):
    with opened(path) as handle:
        return gpt.table(handle, path.stat().st_size)


@pytest.fixture
def disk(tmp_path):
    return disks.partition(tmp_path / "disk.img", SCRIPT, size=SIZE)


def flip(path, at, bits=1):
    with opened(path) as handle:
        os.pwrite(handle, bytes((os.pread(handle, 1, at)[0] ^ bits,)), at)


def edit_entries(path, at, new):
    """Change both copies of the entries, with checksums that are right."""
    with opened(path) as handle:
        for header, entries in ((512, 1024), (LAST, BACKUP_ENTRIES)):
            os.pwrite(handle, new, entries + at)
            edit_header(
                handle, header, 88, struct.pack("<I", zlib.crc32(os.pread(handle, 16384, entries)))
            )


def edit_header(handle, header, at, new):
    os.pwrite(handle, new, header + at)
    os.pwrite(handle, bytes(4), header + 16)
    os.pwrite(handle, struct.pack("<I", zlib.crc32(os.pread(handle, 92, header))), header + 16)


def test_partitions_are_those_that_sfdisk_tells(disk):
    """Number, place, kind and name of each, by their place."""
    ours = [
        (each.number, each.offset // 512, each.length // 512, each.kind, each.name)
        for each in table(disk).partitions
    ]
    theirs = [
        (
            int(each["node"][len(str(disk)) :]),
            each["start"],
            each["size"],
            UUID(each["type"]),
            each["name"],
        )
        for each in disks.told(disk)
    ]
    assert ours == sorted(theirs, key=lambda each: each[1])
    assert [each[0] for each in ours] == [14, 15, 1]


def test_the_table_itself_is_its_first_34_sectors_and_its_last_33(disk):
    """Boot code, protective MBR, two headers, twice 128 entries."""
    own = {byte // 512 for at, length in table(disk).own for byte in range(at, at + length, 512)}
    assert own == {*range(34), *range(SIZE // 512 - 33, SIZE // 512)}


@pytest.mark.parametrize("content", [b"", bytes(511), bytes(MiB), b"\xaa" * MiB])
def test_a_file_without_one_has_none(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert table(tmp_path / "file") is None


def test_no_bit_of_a_header_or_an_entry_in_use_can_flip_unseen(disk):
    """In either copy. Where the signature is hit, it is half a table; elsewhere a checksum is wrong."""
    spots = [
        *range(512, 512 + 92),
        *range(1024, 1024 + 128),
        *range(1024 + 13 * 128, 1024 + 15 * 128),
        *range(LAST, LAST + 92),
        *range(BACKUP_ENTRIES, BACKUP_ENTRIES + 128),
    ]
    for at in spots:
        flip(disk, at, 1 << at % 8)
        with pytest.raises(ValueError, match=r"partition table|checksum"):
            table(disk)
        flip(disk, at, 1 << at % 8)
    assert len(table(disk).partitions) == 3


def test_copies_that_differ_are_not_relied_on(disk):
    """Though each is whole by itself: nobody can say which of them was meant."""
    with opened(disk) as handle:
        edit_header(handle, LAST, 56, b"another disk's..")
    with pytest.raises(ValueError, match="differ"):
        table(disk)


@pytest.mark.parametrize("size", [SIZE - MiB, SIZE + MiB, SIZE - 512, SIZE + 512])
def test_an_image_shorter_or_longer_than_its_table_says_is_a_fault(disk, size):
    """Cut off, or grown behind the table's back."""
    os.truncate(disk, size)
    with pytest.raises(ImageFault, match=f"has {size} B, but .* of a disk of {SIZE} B"):
        table(disk)


def test_a_table_whose_copy_was_wiped_is_not_relied_on(disk):
    """The disk has its size, but half of its table is gone; either half."""
    with opened(disk) as handle:
        first, last = os.pread(handle, 512, 512), os.pread(handle, 512, LAST)
        os.pwrite(handle, bytes(512), LAST)
        with pytest.raises(ValueError, match="missing"):
            gpt.table(handle, SIZE)
        os.pwrite(handle, last, LAST)
        os.pwrite(handle, bytes(512), 512)
        with pytest.raises(ValueError, match="missing"):
            gpt.table(handle, SIZE)
        os.pwrite(handle, first, 512)
        assert gpt.table(handle, SIZE)


@pytest.mark.parametrize(
    ("at", "new", "why"),
    [
        (32, struct.pack("<QQ", 131_072, SIZE // 512), "partition 1 lies outside"),
        (32, struct.pack("<QQ", 33, 140_000), "partition 1 lies outside"),
        (32, struct.pack("<QQ", 140_000, 139_999), "partition 1 lies outside"),
        (32, struct.pack("<QQ", 4095, 140_000), "partitions 14 and 1 lie over"),
    ],
)
def test_partitions_that_contradict_each_other_are_not_relied_on(disk, at, new, why):
    """With checksums that are right: some tool wrote it so."""
    edit_entries(disk, at, new)
    with pytest.raises(ValueError, match=why):
        table(disk)


@pytest.mark.parametrize("entry", [bytes(3) + b"\0\x83" + bytes(11), b"\x80\0\0\0\xee" + bytes(11)])
def test_partitions_of_the_old_kind_beside_the_table_make_it_unreliable(disk, entry):
    """A hybrid MBR: who boots by it reads elsewhere."""
    with opened(disk) as handle:
        os.pwrite(handle, entry, 462)
    with pytest.raises(ValueError, match="partitions of its own"):
        table(disk)


def test_a_table_without_a_protective_mbr_is_not_relied_on(disk):
    """Firmware does not take it either."""
    with opened(disk) as handle:
        os.pwrite(handle, bytes(512), 0)
    with pytest.raises(ValueError, match="first sector"):
        table(disk)


def test_a_table_of_the_old_kind_is_told_from_boot_code(tmp_path):
    """sfdisk's `label: dos` is one; what mkfs.fat writes into its first sector is none."""
    old = disks.partition(tmp_path / "old.img", "label: dos\nstart=2048, type=83\n", size=SIZE)
    fat = tmp_path / "fat.img"
    fat.write_bytes(bytes(MiB))
    program("mkfs.fat", fat)
    for path, is_mbr in ((old, True), (fat, False)):
        with opened(path) as handle:
            assert gpt.table(handle, path.stat().st_size) is None
            assert gpt.mbr(handle) == is_mbr
