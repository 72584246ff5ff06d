"""What a completed snapshot holds: which blocks, which of them differ from another's, and the blocks themselves."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.ebs import blocks, snapshots, tokens
from tasks.cloud.local.ebs.blocks import Block, Damaged
from tasks.cloud.local.ebs.service import SERVICE, invalid, within, wrong
from tasks.cloud.local.refusal import Refusal

PAGE = (100, 10000)  # blocks of a page: the least, the most, and the usual


@SERVICE.operation
def list_snapshot_blocks(call: Call) -> Answer:
    identity = call.asked["SnapshotId"]
    thing = snapshots.readable(call, identity)
    until = call.now + tokens.BLOCK_LIFE
    start, limit = _start(call, identity), _limit(call)
    found = blocks.page(call.store.db, identity, start, limit + 1)
    listed = [
        {"BlockIndex": each.number, "BlockToken": tokens.block(identity, each.number, until)}
        for each in found[:limit]
    ]
    return {
        "Blocks": listed,
        **_around(thing["VolumeSize"], until),
        **_more(call, identity, [each.number for each in found[limit:]]),
    }


@SERVICE.operation
def list_changed_blocks(call: Call) -> Answer:
    """Each block has the tokens of those snapshots that have it."""
    first, second = call.get("FirstSnapshotId"), call.asked["SecondSnapshotId"]
    if not first:
        raise wrong("FirstSnapshotId must be given, with SecondSnapshotId")
    one, other = snapshots.readable(call, first), snapshots.readable(call, second)
    if one["Line"] != other["Line"]:
        raise invalid("UNRELATED_SNAPSHOTS", f"'{first}' and '{second}' do not come from one volume.")
    listing, until = f"{first} {second}", call.now + tokens.BLOCK_LIFE
    start, limit = _start(call, listing), _limit(call)
    found = blocks.changed(call.store.db, first, second, start, limit + 1)
    return {
        "ChangedBlocks": [
            {
                "BlockIndex": index,
                **({"FirstBlockToken": tokens.block(first, index, until)} if before else {}),
                **({"SecondBlockToken": tokens.block(second, index, until)} if after else {}),
            }
            for index, before, after in found[:limit]
        ],
        **_around(other["VolumeSize"], until),
        **_more(call, listing, [index for index, _, _ in found[limit:]]),
    }


def _start(call: Call, listing: str) -> int:
    """With a page's token, the index asked for does not count."""
    start: int = call.get("StartingBlockIndex", 0)
    token = call.get("NextToken")
    return tokens.start_of(token, f"{call.operation} {listing}", call.now) if token else start


def _limit(call: Call) -> int:
    limit: int = call.get("MaxResults", PAGE[1])
    within(limit, "MaxResults", *PAGE)
    return limit


def _more(call: Call, listing: str, rest: list[int]) -> Answer:
    return {"NextToken": tokens.page(f"{call.operation} {listing}", rest[0], call.now)} if rest else {}


def _around(size: int, until: float) -> Answer:
    expiry = datetime.fromtimestamp(until, UTC)
    return {"VolumeSize": size, "BlockSize": blocks.SIZE, "ExpiryTime": expiry}


@SERVICE.slow
def get_snapshot_block(call: Call) -> Callable[[], Answer]:
    """As it is stored; whether it is what was acknowledged, the check sum tells."""
    with call.store.lock:
        found = _asked_for(call)
    try:
        data = blocks.content(call.store, found)
    except Damaged as damage:
        raise Refusal("InternalServerException", f"{damage}", 500) from None
    return lambda: {
        "DataLength": blocks.SIZE,
        "BlockData": Content(data),
        "Checksum": base64.b64encode(found.sha256).decode(),
        "ChecksumAlgorithm": "SHA256",
    }


def _asked_for(call: Call) -> Block:
    identity, index = call.asked["SnapshotId"], call.asked["BlockIndex"]
    thing = snapshots.readable(call, identity)
    if index >= thing["VolumeSize"] * blocks.GIB_BLOCKS:
        raise invalid("INVALID_BLOCK", f"Block {index} lies behind the end of the volume.")
    found = blocks.find(call.store.db, identity, index)
    if found is None:
        raise Refusal(
            "ResourceNotFoundException", f"Block {index} of '{identity}' was never written.", 404
        )
    tokens.check_block(call.asked["BlockToken"], identity, index, call.now)
    return found


@dataclass(frozen=True)
class Content:
    """What follows the head of a reply."""

    data: bytes
    size: int = blocks.SIZE

    def __iter__(self) -> Iterator[bytes]:
        yield self.data
