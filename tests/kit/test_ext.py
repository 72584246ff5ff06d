import hashlib
import os
import random
import re
import shutil
import stat
from pathlib import Path

import pytest

from tasks.kit.ext import Ext
from tasks.kit.extmap import runs
from tasks.kit.exttimes import settle_times
from tasks.kit.fault import ImageFault
from tests import trees
from tests.trees import KINDS, mke2fs, plant, program


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return trees.varied(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module", params=KINDS)
def image(request, tree, tmp_path_factory):
    return mke2fs(tmp_path_factory.mktemp("image") / "root.img", tree, request.param)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """256 KiB, most of it in use: a flipped byte hits something."""
    at = tmp_path_factory.mktemp("small")
    files = {f"/d{n % 7}/f{n}": b"%d" % n * 200 for n in range(60)} | {
        "/d0/link": "f0",
        "/far": trees.LONG_TARGET,
    }
    return {
        kind: mke2fs_small(at / f"{kind}.img", plant(at / kind, files), kind)
        for kind in ("ext2", "ext4 of 1 KiB")
    }


def mke2fs_small(image: Path, tree: Path, kind: str) -> Path:
    image.write_bytes(bytes(256 << 10))
    trees.sparse(tree / "holes", range(0, 30 * 8192, 8192), size=30 * 8192)
    program(
        "mke2fs",
        "-q",
        "-F",
        *KINDS[kind],
        "-O",
        "^has_journal,^resize_inode",
        "-N",
        "128",
        "-d",
        tree,
        image,
    )
    return image


def by_debugfs(image: Path) -> dict[str, tuple[int, int, int, int]]:
    """Inode, mode, uid and gid of every path, as debugfs tells."""
    found, todo = {}, ["/"]
    while todo:
        asked, todo = todo, []
        script = "".join(f'ls -p "{path}"\n' for path in asked)
        answers = program("debugfs", "-f", write(image.with_suffix(".ask"), script), image).split(
            "debugfs: ls -p "
        )
        for path, answer in zip(asked, answers[1:], strict=True):
            for number, mode, uid, gid, name in re.findall(
                r"^/(\d+)/(\d+)/(\d+)/(\d+)/([^/]+)/", answer, re.MULTILINE
            ):
                if name in (".", ".."):
                    continue
                own = f"{path.rstrip('/')}/{name}"
                found[own] = (int(number), int(mode, 8), int(uid), int(gid))
                if stat.S_ISDIR(int(mode, 8)):
                    todo.append(own)
    return found


def write(path: Path, text: str) -> Path:
    path.write_text(text, errors="surrogateescape")
    return path


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_names_modes_and_owners_are_those_debugfs_tells(image):
    """Two readers that share no code agree on every file."""
    with Ext.open(image) as fs:
        ours = {e.path: (e.inode, e.mode, e.uid, e.gid) for e in fs.walk() if e.path != "/"}
    assert ours == by_debugfs(image)


def test_every_content_is_what_debugfs_dumps(image, tmp_path):
    """Files of any size and map, sparse ones and links, to the byte."""
    program("debugfs", "-R", f"rdump / {tmp_path}", image)
    with Ext.open(image) as fs:
        entries = list(fs.walk())
        assert sum(entry.is_file for entry in entries) > 12
        for entry in entries:
            dumped = tmp_path / entry.path.lstrip("/")
            if entry.is_file:
                assert sha(fs.read(entry)) == sha(dumped.read_bytes()), entry.path
            elif entry.is_link:
                assert fs.target(entry) == str(dumped.readlink())


def test_a_tree_comes_back_as_it_went_in(image, tree):
    """Kinds, sizes, times and hard links of the tree the image was made of."""
    with Ext.open(image) as fs:
        for entry in fs.walk():
            if entry.path in {"/", "/lost+found"}:
                continue
            was = Path(f"{tree}{entry.path}").lstat()
            assert (entry.mode, entry.mtime) == (was.st_mode, int(was.st_mtime)), entry.path
            if not entry.is_dir:
                assert (entry.size, entry.links) == (was.st_size, was.st_nlink), entry.path
        assert fs.lookup("/sub/hard").inode == fs.lookup("/etc/hostname").inode


def test_a_file_system_says_what_dumpe2fs_says(image):
    """Id, label, and how many blocks are free."""
    told = dict(re.findall(r"^([^:\n]+): +(.+)$", program("dumpe2fs", "-h", image), re.MULTILINE))
    with Ext.open(image) as fs:
        assert (fs.uuid, fs.label) == (told["Filesystem UUID"], told["Filesystem volume name"])
        assert (fs.block_size, fs.blocks) == (int(told["Block size"]), int(told["Block count"]))
        assert fs.free_blocks == int(told["Free blocks"])


def test_a_walk_is_sorted_and_parents_come_first(image):
    """The order does not depend on how a directory is written."""
    with Ext.open(image) as fs:
        paths = [entry.path for entry in fs.walk()]
    assert paths[0] == "/"
    assert paths == sorted(paths, key=lambda path: os.fsencode(path).split(b"/") if path != "/" else [])
    for path in paths[1:]:
        assert paths.index(os.path.dirname(path)) < paths.index(path)  # noqa: PTH120 - a path of the image


def test_data_leaves_out_the_holes(image):
    """The 71 MiB of which two blocks are written cost two blocks."""
    with Ext.open(image) as fs:
        pieces = list(fs.data("/threefold"))
        assert sum(len(piece) for _, piece in pieces) <= 2 * 4096
        assert [offset for offset, _ in pieces] == [5 << 20, 70 << 20]
        assert sum(map(len, fs.chunks("/threefold"))) == 71 << 20


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("/vmlinuz", "/boot/vmlinuz-6.1.0"),
        ("vmlinuz", "/boot/vmlinuz-6.1.0"),
        ("/bin/sh", "/usr/bin/sh"),
        ("/absolute/sh", "/usr/bin/sh"),
        ("/absolute/../../etc/hostname", "/usr/../etc/hostname"),
        ("/etc/upwards", "/etc/hostname"),
        ("/../../../etc/./hostname", "/etc/hostname"),
        ("/", "/"),
    ],
)
def test_links_are_followed_inside_the_image_only(image, path, leads):
    """An absolute link means the image's own root, and nothing is above that."""
    with Ext.open(image) as fs:
        assert fs.lookup(path).path == os.path.normpath(leads)
        assert fs.exists(path)


@pytest.mark.parametrize(
    "path", ["/nothing", "/loop/a", "/etc/hostname/below", "/far", "/no", "/etc/no"]
)
def test_what_leads_nowhere_is_not_there(image, path):
    """A loop of links ends, and the fault names the path."""
    with Ext.open(image) as fs:
        assert not fs.exists(path)
        with pytest.raises(ImageFault, match=f"{path} is not in the image"):
            fs.read(path)


def test_a_link_can_be_asked_about_itself(image):
    with Ext.open(image) as fs:
        link = fs.lookup("/far", follow=False)
        assert (link.is_link, fs.target(link)) == (True, trees.LONG_TARGET)
        with pytest.raises(ImageFault, match="/sub is not a regular file"):
            fs.read("/sub")


@pytest.mark.parametrize("kind", ["ext3 of 4 KiB", "ext4"])
def test_a_hashed_directory_reads_as_a_plain_one(tmp_path, kind):
    """5,000 names in one directory, before and after e2fsck has built an index over them."""
    image = mke2fs(tmp_path / "root.img", trees.many(tmp_path / "tree"), kind)
    wanted = {f"/crowd/file number {number}" for number in range(trees.MANY)}
    for _ in range(2):
        with Ext.open(image) as fs:
            assert {entry.path for entry in fs.walk() if entry.is_file} == wanted
            assert fs.read("/crowd/file number 4950") == b"4950"
        program("sh", "-c", f"e2fsck -fyD {image} || test $? = 1")
    assert "Indirect levels" in program("debugfs", "-R", "htree_dump /crowd", image)


def test_owners_beyond_16_bits_and_files_behind_an_offset(tmp_path):
    """As in a partition of a larger image."""
    image = mke2fs(
        tmp_path / "disk.img", plant(tmp_path / "tree", {"/a": b"1"}), size=8 << 20, offset=1 << 20
    )
    script = write(tmp_path / "script", "sif /a uid 70000\nsif /a gid 80000\n")
    program("debugfs", "-w", "-f", script, f"{image}?offset={1 << 20}")
    with Ext.open(image, 1 << 20) as fs:
        assert (fs.lookup("/a").uid, fs.lookup("/a").gid, fs.read("/a")) == (70000, 80000, b"1")
    with (
        pytest.raises(ImageFault, match="there is no ext2, ext3 or ext4 file system here"),
        Ext.open(image),
    ):
        pass


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ("inline_data", "inline_data"),
        ("encrypt", "encrypt"),
        ("bigalloc,extent", "bigalloc"),
        ("meta_bg,^resize_inode", "meta_bg"),
        ("casefold", "casefold"),
    ],
)
def test_a_feature_that_is_not_understood_is_named(tmp_path, features, said):
    """Better no answer than a wrong one."""
    image = tmp_path / "root.img"
    image.write_bytes(bytes(4 << 20))
    program("mke2fs", "-q", "-F", "-t", "ext4", "-O", features, image)
    with pytest.raises(ImageFault, match=f"it has {said}"), Ext.open(image):
        pass


@pytest.mark.parametrize(
    ("at", "raw", "said"),
    [
        (96, b"\xc6", "a journal that was never replayed"),
        (98, b"\x80", "a feature newer than this reader"),
        (56, b"\0\0", "there is no ext2"),
        (24, b"\x09", r"its blocks are 2\^9 KiB"),
        (40, b"\0\0\0\0", "contradicts itself"),
        (4, b"\xff\xff\xff\x00", "contradicts itself"),
    ],
)
def test_a_superblock_that_cannot_be_is_refused(tmp_path, small, at, raw, said):
    image = Path(shutil.copy(small["ext4 of 1 KiB"], tmp_path))
    with image.open("r+b") as file:
        file.seek(1024 + at)
        file.write(raw)
    with pytest.raises(ImageFault, match=said), Ext.open(image):
        pass


def test_an_image_cut_short_is_refused(tmp_path, small):
    image = Path(shutil.copy(small["ext2"], tmp_path))
    os.truncate(image, 200 << 10)
    with (
        pytest.raises(ImageFault, match="the image is cut short: 262144 B of file system in 204800 B"),
        Ext.open(image),
    ):
        pass
    with (
        pytest.raises(ImageFault, match="cannot be opened: No such file"),
        Ext.open(tmp_path / "none.img"),
    ):
        pass


@pytest.mark.parametrize("kind", ["ext2", "ext4 of 1 KiB"])
def test_a_damaged_file_system_gives_a_fault_or_an_answer(tmp_path, small, kind):
    """Never a traceback, never a loop: 500 images with some bytes of their metadata changed."""
    whole, chance = small[kind].read_bytes(), random.Random(kind)
    image, faults, places = tmp_path / "damaged.img", 0, metadata(small[kind])
    for _ in range(500):
        raw = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            raw[chance.choice(places)] = chance.choice((0, 1, 127, 255, chance.randrange(256)))
        image.write_bytes(raw)
        faults += not survives(image)
    assert 100 < faults < 500


def metadata(image: Path) -> list[int]:
    """Where bytes lie that a reader goes by."""
    with Ext.open(image) as fs:
        own = fs.volume.superblock
        table = fs.volume.groups[0].inode_table * fs.block_size
        entries = list(fs.walk())
        folders = [fs.volume.inode(entry.inode) for entry in entries if entry.is_dir]
        blocks = {run.at for folder in folders for run in runs(fs.volume, folder)}
        inodes = [table + (entry.inode - 1) * own.inode_size for entry in entries]
    places = [*range(1024, 1024 + 128), *range(2048, 2048 + own.descriptor_size)]
    places += [at + n for at in inodes for n in (*range(8), *range(26, 36), *range(40, 100))]
    return places + [block * own.block_size + n for block in blocks for n in range(own.block_size)]


def survives(image: Path) -> bool:
    """Whether all of it could be read."""
    try:
        read_all(image)
        settle_times(image, trees.EPOCH)
    except ImageFault as fault:
        return "damaged.img" not in str(fault)
    return True


def read_all(image: Path) -> None:
    with Ext.open(image) as fs:
        for entry in fs.walk():
            if entry.is_file:
                assert sum(len(piece) for _, piece in fs.data(entry)) <= image.stat().st_size
            elif entry.is_link:
                fs.target(entry)
            fs.exists(entry.path)


def test_a_directory_that_holds_itself_ends_the_walk(tmp_path):
    """A hard link to a directory, which only damage makes."""
    image = mke2fs(
        tmp_path / "root.img", plant(tmp_path / "tree", {"/a/b/c": b"1"}), "ext2", size=4 << 20
    )
    program("debugfs", "-w", "-R", "ln /a /a/b/again", image)
    with Ext.open(image) as fs, pytest.raises(ImageFault, match="lies in two places at once"):
        list(fs.walk())


def test_a_file_in_an_inode_is_refused_by_name(tmp_path, small):
    """A flag of one file that this reader cannot honour."""
    image = Path(shutil.copy(small["ext4 of 1 KiB"], tmp_path))
    program("debugfs", "-w", "-R", "sif /d0/f0 flags 0x10000000", image)
    with Ext.open(image) as fs, pytest.raises(ImageFault, match="is stored inside its inode"):
        fs.read("/d0/f0")
