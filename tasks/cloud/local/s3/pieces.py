"""What objects and uploads are made of: files, and a row for each."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.cloud.local.call import Call
from tasks.cloud.local.s3 import shelf
from tasks.cloud.local.store import Store

FIELDS = "number, file, made, size, etag, sums"


@dataclass(frozen=True)
class Piece:
    """`sums`: by algorithm, in base64."""

    number: int
    file: str
    made: float
    size: int
    etag: str
    sums: dict[str, str]


def of(store: Store, holder: str, after: int = 0, limit: int = -1) -> Iterator[Piece]:
    rows = store.db.execute(
        f"SELECT {FIELDS} FROM s3_pieces WHERE holder = ? AND number > ? ORDER BY number LIMIT ?",  # noqa: S608 - our own words
        (holder, after, limit),
    )
    return (
        Piece(number, file, made, size, etag, json.loads(sums))
        for number, file, made, size, etag, sums in rows
    )


def add(call: Call, holder: str, number: int, sums: dict[str, str]) -> Piece:
    """The request's body, in the place of what had this number."""
    etag = base64.b64decode(call.body.sums("MD5")["MD5"]).hex()
    piece = Piece(number, shelf.new_name(), float(int(call.now)), call.body.size, etag, sums)
    if not any(
        call.asked.unseen()
    ):  # else the call is going to be refused, and nothing of it is to be left
        call.body.keep(shelf.path(call.store, piece.file))
    drop(call, holder, number)
    put(call.store, holder, piece)
    return piece


def put(store: Store, holder: str, piece: Piece) -> None:
    row = (holder, *vars(piece).values())[:-1]
    store.db.execute(
        "INSERT INTO s3_pieces VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, json.dumps(piece.sums))
    )


def drop(call: Call, holder: str, *numbers: int) -> None:
    """Those, or all of them."""
    which = "AND number IN (SELECT value FROM json_each(?))" if numbers else "AND ? IS NOT NULL"
    rows = call.store.db.execute(
        f"DELETE FROM s3_pieces WHERE holder = ? {which} RETURNING file",  # noqa: S608 - our own words
        (holder, json.dumps(numbers)),
    ).fetchall()
    paths = tuple(shelf.path(call.store, row[0]) for row in rows)
    call.then.append(lambda: shelf.discard(paths))


def stream(store: Store, holder: str, start: int, size: int) -> shelf.Stream:
    """The data from `start` on, though they be deleted meanwhile."""
    found = tuple(of(store, holder))
    paths = tuple(shelf.path(store, each.file) for each in found)
    return shelf.Stream(shelf.Lease(paths), tuple(each.size for each in found), start, size)
