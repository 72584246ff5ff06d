"""Which blocks a new snapshot has to be sent: all of an image's, or what differs from the snapshot that it becomes a child of.

A child has every block of its parent from the start. So a block that the parent holds, and that nobody reads any more, is
sent too, as zeros: the old image's data is nobody's business, and would be copied with every child. Sizes are bytes.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tasks.kit import files
from tasks.spec.record import BlockList, Record


class Ledger(Record):
    """What a completed snapshot holds in every block that was ever written in its line: its own, and what it was born with.

    `encrypted` and `kms_key` are as they were wished for: a child is encrypted as its parent is.
    """

    version: int = 1
    account: str
    region: str
    cloud_id: str  # the local cloud that holds it; nothing on AWS
    image: str
    snapshot: str
    encrypted: bool
    kms_key: str | None
    block_size: int
    volume_size: int
    blocks: tuple[tuple[int, str], ...]  # index and SHA-256, by ascending index


@dataclass(frozen=True)
class Write:
    """One block on its way. Zeros are not read from the image: there, something that nobody reads may lie in their place."""

    index: int
    sha256: str
    zeros: bool = False


@dataclass(frozen=True)
class Delta:
    """What to send, and the snapshot to send it to a child of ("" where there is none)."""

    parent: str
    block_size: int
    writes: tuple[Write, ...]  # by ascending index

    @property
    def digest(self) -> str:
        """Equal deltas have equal digests: what was acknowledged for one counts for the other."""
        said = [self.parent, self.block_size, [[each.index, each.sha256] for each in self.writes]]
        return files.digest(said)


def zeros(block_size: int) -> str:
    """The SHA-256 of a block of zeros."""
    return hashlib.sha256(bytes(block_size)).hexdigest()


def whole(blocks: BlockList) -> Delta:
    return Delta("", blocks.block_size, tuple(Write(*each) for each in blocks.blocks))


def against(blocks: BlockList, parent: Ledger) -> Delta:
    """What differs from the parent. At least one block: whether EBS completes a snapshot without any is not documented."""
    nothing, held = zeros(blocks.block_size), dict(parent.blocks)
    wanted = dict(blocks.blocks)
    writes = [Write(index, sha256) for index, sha256 in blocks.blocks if held.get(index) != sha256]
    writes += [
        Write(index, nothing, zeros=True)
        for index, sha256 in parent.blocks
        if index not in wanted and sha256 != nothing
    ]
    writes = writes or [Write(*each) for each in blocks.blocks[:1]]
    return Delta(parent.snapshot, blocks.block_size, tuple(sorted(writes, key=lambda each: each.index)))


def after(blocks: BlockList, parent: Ledger | None) -> tuple[tuple[int, str], ...]:
    """What the snapshot holds in the end: the image's blocks, and zeros where the parent had something else."""
    wanted, nothing = dict(blocks.blocks), zeros(blocks.block_size)
    cleared = {index: nothing for index, _ in (parent.blocks if parent else ()) if index not in wanted}
    return tuple(sorted({**cleared, **wanted}.items()))


def misfit(blocks: BlockList, parent: Ledger, *, account: str, region: str, cloud_id: str) -> str:
    """Why a snapshot that is known by its ledger can be no parent, whatever the cloud says of it; or nothing."""
    place = (parent.account, parent.region, parent.cloud_id)
    if place != (account, region, cloud_id):
        return f"it is in account {parent.account}, {parent.region}"
    if parent.block_size != blocks.block_size:
        return f"its blocks have {parent.block_size} bytes"
    if parent.volume_size > blocks.volume_size:
        return "it is larger, and a volume does not shrink"
    return ""


def unsent(writes: Iterable[Write], acknowledged: Mapping[int, str]) -> list[Write]:
    return [each for each in writes if acknowledged.get(each.index) != each.sha256]


def aggregate(writes: Iterable[Write]) -> str:
    """EBS's LINEAR checksum: over the SHA-256 of every block that was sent, in the order of their indices; in base64."""
    total = hashlib.sha256()
    for each in sorted(writes, key=lambda write: write.index):
        total.update(bytes.fromhex(each.sha256))
    return base64.b64encode(total.digest()).decode()
