"""Files that appear whole or not at all, and what is known about them. Sizes are bytes."""

import ctypes
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHUNK = 1 << 20  # large enough that hashlib lets go of the GIL, small enough to stay in the L2 cache
GRAIN = 4096  # of a hole: what file systems call a block
ZEROS = bytes(GRAIN)


def scratch_of(path: Path) -> Path:
    """Where `path` grows before it appears. One name per target: what a killed run left is found and replaced."""
    return path.with_name(f".{path.name}.scratch")


@contextmanager
def appearing(path: Path, *, mode: int = 0o644) -> Iterator[Path]:
    """A scratch file beside `path`, which takes its place when the block ends well and is removed when it does not.

    It exists (empty, with `mode`) from the start, so that a secret is never readable by others, not even at first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = scratch_of(path)
    scratch.unlink(missing_ok=True)
    os.close(os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    try:
        yield scratch
        settle(scratch)
        scratch.replace(path)
        settle(path.parent)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def folder_for_now(path: Path) -> Iterator[Path]:
    """An empty folder for as long as it is needed; what a killed run left in it goes first."""
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def settle(path: Path) -> None:
    """Bring a file's content, or a directory's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, content: str | bytes, *, mode: int = 0o644) -> None:
    with appearing(path, mode=mode) as scratch:
        scratch.write_bytes(content.encode() if isinstance(content, str) else content)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON value, of equal values equal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def write_json(path: Path, value: Mapping[str, Any], *, mode: int = 0o644) -> None:
    write(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", mode=mode)


def exchange(new: Path, old: Path) -> None:
    """Two folders, each in the other's place at one instant; or one in a place where there is none.

    Where the file system cannot do that, `old` is missing for an instant. Across file systems `new` is copied first.
    """
    old = old.resolve()  # a link to a folder stays one
    old.parent.mkdir(parents=True, exist_ok=True)
    if new.stat().st_dev != old.parent.stat().st_dev:
        beside = scratch_of(old)
        shutil.rmtree(beside, ignore_errors=True)
        new = shutil.copytree(new, beside)
    if not old.exists():
        new.rename(old)
    elif not _exchanged(new, old):
        aside = scratch_of(new)
        old.rename(aside)
        new.rename(old)
        aside.rename(new)
    settle(old.parent)


def _exchanged(one: Path, other: Path) -> bool:
    """Whether the file system can do it, and has."""
    libc = ctypes.CDLL(None, use_errno=True)
    here = -100  # AT_FDCWD: paths are as Python takes them
    failed = libc.renameat2(here, os.fsencode(one), here, os.fsencode(other), 2)  # RENAME_EXCHANGE
    if failed and ctypes.get_errno() not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(one))
    return not failed


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a whole file."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def time_of(epoch: int, digest: str) -> int:
    """A time for what has this SHA-256, in nanoseconds: the epoch to the second, below that of the content.

    So the same content has the same time wherever it is made, and other content in its place another.
    """
    return epoch * 10**9 + int(digest[:8], 16) % 10**9


def mark(path: Path, epoch: int, digest: str) -> None:
    stamp = time_of(epoch, digest)
    os.utime(path, ns=(stamp, stamp))


def extents(handle: int, size: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of each run of 4 KiB blocks in an open file of `size` bytes that are not all zeros.

    It follows from the content alone. Where a file system says that data lies does not: that changes with a copy, with
    the file system, and on ext4 with what is in the page cache.
    """
    at = length = 0
    for offset, data in _data(handle, size):
        for within in range(0, len(data), GRAIN):
            block = data[within : within + GRAIN]
            if block == ZEROS[: len(block)]:  # the last one of a file may be short
                continue
            if at + length != offset + within:
                if length:
                    yield at, length
                at, length = offset + within, 0
            length += len(block)
    if length:
        yield at, length


def _data(handle: int, size: int) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of all that is not a hole, up to `CHUNK` at a time, from a multiple of `GRAIN` on."""
    done = 0
    for start, length in stored(handle, size):
        end = start + length
        for at in range(max(start - start % GRAIN, done), end, CHUNK):
            yield at, os.pread(handle, min(CHUNK, end - at), at)
        done = end + -end % GRAIN


def stored(handle: int, size: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of all of an open file that is not a hole. Where the file system knows no holes, that is everything."""
    at = 0
    while at < size:
        try:
            start = os.lseek(handle, at, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return
        at = min(os.lseek(handle, start, os.SEEK_HOLE), size)
        yield start, at - start
