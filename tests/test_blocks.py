"""The list of an image's blocks, and the proof that nobody reads the others.

Every block that a list leaves out is filled with noise, as an encrypted volume shows it; then the programs that check file systems, and
two readers of each that share no code, must find all as it was.
"""

import hashlib
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import blocks
from tasks.kit import diskuse, files
from tasks.kit.ext import Ext
from tasks.kit.extmap import runs
from tasks.kit.fault import ConfigFault, ImageFault
from tasks.kit.report import Silent
from tasks.spec.record import BlockList, FileStamp, ImgStamp, now
from tests import disks, trees
from tests.disks import ESP_AT, ROOT_AT, MiB
from tests.poison import poisoned
from tests.trees import program

GiB = 1 << 30
BLOCK = 524288
WAYS = {
    "ext2 of 1 KiB": ("-t", "ext2", "-b", "1024"),
    "ext2": ("-t", "ext2", "-b", "4096"),
    "ext3 of 1 KiB": ("-t", "ext3", "-b", "1024"),
    "ext3": ("-t", "ext3", "-b", "4096"),
    "ext4": ("-t", "ext4", "-O", "metadata_csum,64bit"),
    "ext4 of 1 KiB": ("-t", "ext4", "-b", "1024", "-O", "metadata_csum,64bit"),
    "ext4 with uninit_bg": ("-t", "ext4", "-O", "^metadata_csum,^64bit,uninit_bg"),
    "ext4 with neither": ("-t", "ext4", "-O", "^metadata_csum,^uninit_bg,^64bit"),
    "ext4 without flex_bg": ("-t", "ext4", "-b", "1024", "-O", "^flex_bg"),
    "ext4 with two backups": ("-t", "ext4", "-b", "1024", "-O", "sparse_super2,^resize_inode"),
}


class Pen(Silent):
    def __init__(self):
        self.notes, self.moves = [], []

    def noted(self, text):
        self.notes.append(text)

    def moved(self, done, total, unit="B"):
        self.moves.append((done, total))


# What the tests do with images


def stamped(image):
    stamp = image.with_suffix(".stamp")
    ImgStamp(file=FileStamp.of(image), layout="hybrid", made=now()).write(stamp)
    return stamp


def staged(image, report=None):
    """The list, as the stage makes it."""
    target = image.with_suffix(".blocks.json")
    blocks.body(
        blocks.Order(image="an-image"),
        report=report or Silent(),
        image=image,
        stamp=stamped(image),
        blocks=target,
    )
    return BlockList.read(target)


def listed(image):
    """The same of an image that is no whole GiB, so that many of them may be tried."""
    use = diskuse.use(image)
    found = tuple(blocks._digests(image, image.stat().st_size, use.read, Silent()))
    return BlockList(
        version=1,
        sha256="",
        digest="",
        block_size=BLOCK,
        volume_size=image.stat().st_size,
        unread=use.maps,
        blocks=found,
    )


def without(found, left_out):
    """A list that some simpler rule would make: also without these."""
    kept = tuple((index, sha256) for index, sha256 in found.blocks if not left_out(index, sha256))
    return found.model_copy(update={"blocks": kept})


def without_zeros(found):
    return without(found, lambda _, sha256: sha256 == blocks.ZEROS)


def without_holes(found, image):
    stored = set()
    with image.open("rb") as file:
        for at, length in files.stored(file.fileno(), found.volume_size):
            stored |= set(range(at // BLOCK, -(-(at + length) // BLOCK)))
    return without(found, lambda index, _: index not in stored)


def checked(image, offset=0):
    """What e2fsck ends with; 0 is all well."""
    where = f"{image}?offset={offset}" if offset else image
    argv = ("e2fsck", "-fn", str(where))
    return subprocess.run(argv, check=False, capture_output=True).returncode


def by_our_reader(image, offset=0):
    with Ext.open(image, offset) as fs:
        return {
            each.path: (*each[1:], content(fs, each) if each.is_file else "")
            + ((fs.target(each),) if each.is_link else ())
            for each in fs.walk()
        }


def content(fs, entry):
    sha = hashlib.sha256()
    for chunk in fs.chunks(entry):
        sha.update(chunk)
    return sha.hexdigest()


def by_debugfs(image, at, offset=0):
    """Every file that debugfs dumps, by libext2fs."""
    at.mkdir()
    where = f"{image}?offset={offset}" if offset else image
    program("debugfs", "-R", f"rdump / {at}", where)
    found = tree(at)
    shutil.rmtree(at)
    return found


def tree(root):
    return {
        str(path.relative_to(root)): (str(path.readlink()) if path.is_symlink() else files.sha256(path))
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def zeroed(image, path, *, hole, offset=0):
    """A file's content becomes zeros, where it is: what a guest leaves that writes zeros. Perhaps as a hole of the image."""
    with Ext.open(image, offset) as fs:
        entry = fs.lookup(path)
        places = list(runs(fs.volume, fs.volume.inode(entry.inode)))
        size = fs.block_size
    assert places
    for run in places:
        at, length = offset + run.at * size, run.blocks * size
        if hole:
            program("fallocate", "-p", "-o", str(at), "-l", str(length), image)
        else:
            with image.open("r+b") as file:
                file.seek(at)
                file.write(bytes(length))


def proved(image, bad, tmp_path, *, offset=0):
    """An ext file system on the poisoned disk has everything that it has in the image."""
    assert checked(image, offset) == 0
    assert checked(bad, offset) == 0
    assert by_our_reader(bad, offset) == by_our_reader(image, offset)
    ours, theirs = (by_debugfs(each, tmp_path / "dump", offset) for each in (bad, image))
    assert ours == theirs
    assert len(ours) > 1


# File systems of every kind


@pytest.fixture(scope="module")
def varied(tmp_path_factory):
    """One of everything, and files that will be all zeros."""
    root = trees.varied(tmp_path_factory.mktemp("tree"))
    for name in ("zeros", "hole"):
        (root / name).write_bytes(b"\1" * (3 * MiB + 5))
    deep = root / "/".join(["deep"] * 60)
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"far down")
    return root


def made(path, way, size, root):
    with path.open("wb") as file:
        file.truncate(size)
    lazy = "lazy_itable_init=0,lazy_journal_init=0"
    program("mke2fs", "-q", "-F", *way, "-E", lazy, "-d", root, path, f"{size >> 10}k")
    zeroed(path, "/zeros", hole=False)
    zeroed(path, "/hole", hole=True)
    return path


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_noise_in_every_block_left_out_changes_nothing(varied, tmp_path, way):
    """e2fsck is content, and every file is as it was, by two readers."""
    image = made(tmp_path / "fs.img", way, 290 * MiB, varied)
    found = listed(image)
    assert 0 < len(found.blocks) < found.volume_size // BLOCK // 2
    proved(image, poisoned(image, found, tmp_path / "bad.img", seed=1), tmp_path)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_noise_changes_nothing_after_files_came_and_went(varied, tmp_path, way):
    """What is freed is left out, what is new is not; twice, by debugfs."""
    image = made(tmp_path / "fs.img", way, 96 * MiB, varied)
    found = before = listed(image)
    noise = random.Random(3)
    for turn, gone in enumerate(("/zeros", "/scattered")):
        fresh = tmp_path / "fresh"
        fresh.write_bytes(noise.randbytes(1_300_001 + turn))
        script = tmp_path / "script"
        script.write_text(
            f"rm {gone}\nrm /large\nwrite {fresh} large\nmkdir new{turn}\ncd new{turn}\nwrite {fresh} again\n"
        )
        program("debugfs", "-w", "-f", script, image)
        now_there = by_our_reader(image)
        assert gone not in now_there
        assert f"/new{turn}/again" in now_there
        found = listed(image)
        proved(image, poisoned(image, found, tmp_path / "bad.img", seed=turn), tmp_path)
    assert {index for index, _ in found.blocks} != {index for index, _ in before.blocks}


@pytest.mark.parametrize("naive", ["zeros", "holes"])
def test_leaving_out_zeros_or_holes_breaks_an_ext3(varied, tmp_path, naive):
    """What others do: its inode tables are zeros, and somebody reads them. So the proof can fail."""
    image = made(tmp_path / "fs.img", WAYS["ext3"], 512 * MiB, varied)
    found = listed(image)
    less = without_zeros(found) if naive == "zeros" else without_holes(found, image)
    assert len(less.blocks) < len(found.blocks)
    bad = poisoned(image, less, tmp_path / "bad.img", seed=1)
    assert checked(bad) & 4
    good = poisoned(image, found, tmp_path / "bad.img", seed=1)
    assert checked(good) == 0


@pytest.mark.parametrize(("naive", "path"), [("zeros", "/zeros"), ("holes", "/hole")])
def test_leaving_out_zeros_or_holes_loses_a_file_of_zeros(varied, tmp_path, naive, path):
    """e2fsck sees nothing of it, so every file is compared."""
    image = made(tmp_path / "fs.img", WAYS["ext4"], 96 * MiB, varied)
    found = listed(image)
    less = without_zeros(found) if naive == "zeros" else without_holes(found, image)
    bad = poisoned(image, less, tmp_path / "bad.img", seed=1)
    assert checked(bad) == 0
    was, became = by_our_reader(image), by_our_reader(bad)
    assert was[path][-1] == hashlib.sha256(bytes(3 * MiB + 5)).hexdigest()
    assert was[path] != became[path]


NAMES = st.text("abcdefgh", min_size=1, max_size=3)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
PIECES = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 60_000), st.booleans()), max_size=4)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wish=st.dictionaries(PATHS, PIECES, max_size=12),
    way=st.sampled_from(sorted(WAYS)),
    gone=st.integers(0, 3),
)
def test_noise_changes_nothing_in_random_trees(tmp_path_factory, wish, way, gone):
    """Files of pieces and holes, pieces of noise and of zeros, some deleted again."""
    at = tmp_path_factory.mktemp("random")
    root = at / "tree"
    root.mkdir()
    planted = [name for name in sorted(wish) if planted_file(root / name, wish[name])]
    (root / "there").write_bytes(b"so that there is one")
    image = at / "fs.img"
    with image.open("wb") as file:
        file.truncate(24 * MiB)
    program("mke2fs", "-q", "-F", *WAYS[way], "-d", root, image)
    for name in planted[:gone]:
        program("debugfs", "-w", "-R", f"rm /{name}", image)
    assert checked(image) == 0
    bad = poisoned(image, listed(image), at / "bad.img", seed=gone)
    assert checked(bad) == 0
    assert by_our_reader(bad) == by_our_reader(image)
    assert by_debugfs(bad, at / "dump") == by_debugfs(image, at / "dump")
    shutil.rmtree(at)


def planted_file(path, pieces):
    """Whether there is room for it: no file where a folder is, and the other way round."""
    if path.exists() or any(parent.is_file() for parent in path.parents):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for where, length, noisy in pieces:
            file.seek(where << 12)
            file.write(random.Random(where).randbytes(length) if noisy else bytes(length))
    return True


# Whole disks, by the stage


@pytest.fixture(scope="module")
def disk(varied, tmp_path_factory):
    image = disks.hybrid(tmp_path_factory.mktemp("disk") / "disk.img", varied, size=GiB)
    zeroed(image, "/zeros", hole=False, offset=ROOT_AT)
    zeroed(image, "/hole", hole=True, offset=ROOT_AT)
    return image


def esp(image, at):
    """A file of its own, for programs that know no offset."""
    with image.open("rb") as source, at.open("wb") as sink:
        os.copy_file_range(source.fileno(), sink.fileno(), 62 * MiB, offset_src=ESP_AT)
    return at


def by_mtools(image, at):
    at.mkdir()
    program("mcopy", "-s", "-n", "-i", f"{image}@@{ESP_AT}", "::/", at)
    found = tree(at)
    shutil.rmtree(at)
    return found


def test_a_hybrid_disk_of_what_is_listed_is_the_same_disk(disk, tmp_path):
    """Table, boot loader, ESP and root: each by the programs that check it, and every file."""
    found = staged(disk)
    assert found.unread == ("gpt", f"fat32 at {ESP_AT}", f"ext4 at {ROOT_AT}")
    bad = poisoned(disk, found, tmp_path / "bad.img", seed=7)
    assert "No errors detected" in program("sfdisk", "--verify", bad)
    assert disks.told(bad)[0].keys() == disks.told(disk)[0].keys()
    with bad.open("rb") as theirs, disk.open("rb") as ours:
        for at, length in ((0, 440), (MiB, MiB)):  # boot code
            theirs.seek(at)
            ours.seek(at)
            assert theirs.read(length) == ours.read(length)
    program("fsck.fat", "-n", esp(bad, tmp_path / "esp"))
    dumped = by_mtools(bad, tmp_path / "dump")
    assert dumped == by_mtools(disk, tmp_path / "dump")
    assert set(dumped) == {"EFI/BOOT/BOOTX64.EFI", "second.efi"}
    proved(disk, bad, tmp_path, offset=ROOT_AT)


def test_a_list_says_what_the_image_holds(disk):
    """Every digest, against plain reading; ascending, and the digest of the whole is of nothing else."""
    found = staged(disk)
    with disk.open("rb") as file:
        for index, sha256 in found.blocks:
            file.seek(index * BLOCK)
            assert hashlib.sha256(file.read(BLOCK)).hexdigest() == sha256
    indices = [index for index, _ in found.blocks]
    assert indices == sorted(set(indices))
    assert {0, MiB // BLOCK, GiB // BLOCK - 1} <= set(indices)
    said = {
        "version": 1,
        "block_size": BLOCK,
        "volume_size": GiB,
        "blocks": [list(each) for each in found.blocks],
    }
    assert found.digest == files.digest(said)
    assert found.sha256 == files.sha256(disk)


def test_a_list_follows_from_the_content_alone(disk, tmp_path):
    """A copy without a single hole, of another name and time, has the same one."""
    copy = tmp_path / "full.img"
    program("cp", "--sparse=never", disk, copy)
    one, other = staged(disk), staged(copy)
    assert one == other


def test_only_blocks_that_are_needed_and_stored_are_read(disk, monkeypatch):
    """Each once: holes have a digest that is known, and what nobody reads is not looked at."""
    read = []
    real = os.preadv

    def preadv(handle, buffers, at):
        read.append(at)
        return real(handle, buffers, at)

    monkeypatch.setattr(os, "preadv", preadv)
    found = staged(disk)
    assert len(read) == len(set(read))
    needed = {index * BLOCK for index, _ in found.blocks}
    assert set(read) < needed
    assert {sha256 for index, sha256 in found.blocks if index * BLOCK not in read} == {blocks.ZEROS}


def test_the_digest_of_zeros_is_that_of_zeros():
    """It is not computed, so that `doit list` need not wait."""
    assert hashlib.sha256(bytes(blocks.BLOCK)).hexdigest() == blocks.ZEROS


def test_progress_is_told_to_the_end(disk):
    """In bytes of what is sent."""
    pen = Pen()
    found = staged(disk, pen)
    done = [done for done, _ in pen.moves]
    assert done == sorted(done)
    assert pen.moves[-1] == (len(found.blocks) * BLOCK, len(found.blocks) * BLOCK)
    assert pen.notes == []


def test_what_is_sent_whole_is_told(tmp_path):
    """Nobody should wonder why a small image takes long."""
    image = tmp_path / "swap.img"
    with image.open("wb") as file:
        file.truncate(GiB)
    program("mkswap", image)
    pen = Pen()
    found = staged(image, pen)
    assert (len(found.blocks), found.unread) == (GiB // BLOCK, ())
    assert "swap space" in pen.notes[0]


@pytest.mark.parametrize(
    ("size", "wanted"), [(0, 1), (512 * MiB, 1), (GiB + 512, 2), (65536 * GiB + GiB, 65536)]
)
def test_a_size_that_no_volume_has_is_a_fault_that_says_what_to_write(size, wanted):
    """Whole GiB, one at least, and no more than EBS has."""
    with pytest.raises(ConfigFault) as caught:
        blocks._volume(blocks.Order(image="mine"), Path("mine.img"), size)
    assert f"disk.size: {wanted} GiB" in caught.value.hint
    assert "config/images/mine.yaml" in caught.value.where


@pytest.mark.parametrize("size", [GiB, 65536 * GiB])
def test_the_smallest_and_the_largest_volume_are_fine(size):
    """EBS has both."""
    blocks._volume(blocks.Order(image="mine"), Path("mine.img"), size)


def test_an_image_that_is_no_volume_has_no_list(tmp_path):
    """The configuration refuses it before it is made; what was made by another is looked at all the same."""
    image = tmp_path / "odd.img"
    with image.open("wb") as file:
        file.truncate(GiB - 512)
    with pytest.raises(ConfigFault, match="whole GiB"):
        staged(image)
    assert not image.with_suffix(".blocks.json").exists()


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_an_image_that_is_not_what_was_stamped_is_a_fault(disk, tmp_path, monkeypatch, when):
    """Changed before, or while it was read; no list is left."""
    image = tmp_path / "disk.img"
    program("cp", "--sparse=always", disk, image)
    stamp, target = stamped(image), tmp_path / "list.json"

    def change():
        with image.open("r+b") as file:
            file.seek(5 * MiB)
            file.write(b"changed")

    if when == "before":
        change()
    else:
        real = diskuse.use
        monkeypatch.setattr(diskuse, "use", lambda path: (real(path), change())[0])
    with pytest.raises(ImageFault, match="not the file that was stamped"):
        blocks.body(blocks.Order(image="mine"), report=Silent(), image=image, stamp=stamp, blocks=target)
    assert not target.exists()


# The image of the project itself


def test_the_projects_own_image_of_what_is_listed_is_the_same_image(built, tmp_path):
    """Real packages, a real kernel: the disk that the stage `img` makes."""
    image = tmp_path / "debian-12.img"
    program("cp", "--sparse=always", built.build / "debian-12/debian-12.img", image)
    found = staged(image)
    bad = poisoned(image, found, tmp_path / "bad.img", seed=12)
    partitions = disks.told(image)
    assert disks.told(bad) == [
        {**each, "node": f"{bad}{each['node'][len(str(image)) :]}"} for each in partitions
    ]
    assert len(found.blocks) < found.volume_size // BLOCK // 2
    program("fsck.fat", "-n", esp(bad, tmp_path / "esp"))
    assert by_mtools(bad, tmp_path / "dump") == by_mtools(image, tmp_path / "dump")
    proved(image, bad, tmp_path, offset=ROOT_AT)
