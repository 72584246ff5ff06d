"""The files that data lie in: under names that say nothing, each until no row knows it and nobody reads it."""

import secrets
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tasks.cloud.local.store import Store
from tasks.kit import files

FOLDER = "s3"
_lock = threading.RLock()  # a lease may end anywhere, even while one begins in the same thread
_readers: Counter[Path] = Counter()
_unwanted: set[Path] = set()


def path(store: Store, name: str) -> Path:
    return store.home / FOLDER / name


def new_name() -> str:
    return secrets.token_hex(16)


class Lease:
    """While it lives its files stay. Take it while the rows are sure to be there: inside of a change, or under the lock."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self.paths = paths
        with _lock:
            _readers.update(paths)
        weakref.finalize(self, _release, paths).atexit = False


def _release(paths: tuple[Path, ...]) -> None:
    with _lock:
        for each in paths:
            _readers[each] -= 1
            if not _readers[each]:
                del _readers[each]
                if each in _unwanted:
                    _unwanted.discard(each)
                    each.unlink(missing_ok=True)


def discard(paths: tuple[Path, ...]) -> None:
    """No row knows them any more: after the change."""
    with _lock:
        for each in paths:
            if each in _readers:
                _unwanted.add(each)
            else:
                each.unlink(missing_ok=True)


class Stream:
    """`size` bytes of several files as if they were one, from `start` on. Nothing of it is in memory before it is asked for."""

    def __init__(self, lease: Lease, sizes: tuple[int, ...], start: int, size: int) -> None:
        self.lease, self.sizes, self.start, self.size = lease, sizes, start, size

    def __iter__(self) -> Iterator[bytes]:
        skip, left = self.start, self.size
        for file, length in zip(self.lease.paths, self.sizes, strict=True):
            if skip < length and left:
                take = min(length - skip, left)
                yield from _read(file, skip, take)
                left -= take
            skip = max(0, skip - length)


def _read(file: Path, start: int, left: int) -> Iterator[bytes]:
    with file.open("rb", buffering=0) as opened:
        opened.seek(start)
        while left:
            data = opened.read(min(files.CHUNK, left))
            if not data:
                raise EOFError(file)
            yield data
            left -= len(data)


def sweep(store: Store) -> None:
    """Remove what was kept, or no longer wanted, when we were killed. At the start alone: later, files come before rows."""
    folder = store.home / FOLDER
    folder.mkdir(exist_ok=True)
    for each in folder.iterdir():
        known = store.db.execute("SELECT 1 FROM s3_pieces WHERE file = ?", (each.name,)).fetchone()
        if not known:
            each.unlink()
