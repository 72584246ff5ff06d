"""Snapshots of a local cloud, made block by block as a client does."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.localcloud import LocalCloud

SIZE = 524288  # bytes of a block


def content(word: str) -> bytes:
    """A block that is full of it."""
    return (word.encode() * SIZE)[:SIZE]


def checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def aggregate(blocks: Mapping[int, str]) -> str:
    digests = [hashlib.sha256(content(blocks[index])).digest() for index in sorted(blocks)]
    return checksum(b"".join(digests))


def put(ebs: Any, snapshot: str, index: int, word: str, **other: Any) -> Any:
    asked = {
        "SnapshotId": snapshot, "BlockIndex": index, "BlockData": content(word), "DataLength": SIZE,
        "Checksum": checksum(content(word)), "ChecksumAlgorithm": "SHA256",
    }  # fmt: skip
    return ebs.put_snapshot_block(**{**asked, **other})


def started(ebs: Any, blocks: Mapping[int, str] | None = None, **asked: Any) -> str:
    """One that is pending, with these blocks."""
    snapshot = str(ebs.start_snapshot(**{"VolumeSize": 1, **asked})["SnapshotId"])
    for index, word in (blocks or {}).items():
        put(ebs, snapshot, index, word)
    return snapshot


def made(ebs: Any, blocks: Mapping[int, str], **asked: Any) -> str:
    """One that is completed, with these blocks."""
    snapshot = started(ebs, blocks, **asked)
    ebs.complete_snapshot(
        SnapshotId=snapshot, ChangedBlocksCount=len(blocks), Checksum=aggregate(blocks),
        ChecksumAlgorithm="SHA256", ChecksumAggregationMethod="LINEAR",
    )  # fmt: skip
    return snapshot


def held(ebs: Any, snapshot: str) -> dict[int, str]:
    """All that it gives, in its own order: the block's index and its letter. Each is found to be what its check sum says."""
    found = {}
    for each in ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"]:
        block = ebs.get_snapshot_block(SnapshotId=snapshot, **each)
        data = block["BlockData"].read()
        assert checksum(data) == block["Checksum"]
        assert len(data) == block["DataLength"] == SIZE
        found[each["BlockIndex"]] = data[:1].decode()
    return found


def files(cloud: LocalCloud) -> set[str]:
    """What is on the disk, by name."""
    return {each.name for each in (cloud.home / "snapshots").iterdir()}


def reason(call: Any, *given: Any, **asked: Any) -> str:
    """Why EBS refuses: the reason, or the code where there is none."""
    with pytest.raises(ClientError) as caught:
        call(*given, **asked)
    response = caught.value.response
    return str(response.get("Reason") or response["Error"]["Code"])
