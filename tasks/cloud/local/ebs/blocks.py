"""Where blocks lie: a file for each snapshot, in which they follow each other as they came, and a row that tells where each is.

A block that is written again goes to the end as well, so what was acknowledged is never written over; what no row knows is
waste, and goes with the file. A child has the rows of its parent from the start, and a file stays for as long as a row names it.
Offsets and lengths are bytes.
"""

import errno
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tasks.cloud.local.store import Store
from tasks.kit import files

SIZE = 524288  # of a block, always
GIB_BLOCKS = (1 << 30) // SIZE
SCHEMA = """
CREATE TABLE IF NOT EXISTS blocks (
    snapshot TEXT NOT NULL, idx INTEGER NOT NULL, sha256 BLOB NOT NULL, file TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (snapshot, idx)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blocks_by_file ON blocks (file);
"""


class Damaged(Exception):
    """What is stored is not what was acknowledged."""


class Block(NamedTuple):
    """`file`: the snapshot with which it came."""

    number: int
    sha256: bytes
    file: str
    at: int


def folder(store: Store) -> Path:
    return store.home / "snapshots"


def begin(store: Store, identity: str) -> None:
    """An empty file, on the disk: a block that comes later only has to bring itself there."""
    if not folder(store).exists():
        folder(store).mkdir()
        files.settle(store.home)
    os.close(os.open(folder(store) / identity, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    files.settle(folder(store))


def append(store: Store, identity: str, data: bytes) -> int:
    """Bring it to the disk; where it is. Raises FileNotFoundError when the snapshot is deleted meanwhile."""
    handle = os.open(folder(store) / identity, os.O_WRONLY | os.O_APPEND)
    try:
        put_down = os.write(handle, data)  # in one piece: nobody else's comes between
        if put_down < len(data):
            raise OSError(errno.ENOSPC, "a block was cut short", str(folder(store)))
        end = os.lseek(handle, 0, os.SEEK_CUR)
        os.fdatasync(handle)
    finally:
        os.close(handle)
    return end - len(data)


def put(db: sqlite3.Connection, snapshot: str, block: Block) -> None:
    db.execute("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?, ?)", (snapshot, *block))


def inherit(db: sqlite3.Connection, child: str, parent: str) -> None:
    db.execute(
        "INSERT INTO blocks SELECT ?, idx, sha256, file, at FROM blocks WHERE snapshot = ?",
        (child, parent),
    )


def own(db: sqlite3.Connection, snapshot: str) -> tuple[int, bytes]:
    """Of those that came with it: how many, and the SHA-256 of their digests in the order of their indices."""
    count, total = 0, hashlib.sha256()
    for (digest,) in db.execute(
        "SELECT sha256 FROM blocks WHERE snapshot = ? AND file = snapshot ORDER BY idx", (snapshot,)
    ):
        count += 1
        total.update(digest)
    return count, total.digest()


def page(db: sqlite3.Connection, snapshot: str, start: int, limit: int) -> list[Block]:
    rows = db.execute(
        "SELECT idx, sha256, file, at FROM blocks WHERE snapshot = ? AND idx >= ? ORDER BY idx LIMIT ?",
        (snapshot, start, limit),
    )
    return [Block(*row) for row in rows]


def find(db: sqlite3.Connection, snapshot: str, index: int) -> Block | None:
    found = page(db, snapshot, index, 1)
    return found[0] if found and found[0].number == index else None


def changed(
    db: sqlite3.Connection, first: str, second: str, start: int, limit: int
) -> list[tuple[int, bool, bool]]:
    """Those that differ: index, whether the first has it, whether the second has it."""
    rows = db.execute(
        "SELECT idx, MAX(sha256) FILTER (WHERE snapshot = :first) AS one,"
        " MAX(sha256) FILTER (WHERE snapshot = :second) AS other FROM blocks"
        " WHERE snapshot IN (:first, :second) AND idx >= :start"
        " GROUP BY idx HAVING one IS NOT other ORDER BY idx LIMIT :limit",
        {"first": first, "second": second, "start": start, "limit": limit},
    )
    return [(index, one is not None, other is not None) for index, one, other in rows]


def content(store: Store, block: Block) -> bytes:
    """As it is stored. Raises Damaged when there is not so much."""
    try:
        with (folder(store) / block.file).open("rb", buffering=0) as file:
            data = os.pread(file.fileno(), SIZE, block.at)
    except FileNotFoundError:
        data = b""
    if len(data) != SIZE:
        raise Damaged(f"block {block.number} of {block.file} is gone")
    return data


def drop(store: Store, snapshot: str) -> list[Path]:
    """Its rows; which files then have none."""
    held = _files(store.db, snapshot) | {snapshot}
    store.db.execute("DELETE FROM blocks WHERE snapshot = ?", (snapshot,))
    return [folder(store) / name for name in held if not _used(store.db, name)]


def _files(db: sqlite3.Connection, snapshot: str) -> set[str]:
    rows = db.execute("SELECT DISTINCT file FROM blocks WHERE snapshot = ?", (snapshot,))
    return {name for (name,) in rows}


def _used(db: sqlite3.Connection, name: str) -> bool:
    """By a row, or by a snapshot that may yet get some."""
    return bool(
        db.execute(
            "SELECT EXISTS (SELECT 1 FROM blocks WHERE file = :name)"
            " OR EXISTS (SELECT 1 FROM things WHERE kind = 'snapshot' AND id = :name)",
            {"name": name},
        ).fetchone()[0]
    )


def sweep(store: Store) -> None:
    """What a killed server left: files of snapshots that it did not get to make, or had deleted."""
    for path in _present(store):
        if not _used(store.db, path.name):
            path.unlink()


def _present(store: Store) -> Iterator[Path]:
    if folder(store).is_dir():
        yield from list(folder(store).iterdir())
