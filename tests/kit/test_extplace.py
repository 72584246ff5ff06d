import os
import random
import re
import shutil
import struct
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tasks.kit.ext import Ext
from tasks.kit.extnumbers import numbered
from tasks.kit.extplace import place
from tasks.kit.extslots import SLOT, Load, Space, cuts, flip, gaps, settled
from tasks.kit.exttimes import settle_times
from tasks.kit.fault import ImageFault
from tasks.kit.proc import PATH
from tests.projects import ROOT
from tests.trees import EPOCH, many, plant, program, sparse, varied

MIB = 1 << 20
SLOT_BYTES = 512 << 10
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)  # cap_net_raw+ep, as setcap writes it


def made(image: Path, tree: Path, size: int = 64 * MIB, *, offset: int = 0, options=()) -> Path:
    """A file system as the stage `img` makes it, with the project's own profile."""
    with image.open("wb") as file:
        file.truncate(offset + size)
    ids = "hash_seed=66666666-7777-8888-9999-aaaaaaaaaaaa,lazy_itable_init=0,lazy_journal_init=0"
    program(
        *("mke2fs", "-q", "-F", "-t", "ext4", "-m", "1", "-L", "root", *options),
        *("-U", "11111111-2222-3333-4444-555555555555"),
        *("-E", f"{ids},root_owner=0:0,nodiscard,offset={offset}", "-d", tree, image, f"{size >> 10}k"),
        MKE2FS_CONFIG=str(ROOT / "templates/mke2fs.conf"),
        E2FSPROGS_FAKE_TIME=str(EPOCH),
    )
    settle_times(image, EPOCH, offset=offset)
    return image


def seen(image: Path, offset: int = 0) -> dict[str, tuple[object, ...]]:
    """All that a user sees of a file system, by path; hard links are told by the first path of their file."""
    found: dict[str, tuple[object, ...]] = {}
    first: dict[int, str] = {}
    with Ext.open(image, offset) as fs:
        for entry in fs.walk():
            rest = entry._replace(path=first.setdefault(entry.inode, entry.path), inode=0)
            content = ""
            if entry.is_file:
                digest = sha256()
                for piece in fs.chunks(entry):
                    digest.update(piece)
                content = digest.hexdigest()
            elif entry.is_link:
                content = fs.target(entry)
            found[entry.path] = (*rest, content)
    return found


def checked(image: Path) -> str:
    """What debugfs and e2fsck say of it, who know nothing of our code; e2fsck must be content."""
    return program("e2fsck", "-fn", image)


def dumped(image: Path, folder: Path) -> dict[str, bytes]:
    """Every file as debugfs reads it."""
    folder.mkdir()
    program("debugfs", "-R", f"rdump / {folder}", image)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def placed(image: Path, offset: int = 0) -> Path:
    """A copy with stable places."""
    target = image.with_name(f"placed-{image.name}")
    program("cp", "--sparse=always", image, target)
    assert place(target, offset=offset)
    return target


def differing(one: Path, other: Path) -> list[int]:
    """Numbers of the 512 KiB blocks that are not the same."""
    left, right = one.read_bytes(), other.read_bytes()
    return [
        at // SLOT_BYTES
        for at in range(0, max(len(left), len(right)), SLOT_BYTES)
        if left[at : at + SLOT_BYTES] != right[at : at + SLOT_BYTES]
    ]


def blocks_free(image: Path) -> list[int]:
    with Ext.open(image) as fs:
        bits = b"".join(fs.volume.block(group.block_bitmap) for group in fs.volume.groups)
    return [block for at, length in gaps(bits) for block in range(at, at + length)]


def system(root: Path, files: int = 1500) -> Path:
    """A tree with the sizes of a system's files."""
    noise = random.Random(7)
    sizes = [*range(500, 4096, 300)] * 6 + [9000, 14000, 20000, 60000, 150_000, 700_000]
    for number in range(files):
        folder = root / f"usr/{noise.choice(('lib', 'share', 'bin'))}/{number * 37 % 101:03}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{noise.randbytes(4).hex()}-{number}").write_bytes(
            noise.randbytes(noise.choice(sizes))
        )
    plant(root, {f"etc/{name}.conf": noise.randbytes(900) for name in "bcdefghijklmnopq"})
    return root


def everything(root: Path) -> Path:
    """A tree with one of everything, and what is hard to move."""
    many(varied(root))
    for size in (0, 1, 4096, 4097, 127 * 4096, 128 * 4096, 129 * 4096 + 1, 250 * 4096):
        plant(root, {f"/sizes/{size}": random.Random(size).randbytes(size)})
    plant(root, {"/zeros": bytes(3 * MIB), "/tail": bytes(MIB) + b"end"})
    sparse(
        root / "combs", range(0, 2000 * 8192, 8192), size=2000 * 8192
    )  # more extents than we lay anew
    sparse(root / "five", range(0, 5 * 8192, 8192), size=5 * 8192)  # one more than an inode holds
    os.setxattr(root / "sizes/1", "user.small", b"in the inode")
    os.setxattr(root / "sizes/4097", "user.large", b"in a block" * 200)
    os.setxattr(root / "sizes/0", "user.large", b"alone" * 300)
    os.setxattr(root / "sizes", "user.large", b"of a folder" * 200)
    for name in ("sizes/4096", "usr/bin/sh"):
        os.setxattr(root / name, "security.capability", CAPABILITY)
    return root


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rich")
    return made(folder / "root.img", everything(folder / "tree"), 160 * MIB)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    return made(folder / "root.img", system(folder / "tree"), 128 * MIB)


def test_every_file_is_as_before_and_e2fsck_is_content(rich, tmp_path):
    """By our reader and by debugfs, attributes included; as many blocks and inodes are in use as before, but for trees of extents."""
    target = placed(rich)
    assert seen(target) == seen(rich)
    inodes = re.compile(r"\d+/\d+ files")
    assert inodes.findall(checked(target)) == inodes.findall(checked(rich)) != []
    assert dumped(target, tmp_path / "new") == dumped(rich, tmp_path / "old")
    for name, key in {
        "/sizes/1": "user.small", "/sizes/4097": "user.large", "/sizes/0": "user.large", "/sizes": "user.large",
        "/sizes/4096": "security.capability", "/usr/bin/sh": "security.capability",
    }.items():  # fmt: skip
        before, after = (
            program("debugfs", "-R", f"ea_get -x {name} {key}", image) for image in (rich, target)
        )
        assert before == after != "", name


def test_what_is_free_holds_zeros(rich):
    """Nothing of the old places is left, and the file is as sparse as before."""
    target = placed(rich)
    with target.open("rb") as file:
        for block in blocks_free(target):
            file.seek(block * 4096)
            assert file.read(4096) == bytes(4096), block
    assert target.stat().st_blocks <= rich.stat().st_blocks


def test_the_same_tree_gives_the_same_bytes_and_a_second_time_changes_nothing(rich, tmp_path):
    first = placed(rich)
    again = placed(made(tmp_path / "again.img", rich.with_name("tree"), 160 * MIB))
    assert first.read_bytes() == again.read_bytes()
    assert place(again)
    assert first.read_bytes() == again.read_bytes()


def test_places_do_not_depend_on_those_of_mke2fs(base, tmp_path):
    """All lies elsewhere at first, because of a large file that was there while mke2fs ran; in the end only what knew of it differs."""
    tree = shutil.copytree(base.with_name("tree"), tmp_path / "tree")
    (tree / "00").write_bytes(random.Random(3).randbytes(9 * MIB))
    other = made(tmp_path / "other.img", tree, 128 * MIB)
    program("debugfs", "-w", "-R", "rm /00", other, E2FSPROGS_FAKE_TIME=str(EPOCH))
    assert len(differing(other, base)) > 50
    assert (
        len(differing(placed(base), placed(other))) <= 2
    )  # superblock and descriptors; the root folder


@pytest.mark.parametrize(
    ("change", "most"),
    [
        (lambda tree: (tree / "etc/aaa.conf").write_bytes(b"x" * 9000), 7),
        (lambda tree: (tree / "etc/c.conf").write_bytes(b"x" * 901), 2),
        (lambda tree: next((tree / "usr/share").rglob("*-7*")).write_bytes(b"x" * 50_000), 8),
        (lambda tree: next((tree / "usr/lib").rglob("*-9*")).unlink(), 8),
    ],
    ids=["a file more", "a file longer in its block", "a file longer", "a file less"],
)
def test_a_small_change_changes_few_blocks(base, tmp_path, change, most):
    tree = shutil.copytree(base.with_name("tree"), tmp_path / "tree")
    change(tree)
    child = made(tmp_path / "child.img", tree, 128 * MIB)
    assert len(differing(placed(base), placed(child))) <= most


def test_without_places_a_file_more_changes_nearly_all(base, tmp_path):
    """So that the test above could fail."""
    tree = shutil.copytree(base.with_name("tree"), tmp_path / "tree")
    (tree / "etc/aaa.conf").write_bytes(b"x" * 9000)
    assert len(differing(base, made(tmp_path / "child.img", tree, 128 * MIB))) > 30


def test_another_version_takes_the_place_of_the_one_before(base, tmp_path):
    """No block becomes free, and no other is taken, when only numbers in names change."""
    trees = [shutil.copytree(base.with_name("tree"), tmp_path / str(number)) for number in (9, 10)]
    noise = random.Random(5)
    for tree in trees:
        for module in range(60):
            plant(
                tree,
                {f"lib/modules/6.1.0-{tree.name}/m{module}.ko": noise.randbytes(30_000 + module * 1000)},
            )
    old, new = (placed(made(tmp_path / f"{tree.name}.img", tree, 128 * MIB)) for tree in trees)
    assert blocks_free(old) == blocks_free(new)


def test_few_more_blocks_are_sent_at_first(base):
    """The slots in use grow by at most a fifth, even in a tree as small as this."""

    def in_use(image):
        free = set(blocks_free(image))
        return sum(
            any(block not in free for block in range(slot, slot + SLOT))
            for slot in range(0, 128 * MIB // 4096, SLOT)
        )

    assert in_use(placed(base)) <= 1.2 * in_use(base)


@pytest.mark.parametrize("offset", [SLOT_BYTES, 64 * MIB])
def test_slots_are_those_of_the_disk_and_what_is_around_is_kept(base, tmp_path, offset):
    """A table before, a backup of it behind; the same places as without."""
    disk = tmp_path / "disk.img"
    made(disk, base.with_name("tree"), 128 * MIB, offset=offset)
    with disk.open("r+b") as file:
        file.write(b"table")
        file.seek(offset + 128 * MIB + MIB - 6)
        file.write(b"backup")
    assert place(disk, offset=offset)
    content = disk.read_bytes()
    assert content[:5] == b"table"
    assert content[-6:] == b"backup"
    assert not content[5:offset].strip(b"\0")
    (tmp_path / "alone.img").write_bytes(content[offset : offset + 128 * MIB])
    assert checked(tmp_path / "alone.img")
    assert seen(disk, offset) == seen(base)
    assert differing(tmp_path / "alone.img", placed(base)) == []


def test_a_file_system_that_lost_its_superblock_is_mended_from_a_backup(tmp_path):
    """The backups' counts are of an empty file system, which is what makes them stay the same; e2fsck counts anew."""
    image = placed(made(tmp_path / "root.img", system(tmp_path / "tree", 400), 300 * MIB))
    before = seen(image)
    with image.open("r+b") as file:
        file.write(bytes(2 * 4096))
    mend: list[str | Path] = ["e2fsck", "-fy", "-b", "32768", "-B", "4096", image]
    done = subprocess.run(mend, capture_output=True, env={"PATH": PATH}, check=False)
    assert done.returncode == 1, done.stdout  # errors were corrected
    assert checked(image)
    assert {name: rest for name, rest in seen(image).items() if name != "/"} == {
        name: rest for name, rest in before.items() if name != "/"
    }


@pytest.mark.parametrize("size", [32 * MIB, 100 * MIB])
@pytest.mark.parametrize("free", [0.05, 0.02, 0.002])
def test_a_disk_nearly_full_loses_nothing(tmp_path, size, free):
    """Where slots run out, gaps are used."""
    tree = system(tmp_path / "tree", 100)
    with Ext.open(made(tmp_path / "root.img", tree, size)) as fs:
        room = fs.free_blocks - int(fs.blocks * free) - 20  # and some for folders
    noise, number = random.Random(size), 0
    while room > 0:
        blocks = min(noise.choice((1, 2, 3, 9, 40, 90, 300)), room)
        plant(tree, {f"/fill/{number % 7}/{number}": noise.randbytes(blocks * 4096 - 9)})
        number, room = number + 1, room - blocks
    image = made(tmp_path / "root.img", tree, size)
    with Ext.open(image) as fs:
        assert fs.free_blocks < fs.blocks * free + 20
    target = tmp_path / "placed.img"
    shutil.copy(image, target)
    assert place(target)
    assert seen(target) == seen(image)
    assert checked(target)


def test_a_disk_too_full_stays_as_it_was(tmp_path):
    """A file in four runs must lie in one piece, its inode holds no fifth extent; and here no gap is large enough for it."""
    size = 300 * MIB
    empty = made(tmp_path / "root.img", plant(tmp_path / "tree", {"/a": b"1"}), size)
    with Ext.open(empty) as fs:
        bits = b"".join(fs.volume.block(group.block_bitmap) for group in fs.volume.groups)
    largest = max(length for _, length in gaps(bits))
    run = (largest // 4 + 10) * 4096
    content = random.Random(4).randbytes(run)
    with (tmp_path / "tree/runs").open("wb") as file:
        for number in range(4):
            file.seek(number * (run + MIB))
            file.write(content)
    image = made(tmp_path / "root.img", tmp_path / "tree", size)
    before = image.read_bytes()
    assert place(image) is False
    assert image.read_bytes() == before


def test_large_files_are_laid_in_few_extents(tmp_path):
    """Dense and sparse ones of more than 128 MiB, the most that one extent can say; the slots of such a file are in a row."""
    noise = random.Random(2)
    tree = plant(tmp_path / "tree", {"/dense": noise.randbytes(140 * MIB + 5), "/small": b"1"})
    sparse(tree / "thin", [0, 130 * MIB, 200 * MIB], size=300 * MIB)
    image = made(tmp_path / "root.img", tree, 400 * MIB)
    target = placed(image)
    assert checked(target)
    assert seen(target) == seen(image)
    told = program("debugfs", "-R", "ex /dense", target)
    assert len(re.findall(r"(?m)^ *0/ *0", told)) <= 3
    assert (tmp_path / "root.img").stat().st_size == target.stat().st_size


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-O", "metadata_csum"), "read-only compatible features 0x400"),
        (("-O", "uninit_bg"), "read-only compatible features 0x10"),
        (("-O", "64bit"), "incompatible features 0x80"),
        (("-O", "^extent,^64bit"), "no extents"),
        (("-b", "1024"), "groups of 8192 blocks of 1024 B"),
        (("-O", "orphan_file"), "compatible features 0x1000"),
    ],
)
def test_what_could_not_be_moved_safely_is_refused_untouched(tmp_path, options, said):
    image = made(tmp_path / "root.img", plant(tmp_path / "tree", {"/a": b"1"}), options=options)
    before = image.read_bytes()
    with pytest.raises(ImageFault, match="cannot be given stable places") as raised:
        place(image)
    assert said in str(raised.value)
    assert image.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["root.img"]


def test_a_beginning_that_no_slot_has_is_refused(tmp_path):
    made(tmp_path / "root.img", plant(tmp_path / "tree", {"/a": b"1"}), offset=63 * 512 + 512)
    with pytest.raises(ImageFault, match="its beginning at byte 32768, no multiple of 524288"):
        place(tmp_path / "root.img", offset=32768)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("unlink /etc/b.conf", "files that are in no folder"),
        ("freeb {block}", "a file one that is called free"),
        ("set_inode_field /etc/c.conf block[5] {block}", "have the same block"),
    ],
    ids=["orphan", "free", "shared"],
)
def test_a_file_system_that_contradicts_itself_is_a_fault(base, tmp_path, command, said):
    """Moving what is damaged would spread it."""
    image = tmp_path / "root.img"
    shutil.copy(base, image)
    block = program("debugfs", "-R", "blocks /etc/b.conf", image).split()[0]
    program("debugfs", "-w", "-R", command.format(block=block), image)
    with pytest.raises(ImageFault, match=said):
        place(image)


names = some.text("abé.09-", min_size=1, max_size=12).filter(lambda name: name.strip("."))
paths = some.lists(names, min_size=1, max_size=3).map("/".join)
contents = some.tuples(some.sampled_from([0, 1, 60, 4096, 4097, 20_000, 600_000]), some.integers(0, 9))


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(files=some.dictionaries(paths, contents, max_size=25), links=some.lists(paths, max_size=4))
def test_any_tree_survives(tmp_path_factory, files, links):
    folder = tmp_path_factory.mktemp("any")
    tree = folder / "tree"
    tree.mkdir()
    for name, (size, seed) in files.items():
        path = tree / name
        if path.is_dir() or any(parent.is_file() for parent in path.parents):
            continue
        plant(tree, {name: random.Random(seed).randbytes(size)})
    every = [path for path in sorted(tree.rglob("*")) if path.is_file()]
    for number, name in enumerate(links if every else ()):
        os.link(every[number % len(every)], tree / f"link{number}")
        (tree / f"soft{number}").symlink_to(name * (1 + number * 9))
    image = made(folder / "root.img", tree, 32 * MIB)
    target = placed(image)
    assert checked(target)
    assert seen(target) == seen(image)
    shutil.rmtree(folder)


loads = some.lists(
    some.tuples(some.sampled_from([1, 2, 3, 7, 60, 120, 128, 200, 300]), some.integers(1, 4)),
    max_size=60,
)


@settings(max_examples=200)
@given(wanted=loads, taken=some.binary(min_size=200, max_size=600), thin=some.booleans())
def test_places_are_free_disjoint_and_hold_all(wanted, taken, thin):
    """Whatever is in the way: each block of each load once, in as few pieces as it may have."""
    if thin:
        taken = taken[: len(taken) // 4] + bytes(3 * len(taken) // 4)
    before = bytearray(taken)
    items = [Load(b"%04d" % number, *rest) for number, rest in enumerate(wanted)]
    space = Space(bytearray(before), len(before) * 8)
    spots = settled(items, space)
    if spots is None:
        return
    for load, own in zip(items, spots, strict=True):
        assert 1 <= len(own) <= load.pieces
        at = 0
        for spot in own:
            assert spot.start == at
            at += spot.blocks
            for block in range(spot.at, spot.at + spot.blocks):
                assert not before[block >> 3] >> (block & 7) & 1
                flip(before, block, 1)
        assert at == load.blocks
    assert before == space.taken


@given(some.lists(some.integers(1, 9), min_size=30, max_size=300), some.randoms(use_true_random=False))
def test_chunks_are_in_step_again_soon_behind_a_change(sizes, noise):
    """One item more: every cut further away than twice the reach is where it was."""
    keys = [noise.getrandbits(64) for _ in sizes]
    here, reach = len(sizes) // 2, 40
    old = set(cuts(sizes, keys, reach))
    new = set(
        cuts(
            [*sizes[:here], 3, *sizes[here:]], [*keys[:here], noise.getrandbits(64), *keys[here:]], reach
        )
    )
    near = 2 * reach
    before = {cut for cut in old ^ new if cut <= here and sum(sizes[cut:here]) > near}
    behind = {cut for cut in old if cut > here and sum(sizes[here:cut]) > near}
    assert not before
    assert behind == {cut - 1 for cut in new if cut > here + 1 and sum(sizes[here : cut - 1]) > near}


def test_numbers_are_each_given_once_until_none_is_left():
    buckets = [[range(12, 100)], [range(100, 150), range(200, 260)]]
    names = [b"/f%d" % number for number in range(88 + 110)]
    found = numbered(names, buckets)
    assert sorted(found.values()) == [*range(12, 150), *range(200, 260)]
    with pytest.raises(ValueError, match="fewer numbers than names"):
        numbered([*names, b"/one more"], buckets)


def test_a_newcomer_displaces_few_numbers():
    buckets = [[range(at, at + 2048)] for at in range(1, 65536, 2048)]
    names = sorted(b"/usr/%d/%d" % (number % 97, number) for number in range(9000))
    before, after = numbered(names, buckets), numbered(sorted([*names, b"/usr/5/new"]), buckets)
    assert sum(before[name] != after[name] for name in names) <= 5
