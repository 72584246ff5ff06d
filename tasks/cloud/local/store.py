"""What the local cloud holds: one SQLite file for what is known, folders beside it for what is large.

A change is on the disk before it is answered, or it was not made. Large files come first, under names that nothing knows;
the transaction that makes them known comes after. What no transaction knows is removed at the next start.
"""

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.cloud.local import door
from tasks.kit import files

SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS things (
    kind TEXT NOT NULL, account TEXT NOT NULL, region TEXT NOT NULL, id TEXT NOT NULL,
    made REAL NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, account, region, id));
CREATE INDEX IF NOT EXISTS things_by_id ON things (kind, id);
CREATE TABLE IF NOT EXISTS tokens (
    operation TEXT NOT NULL, account TEXT NOT NULL, region TEXT NOT NULL, token TEXT NOT NULL,
    asked TEXT NOT NULL, answer TEXT NOT NULL, PRIMARY KEY (operation, account, region, token));
CREATE TABLE IF NOT EXISTS faults (
    id INTEGER PRIMARY KEY, operation TEXT NOT NULL, kind TEXT NOT NULL, times INTEGER, seconds REAL NOT NULL);
"""

# Knobs, and what they are at first
SETTINGS = {
    "lag": 0.0,  # seconds until lists show what was made
    "pending": 0.0,  # seconds until what was made is more than pending
    "vcpus": 32.0,  # that an account may have running in a region
    "machines": 1000.0,  # that may run at once, whosever: less is a cloud without capacity
}

Thing = dict[str, Any]


class Store:
    """One connection, one change at a time: what is asked takes milliseconds, and what takes longer is no change."""

    def __init__(self, home: Path, *schemas: str) -> None:
        self.home = home
        self.scratch = home / "scratch"
        self.scratch.mkdir(parents=True, exist_ok=True)
        for left in self.scratch.iterdir():
            left.unlink()
        self.lock = threading.RLock()
        self.work = threading.Event()  # set when there is something to do for those who do it: machines
        self.imports = threading.Event()  # the same, for those who import snapshots
        self.db = sqlite3.connect(door.database(home), isolation_level=None, check_same_thread=False)
        self.db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
        for schema in (SCHEMA, *schemas):
            self.db.executescript(schema)
        self.id = self._identity()

    def _identity(self) -> str:
        """The cloud's own, for as long as its database lives."""
        with self.change() as db:
            db.execute("INSERT OR IGNORE INTO settings VALUES ('id', ?)", (secrets.token_hex(8),))
            found = str(db.execute("SELECT value FROM settings WHERE name = 'id'").fetchone()[0])
        files.write(door.id_file(self.home), f"{found}\n")
        return found

    def close(self) -> None:
        with self.lock:
            self.db.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """All of it, on the disk, when the block ends well; nothing of it otherwise."""
        with self.lock:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield self.db
            except BaseException:
                self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")

    def setting(self, name: str) -> float:
        with self.lock:
            row = self.db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return float(row[0]) if row else SETTINGS[name]

    def changed(self, values: Mapping[str, float]) -> dict[str, float]:
        """The settings, these among them from now on. Raises ValueError at one that there is not."""
        if strange := sorted(set(values) - set(SETTINGS)):
            raise ValueError(f"there is no setting {strange[0]!r}: write one of {', '.join(SETTINGS)}")
        rows = [(name, str(float(value))) for name, value in values.items()]
        with self.change() as db:
            db.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", rows)
        return {name: self.setting(name) for name in SETTINGS}

    def new_scratch(self) -> Path:
        return self.scratch / secrets.token_hex(12)

    def things(self, kind: str, account: str, region: str) -> "Things":
        return Things(self, kind, account, region)


class Things:
    """Those of one kind that an account has in a region: JSON by id."""

    def __init__(self, store: Store, kind: str, account: str, region: str) -> None:
        self.store, self.key = store, (kind, account, region)

    def get(self, identity: str) -> Thing | None:
        row = self.store.db.execute(
            "SELECT body FROM things WHERE kind = ? AND account = ? AND region = ? AND id = ?",
            (*self.key, identity),
        ).fetchone()
        return json.loads(row[0]) if row else None

    def all(self) -> list[Thing]:
        """In the order of their making."""
        return [body for _, body in self._rows(float("inf"))]

    def listed(self) -> list[Thing]:
        """Those that a list shows by now: it lags behind by as much as the setting `lag` says, in seconds."""
        return [body for _, body in self._rows(time.time() - self.store.setting("lag"))]

    def _rows(self, until: float) -> list[tuple[str, Thing]]:
        rows = self.store.db.execute(
            "SELECT id, body FROM things WHERE kind = ? AND account = ? AND region = ? AND made <= ?"
            " ORDER BY made, id",
            (*self.key, until),
        )
        return [(row[0], json.loads(row[1])) for row in rows]

    def add(self, identity: str, body: Mapping[str, Any]) -> None:
        self.store.db.execute(
            "INSERT INTO things VALUES (?, ?, ?, ?, ?, ?)",
            (*self.key, identity, time.time(), json.dumps(body)),
        )

    def save(self, identity: str, body: Mapping[str, Any]) -> None:
        """In the place of what was there."""
        self.store.db.execute(
            "UPDATE things SET body = ? WHERE kind = ? AND account = ? AND region = ? AND id = ?",
            (json.dumps(body), *self.key, identity),
        )

    def drop(self, identity: str) -> None:
        self.store.db.execute(
            "DELETE FROM things WHERE kind = ? AND account = ? AND region = ? AND id = ?",
            (*self.key, identity),
        )


def anybody(store: Store, kind: str, identity: str) -> tuple[str, str, Thing] | None:
    """Whoever has it, wherever: (account, region, thing)."""
    row = store.db.execute(
        "SELECT account, region, body FROM things WHERE kind = ? AND id = ?", (kind, identity)
    ).fetchone()
    return (row[0], row[1], json.loads(row[2])) if row else None


def every(store: Store, kind: str) -> list[tuple[str, str, Thing]]:
    """All of a kind, whosever: (account, region, thing)."""
    rows = store.db.execute(
        "SELECT account, region, body FROM things WHERE kind = ? ORDER BY made, id", (kind,)
    )
    return [(row[0], row[1], json.loads(row[2])) for row in rows]
