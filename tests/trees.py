"""Small trees and the file systems that mke2fs makes of them: what the reader of file systems is tried on."""

import os
import random
import subprocess
from contextlib import suppress
from pathlib import Path

from tasks.kit.proc import PATH

EPOCH = 1_700_000_000
LONG_NAME = "n" * 255
LONG_TARGET = "/".join(["far"] * 40)
MANY = 5000

# What each file system shows: blocks of each size, both kinds of block map, both sizes of inodes and of descriptors.
KINDS = {
    "ext2": ("-t", "ext2", "-b", "1024", "-I", "128"),
    "ext3": ("-t", "ext3", "-b", "1024", "-I", "128", "-O", "^dir_index,^resize_inode"),
    "ext3 of 4 KiB": ("-t", "ext3", "-b", "4096", "-I", "256"),
    "ext4": ("-t", "ext4", "-b", "4096", "-O", "metadata_csum,64bit"),
    "ext4 of 1 KiB": ("-t", "ext4", "-b", "1024", "-O", "^64bit,^metadata_csum,uninit_bg"),
}


def program(*argv: str | Path, **env: str) -> str:
    """What a program says; it must end well."""
    done = subprocess.run(
        list(map(str, argv)),
        check=True,
        capture_output=True,
        env={"PATH": PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC", **env},
    )
    return done.stdout.decode(errors="surrogateescape")


def plant(root: Path, files: dict[str, bytes | str]) -> Path:
    """A tree of files; text is where a link points to."""
    for name, content in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.symlink_to(content)
        else:
            path.write_bytes(content)
    return root


def varied(root: Path) -> Path:
    """A tree with one of everything."""
    noise = random.Random(1)
    plant(
        root,
        {
            "/boot/vmlinuz-6.1.0": b"kernel" * 1000,
            "/vmlinuz": "boot/vmlinuz-6.1.0",
            "/etc/hostname": b"there\n",
            "/etc/empty": b"",
            "/etc/upwards": "../../../boot/../etc/hostname",
            "/usr/bin/sh": b"#!",
            "/bin": "usr/bin",
            "/absolute": "/usr/bin",
            "/far": LONG_TARGET,
            "/nothing": "no/such/file",
            "/loop/a": "b",
            "/loop/b": "a",
            f"/{LONG_NAME}": b"long",
            "/grüße/naïve": "ü".encode(),
            "/large": noise.randbytes(
                5_000_001
            ),  # beyond the first block of pointers, and into the second level
        },
    )
    (root / "sub/deep/deeper").mkdir(parents=True)
    (root / "sub/setuid").write_bytes(b"x")
    (root / "sub/setuid").chmod(0o4755)
    os.link(root / "etc/hostname", root / "sub/hard")
    os.mkfifo(root / "sub/pipe", 0o600)
    Path(os.fsdecode(bytes(root) + b"/latin\xe9")).write_bytes(b"old")
    sparse(root / "holes", [0, 1 << 20, 3 << 20], size=(3 << 20) + 12345)
    sparse(
        root / "threefold", [5 << 20, 70 << 20], size=71 << 20
    )  # 1 KiB blocks: past 64 MiB, three levels
    sparse(
        root / "scattered", range(0, 1200 * 8192, 8192), size=1200 * 8192
    )  # more extents than one node holds
    with suppress(OSError):  # this host's file system may have none
        os.setxattr(root / "etc/hostname", "user.note", b"kept" * 20)
    return root


def sparse(path: Path, offsets, *, size: int) -> None:
    with path.open("wb") as file:
        for offset in offsets:
            file.seek(offset)
            file.write(offset.to_bytes(8, "little") * 4)
        file.truncate(size)


def many(root: Path) -> Path:
    for number in range(MANY):
        (root / f"crowd/file number {number}").parent.mkdir(parents=True, exist_ok=True)
        (root / f"crowd/file number {number}").write_bytes(b"%d" % number if number % 50 == 0 else b"")
    return root


def mke2fs(
    image: Path, tree: Path, kind: str = "ext4", *, size: int = 32 << 20, offset: int = 0
) -> Path:
    """A file system made of a tree, as the stage `img` makes it."""
    with image.open("wb") as file:
        file.truncate(offset + size)
    extended = f"hash_seed=66666666-7777-8888-9999-aaaaaaaaaaaa,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,offset={offset}"
    program(
        *("mke2fs", "-q", "-F", *KINDS[kind], "-N", "8192", "-L", "root"),
        *(
            "-U",
            "11111111-2222-3333-4444-555555555555",
            "-E",
            extended,
            "-d",
            tree,
            image,
            f"{size >> 10}k",
        ),
        E2FSPROGS_FAKE_TIME=str(EPOCH),
    )
    return image
