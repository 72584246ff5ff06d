"""A snapshot as a volume sees it: what was written, and nothing about what was not."""

import hashlib
from collections.abc import Iterator

from tasks.cloud.local.ebs import blocks
from tasks.cloud.local.ebs.blocks import Block, Damaged
from tasks.cloud.local.ebs.snapshots import KIND
from tasks.cloud.local.store import Store, anybody

ROWS = 1000  # that are looked up at a time


def written(store: Store, snapshot: str) -> Iterator[tuple[int, bytes]]:
    """Its blocks and those of its parents, by ascending index. Raises Damaged when one is not what was acknowledged."""
    with store.lock:
        if anybody(store, KIND, snapshot) is None:
            raise Damaged(f"{snapshot} is gone")
    for block in _all(store, snapshot):
        data = blocks.content(store, block)
        if hashlib.sha256(data).digest() != block.sha256:
            raise Damaged(f"block {block.number} of {snapshot} is not what was written")
        yield block.number, data


def _all(store: Store, snapshot: str) -> Iterator[Block]:
    start = 0
    while True:
        with store.lock:
            found = blocks.page(store.db, snapshot, start, ROWS)
        yield from found
        if len(found) < ROWS:
            return
        start = found[-1].number + 1
