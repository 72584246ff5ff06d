import os
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.kit import fat
from tests.trees import program

KINDS = {"12": 8 << 20, "16": 40 << 20, "32": 62 << 20}  # bits, size


@pytest.fixture(params=KINDS)
def image(request, tmp_path):
    """With files, one of them deleted, so that its clusters are free between those of others."""
    path = tmp_path / f"fat{request.param}.img"
    path.write_bytes(bytes(KINDS[request.param]))
    small = ("-s", "1") if request.param == "32" else ()
    program("mkfs.fat", "-F", request.param, *small, path)
    for number in range(12):
        file = tmp_path / f"file{number}"
        file.write_bytes(random.Random(number).randbytes(number * 30_011))
        program("mcopy", "-i", path, file, "::/")
    program("mdel", "-i", path, "::/file7", "::/file0", "::/file10")
    return path


def read(path):
    return fat.fat(path.read_bytes()[:512])


def used(path, offset=0):
    with path.open("rb") as file:
        return list(fat.used(file.fileno(), offset, read_at(path, offset)))


def read_at(path, offset):
    with path.open("rb") as file:
        return fat.fat(os.pread(file.fileno(), 512, offset))


def clusters(path):
    """Numbers of those in use."""
    fs, found = read(path), set()
    for at, length in used(path):
        if fs.data <= at < fs.data + fs.clusters * fs.cluster:
            assert (at - fs.data) % fs.cluster == length % fs.cluster == 0
            first = (at - fs.data) // fs.cluster + 2
            found |= set(range(first, first + length // fs.cluster))
    return found


def test_a_file_system_is_what_fsck_says(image):
    """Kind, and how many of how many clusters are in use."""
    said = program("fsck.fat", "-nv", image)
    fs = read(image)
    assert f"fat{fs.bits}.img" == image.name
    in_use = re.search(r"(\d+)/(\d+) clusters", said)
    assert in_use
    assert (len(clusters(image)), fs.clusters) == tuple(map(int, in_use.groups()))


def test_every_cluster_that_mtools_names_is_in_use_and_no_deleted_one(image):
    """Two readers of the table that share no code."""
    said = program("mshowfat", "-i", image, *(f"::/file{n}" for n in (1, 2, 3, 4, 5, 6, 8, 9, 11)))
    theirs = set()
    for first, last in re.findall(r"<(\d+)(?:-(\d+))?>", said):
        theirs |= set(range(int(first), int(last or first) + 1))
    ours = clusters(image)
    root = {2} if image.name == "fat32.img" else set()
    assert theirs
    assert ours == theirs | root


def test_all_before_the_first_cluster_is_read(image):
    """Reserved sectors, both tables, the old kinds' root; and what is behind the last cluster."""
    fs = read(image)
    extents = used(image)
    assert (0, fs.data) in extents
    end = fs.data + fs.clusters * fs.cluster
    assert (end, fs.size - end) in extents
    assert fs.size - end < fs.cluster


def test_a_file_system_inside_a_disk_is_the_same(image, tmp_path):
    """Its offset moves nothing."""
    inside = tmp_path / "disk.img"
    inside.write_bytes(bytes(1 << 20) + image.read_bytes())
    assert used(inside, 1 << 20) == used(image)


def test_tables_that_differ_are_not_relied_on(image):
    """No map then: nobody can say which one a reader takes."""
    fs = read(image)
    with image.open("r+b") as file:
        file.seek(fs.table + fs.table_size + fs.table_size // 2)
        file.write(b"\1")
    with pytest.raises(ValueError, match="differ"):
        used(image)


def test_a_table_that_does_not_begin_as_one_is_not_relied_on(image):
    """Something else was written over it, and over its copy."""
    fs = read(image)
    with image.open("r+b") as file:
        for number in range(fs.tables):
            file.seek(fs.table + number * fs.table_size)
            file.write(b"\0")
    with pytest.raises(ValueError, match="does not begin"):
        used(image)


def test_a_bad_cluster_is_not_called_free(image):
    """Only a zero is."""
    fs = read(image)
    free = max(clusters(image)) + 5
    bad = {12: b"\xf7\x0f", 16: b"\xf7\xff", 32: b"\xf7\xff\xff\x0f"}[fs.bits]
    with image.open("r+b") as file:
        for number in range(fs.tables):
            at = fs.table + number * fs.table_size + free * fs.bits // 8
            file.seek(at)
            if fs.bits == 12 and free % 2:
                bad = b"\x70\xff"
            file.write(bad)
    assert free in clusters(image)


def test_what_is_no_fat_is_not_taken_for_one(tmp_path):
    """Zeros, noise, boot code with nothing behind it, exFAT and NTFS."""
    noise = random.Random(0)
    boot = b"\xeb\x58\x90" + bytes(507) + b"\x55\xaa"
    assert fat.fat(bytes(512)) is None
    assert fat.fat(b"") is None
    assert fat.fat(boot) is None
    assert fat.fat(boot[:3] + b"EXFAT   " + boot[11:]) is None
    ntfs = b"\xeb\x52\x90NTFS    \0\x02\x08" + bytes(7) + b"\xf8" + bytes(488) + b"\x55\xaa"
    assert len(ntfs) == 512
    assert fat.fat(ntfs) is None
    for _ in range(2000):
        assert fat.fat(b"\xeb\x58\x90" + noise.randbytes(507) + b"\x55\xaa") is None


@given(
    words=st.lists(st.integers(0, 0xFFF) | st.just(0), max_size=200), bits=st.sampled_from((12, 16, 32))
)
def test_runs_are_the_entries_that_are_not_zero(words, bits):
    """Of each width, packed as each packs them."""
    if bits == 12:
        words += [0] * (len(words) % 2)
        pairs = zip(words[::2], words[1::2], strict=True)
        raw = b"".join((one | other << 12).to_bytes(3, "little") for one, other in pairs)
    else:
        raw = b"".join(word.to_bytes(bits // 8, "little") for word in words)
    found = [n for begin, length in fat.runs(raw, bits) for n in range(begin, begin + length)]
    assert found == [n for n, word in enumerate(words) if word]
