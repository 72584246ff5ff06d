"""How much of an image must be sent again after a change, with and without stable places: python tests/bench/bench_delta.py ROOTFS.TAR

Takes a Debian root file system (default: what `build/` has), makes of it and of changed copies a file system of 2 GiB less 64 MiB, and
counts the 512 KiB blocks that a child of the first snapshot must be sent: those in use whose bytes differ, and those that are in use in
one of the two alone. `new` is the content that is new, in blocks: no layout sends less. `--deb` takes a package that is installed for
the row `package added` (with dpkg, as root); without it, one is made up. Ends with 1 when places cost more than 15 % of blocks at first.
"""

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

HOUSE = Path(__file__).parents[2]
sys.path.insert(0, str(HOUSE))

from tasks.kit.extlayout import Volume, volume  # noqa: E402
from tasks.kit.extplace import place  # noqa: E402

OFFSET, SIZE = 64 << 20, (2 << 30) - (65 << 20)
BLOCK = 512 << 10
EPOCH = 1_700_000_000
COST = 1.15
NOISE = random.Random(2008)
Change = Callable[[Path], int]  # changes a tree, says how many bytes are new


def grown(path: Path, by: int, at: int = 0) -> int:
    old = path.read_bytes()
    path.write_bytes(old[:at] + NOISE.randbytes(by) + old[at:])
    return path.stat().st_size


def configured(tree: Path) -> int:
    return grown(tree / "etc/ssh/sshd_config", 1)


def added(tree: Path) -> int:
    return (tree / "etc/aaa.conf").write_bytes(NOISE.randbytes(9000))


def stretched(tree: Path) -> int:
    """A file of about 100 kB grows by two blocks of the file system."""
    every = sorted(
        path for path in (tree / "usr/share").rglob("*") if path.is_file() and not path.is_symlink()
    )
    return grown(min(every, key=lambda path: abs(path.stat().st_size - 100_000)), 8192)


def stanza(tree: Path, package: str, text: str) -> int:
    """dpkg's record of a package, between its neighbours."""
    status = tree / "var/lib/dpkg/status"
    shutil.copy2(status, status.with_name("status-old"))
    records = dict(re.findall(r"(?ms)^Package: (\S+)\n(.*?)(?:\n\n|\Z)", status.read_text()))
    records[package] = text
    status.write_text("".join(f"Package: {name}\n{records[name]}\n\n" for name in sorted(records)))
    return 2 * status.stat().st_size


def imagined(tree: Path) -> int:
    """A package as small as htop."""
    files = {
        "usr/bin/atop": 380_000,
        "usr/share/doc/atop/copyright": 5000,
        "usr/share/doc/atop/changelog.Debian.gz": 6000,
        "usr/share/man/man1/atop.1.gz": 7000,
        "usr/share/applications/atop.desktop": 3000,
        "usr/share/icons/hicolor/scalable/apps/atop.svg": 12_000,
        "usr/share/pixmaps/atop.png": 3000,
        "var/lib/dpkg/info/atop.list": 900,
        "var/lib/dpkg/info/atop.md5sums": 600,
    }
    for name, size in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(NOISE.randbytes(size))
    text = "Status: install ok installed\nArchitecture: amd64\nVersion: 1\nDescription: shows processes"
    return sum(files.values()) + stanza(tree, "atop", text)


def installed(deb: Path) -> Change:
    def change(tree: Path) -> int:
        before = {path for path in tree.rglob("*") if not path.is_symlink()}
        argv = ("dpkg", f"--root={tree}", "--force-depends", "--unpack", str(deb))
        subprocess.run(argv, check=True, capture_output=True)
        (tree / "var/log/dpkg.log").unlink(missing_ok=True)
        now = {path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()}
        return sum(path.stat().st_size for path in now - before)

    return change


def upgraded(tree: Path) -> int:
    """The files of openssh-client a little longer, and another byte in each 4 KiB; of texts only the length."""
    new = 0
    info = tree / "var/lib/dpkg/info"
    for name in (info / "openssh-client.list").read_text().split():
        path = tree / name.lstrip("/")
        if path.is_file() and not path.is_symlink() and path.resolve().is_relative_to(tree):
            content = bytearray(path.read_bytes())
            content[::4096] = NOISE.randbytes(len(content[::4096]))
            path.write_bytes(bytes(content) + NOISE.randbytes(NOISE.randrange(3000)))
            new += path.stat().st_size
    new += grown(info / "openssh-client.md5sums", 1)
    return new + stanza(tree, "openssh-client", "Status: install ok installed\nVersion: 2")


def rekerneled(tree: Path) -> int:
    """Another version: all names and all contents are new."""
    old = next((tree / "usr/lib/modules").iterdir())
    version = re.sub(r"\d+(?=\D*\d*$)", lambda found: str(int(found[0]) + 1), old.name)
    new = old.rename(old.with_name(version))
    boot = [
        path.rename(str(path).replace(old.name, version))
        for path in (tree / "boot").glob(f"*-{old.name}")
    ]
    every = [path for path in new.rglob("*") if path.is_file() and not path.is_symlink()]
    for path in (*every, *boot):
        path.write_bytes(NOISE.randbytes(int(path.stat().st_size * NOISE.uniform(0.99, 1.01))))
    return sum(path.stat().st_size for path in (*every, *boot)) + stanza(
        tree, "linux-image", "Version: 2"
    )


def removed(tree: Path) -> int:
    shutil.rmtree(tree / "usr/share/doc/perl-base")
    return 0


def made(tree: Path, image: Path) -> Path:
    """As the stage `img` makes it."""
    clamp = ("find", tree, "-newermt", f"@{EPOCH}", "-exec", "touch", "-h", "-d", f"@{EPOCH}", "{}", "+")
    subprocess.run(clamp, check=True)
    with image.open("wb") as file:
        file.truncate(OFFSET + SIZE)
    ids = "hash_seed=66666666-7777-8888-9999-aaaaaaaaaaaa,lazy_itable_init=0,lazy_journal_init=0"
    argv = ("mke2fs", "-q", "-F", "-t", "ext4", "-m", "1", "-U", "11111111-2222-3333-4444-555555555555")
    extended = ("-E", f"{ids},root_owner=0:0,nodiscard,offset={OFFSET}")
    env = os.environ | {
        "MKE2FS_CONFIG": str(HOUSE / "templates/mke2fs.conf"),
        "E2FSPROGS_FAKE_TIME": str(EPOCH),
    }
    subprocess.run((*argv, *extended, "-d", tree, image, f"{SIZE >> 10}k"), check=True, env=env)
    return image


def settle(image: Path) -> None:
    from tasks.kit.exttimes import settle_times

    settle_times(image, EPOCH, offset=OFFSET)


def in_use(fs: Volume) -> list[bool]:
    bits = b"".join(fs.block(group.block_bitmap) for group in fs.groups)
    size = BLOCK // 4096 // 8
    return [any(bits[at : at + size]) for at in range(0, fs.superblock.size // BLOCK * size, size)]


def differing(one: Path, other: Path) -> tuple[int, int]:
    """(blocks to send to the child, blocks in use of the child)."""
    with volume(one, OFFSET) as old, volume(other, OFFSET) as new:
        before, now = in_use(old), in_use(new)
        changed = sum(
            was != used or (used and old.at(at * BLOCK, BLOCK) != new.at(at * BLOCK, BLOCK))
            for at, (was, used) in enumerate(zip(before, now, strict=True))
        )
    return changed, sum(now)


def trees(base: Path, work: Path, changes: dict[str, Change]) -> Iterator[tuple[str, int, Path]]:
    for name, change in changes.items():
        tree = work / "tree"
        subprocess.run(("cp", "-a", base, tree), check=True)
        new = change(tree)
        image = made(tree, work / "child.img")
        settle(image)
        shutil.rmtree(tree)
        yield name, -(-new // BLOCK), image


def bench(tar: Path, work: Path, deb: Path | None) -> bool:
    base = work / "base"
    base.mkdir()
    subprocess.run(("tar", "-C", base, "--exclude=./dev/?*", "-xf", tar), check=True)
    plain = made(base, work / "plain.img")
    settle(plain)
    placed = work / "placed.img"
    subprocess.run(("cp", "--sparse=always", plain, placed), check=True)
    began = time.perf_counter()
    place(placed, offset=OFFSET)
    seconds = time.perf_counter() - began
    first, ours = (differing(image, image)[1] for image in (plain, placed))
    print(
        f"blocks in use: {first}, with stable places {ours} ({ours / first - 1:+.1%}); placed in {seconds:.2f} s"
    )
    print(f"{'':34} {'plain':>6} {'placed':>6} {'new':>5}")
    changes = {
        "nothing": lambda _: 0,
        "a configuration file longer": configured,
        "a new file of 9 kB in /etc": added,
        "a file of 100 kB 8 KiB longer": stretched,
        "a small folder removed": removed,
        "a small package added": installed(deb) if deb else imagined,
        "openssh-client upgraded": upgraded,
        "another kernel": rekerneled,
    }
    for name, new, image in trees(base, work, changes):
        without = differing(plain, image)[0]
        place(image, offset=OFFSET)
        print(f"{name:34} {without:6} {differing(placed, image)[0]:6} {new:5}", flush=True)
    return ours <= first * COST


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tar", type=Path, nargs="?")
    parser.add_argument("--deb", type=Path)
    parser.add_argument("--workdir", type=Path, help="some 3 GB")
    given = parser.parse_args()
    tar = given.tar or next(iter(sorted((HOUSE / "build").glob("*/rootfs.tar"))), None)
    if tar is None:
        parser.error("build/ has no rootfs.tar: give one, or run doit rootfs")
    with tempfile.TemporaryDirectory(dir=given.workdir, prefix="bench-delta-") as work:
        return 0 if bench(tar, Path(work), given.deb) else 1


if __name__ == "__main__":
    raise SystemExit(main())
