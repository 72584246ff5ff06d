"""How a snapshot comes to be: started, filled block by block, completed. One that is left alone for too long is given up."""

import base64
import re
from collections.abc import Callable
from typing import Any

from tasks.cloud.local.call import Answer, Call, once
from tasks.cloud.local.ebs import blocks, snapshots
from tasks.cloud.local.ebs.blocks import Block
from tasks.cloud.local.ebs.service import SERVICE, absent, invalid, within, wrong
from tasks.cloud.local.ebs.snapshots import KIND
from tasks.cloud.local.kms import keys
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Thing

LARGEST = 65536  # GiB
PENDING = 100  # snapshots that an account may have pending (docs.aws.amazon.com, EBS quotas)
TIMEOUT = (10, 60, 4320)  # minutes: the least, the usual, the most
TAGS = 50
LONGEST_DESCRIPTION = 255
KEY = re.compile(r"arn:aws[a-z\-]*:kms:.*:[0-9]{12}:key/.*")
NO_VOLUME = "vol-ffffffff"  # what EC2 shows where there was no volume


@SERVICE.operation
def start_snapshot(call: Call) -> Answer:
    conflict = Refusal("ConflictException", "The client token was used before, by another request.", 409)
    return once(call, call.get("ClientToken"), conflict, lambda: _started(call))


def _started(call: Call) -> Answer:
    parent = call.get("ParentSnapshotId")
    timeout = call.get("Timeout", TIMEOUT[1])
    within(timeout, "Timeout", TIMEOUT[0], TIMEOUT[2])
    above = _parent(call, parent) if parent else None
    identity = snapshots.new_id()
    thing = {
        "SnapshotId": identity,
        "OwnerId": call.account,
        "VolumeId": NO_VOLUME,
        "VolumeSize": _size(call, above),
        "Description": _description(call),
        "StartTime": call.now,
        "Progress": 0,
        "Tags": _tags(call),
        **_encryption(call, above),
        "Parent": parent,
        "Line": above["Line"] if above else identity,
        "Timeout": timeout,
        "Touched": call.now,
        "Sealed": None,
        "Users": [],
        "Groups": [],
    }
    _not_too_many(call)
    blocks.begin(call.store, identity)
    call.things(KIND).add(identity, thing)
    if parent:
        blocks.inherit(call.store.db, identity, parent)
    same = ("SnapshotId", "OwnerId", "VolumeSize", "StartTime", "Tags")
    answer = {
        **{name: thing[name] for name in same},
        "Status": "pending",
        "BlockSize": blocks.SIZE,
        "Description": thing["Description"] or None,
        "ParentSnapshotId": parent,
        "KmsKeyArn": thing["KmsKeyId"],
    }
    return {name: value for name, value in answer.items() if value is not None}


def _parent(call: Call, identity: str) -> Thing:
    found = snapshots.owned(call, identity)
    if snapshots.state(call.store, found, call.now) != "completed":
        raise invalid("INVALID_SNAPSHOT_ID", f"The parent snapshot '{identity}' is not completed.")
    return found


def _size(call: Call, parent: Thing | None) -> int:
    size: int = call.asked["VolumeSize"]
    least = parent["VolumeSize"] if parent else 1
    if not least <= size <= LARGEST:
        raise invalid(
            "INVALID_VOLUME_SIZE",
            f"The volume size is {size} GiB; it must be from {least} to {LARGEST}.",
        )
    return size


def _description(call: Call) -> str:
    text: str = call.get("Description", "")
    if len(text) > LONGEST_DESCRIPTION:
        raise wrong(f"Description has {len(text)} characters; it may have {LONGEST_DESCRIPTION}")
    return text


def _tags(call: Call) -> list[dict[str, str]]:
    tags = [{"Key": tag.get("Key", ""), "Value": tag.get("Value", "")} for tag in call.get("Tags", ())]
    keys = [tag["Key"] for tag in tags]
    if len(tags) > TAGS:
        raise invalid("INVALID_TAG", f"A snapshot may have {TAGS} tags")
    if len(set(keys)) < len(keys):
        raise invalid("INVALID_TAG", "Two tags have the same key")
    for tag in tags:
        if not 0 < len(tag["Key"]) <= 127 or len(tag["Value"]) > 255:  # noqa: PLR2004 - the model's own
            raise invalid("INVALID_TAG", f"The tag '{tag['Key']}' is too long, or has no key")
        if tag["Key"].lower().startswith("aws:"):
            raise invalid(
                "INVALID_TAG", f"The tag '{tag['Key']}': keys that begin with aws: are reserved"
            )
    return tags


def _encryption(call: Call, parent: Thing | None) -> dict[str, Any]:
    """As the user guide's table has it ("Encryption outcomes for EBS direct APIs"), for an account that does not encrypt by default."""
    asked, key = call.asked.get("Encrypted"), call.get("KmsKeyArn")
    if key and not KEY.fullmatch(key):
        raise invalid("INVALID_CUSTOMER_KEY", f"'{key}' is no ARN of a KMS key.")
    if parent and (asked is not None or key):
        raise wrong(
            "A snapshot with a parent is encrypted as its parent is: leave out Encrypted and KmsKeyArn"
        )
    if parent:
        return {"Encrypted": parent["Encrypted"], "KmsKeyId": parent["KmsKeyId"]}
    if asked is False and key:
        raise wrong("KmsKeyArn is for a snapshot that is encrypted")
    if not (asked or key):
        return {"Encrypted": False, "KmsKeyId": None}
    return {"Encrypted": True, "KmsKeyId": _key(call, key)}


def _key(call: Call, asked: str | None) -> str:
    """The ARN of the key, if it can be used now.

    Which of its errors EBS has for which trouble is documented nowhere; its model has a reason for a key that is wrong, and
    one for a service behind it that denies, which is what KMS does about other accounts' keys, whether they exist or not.
    """
    if asked is None:
        return keys.default_key(call.account, call.region)
    arn, trouble = keys.usable(call.store, call.account, call.region, asked)
    if trouble == "foreign":
        fields = {"Reason": "DEPENDENCY_ACCESS_DENIED"}
        raise Refusal(
            "AccessDeniedException", f"Access to the KMS key '{asked}' is denied.", 403, fields
        )
    if trouble:
        said = {"elsewhere": "lies in another region", "disabled": "is disabled"}.get(
            trouble, "does not exist"
        )
        raise invalid("INVALID_CUSTOMER_KEY", f"The KMS key '{asked}' {said}.")
    return arn


def _not_too_many(call: Call) -> None:
    held = call.things(KIND).all()
    if sum(snapshots.state(call.store, each, call.now) == "pending" for each in held) >= PENDING:
        raise Refusal(
            "ConcurrentLimitExceededException", f"The account has {PENDING} pending snapshots already."
        )


@SERVICE.slow
def put_snapshot_block(call: Call) -> Callable[[], Answer]:
    """The block is on the disk before its row."""
    identity, index = call.asked["SnapshotId"], call.asked["BlockIndex"]
    with call.store.lock:
        thing = snapshots.writable(call, identity)
    if index >= thing["VolumeSize"] * blocks.GIB_BLOCKS:
        raise invalid("INVALID_BLOCK", f"Block {index} lies behind the end of the volume.")
    within(call.get("Progress"), "Progress", 0, 100)
    digest = _verified(call)
    try:
        at = blocks.append(call.store, identity, call.body.read())
    except FileNotFoundError:
        raise absent(identity) from None
    return lambda: _put(call, identity, Block(index, digest, identity, at))


def _verified(call: Call) -> bytes:
    if call.asked["DataLength"] != blocks.SIZE:
        raise wrong(f"DataLength is {call.asked['DataLength']}; a block has {blocks.SIZE} bytes")
    if call.body.size != blocks.SIZE:
        raise wrong("Failed to read block data")
    digest = bytes.fromhex(call.body.sha256)
    if call.asked["Checksum"] != base64.b64encode(digest).decode():
        raise wrong("The checksum of the block is not the one that the request tells.")
    return digest


def _put(call: Call, identity: str, block: Block) -> Answer:
    thing = snapshots.writable(call, identity)
    blocks.put(call.store.db, identity, block)
    thing |= {"Touched": call.now, "Progress": call.get("Progress", thing["Progress"])}
    call.things(KIND).save(identity, thing)
    return {"Checksum": call.asked["Checksum"], "ChecksumAlgorithm": call.asked["ChecksumAlgorithm"]}


@SERVICE.operation
def complete_snapshot(call: Call) -> Answer:
    """Again, it is the same answer."""
    identity = call.asked["SnapshotId"]
    thing = snapshots.owned(call, identity)
    if snapshots.state(call.store, thing, call.now) == "error":
        raise invalid("INVALID_SNAPSHOT_ID", f"The snapshot '{identity}' was given up.")
    count, digest = blocks.own(call.store.db, identity)
    if call.asked["ChangedBlocksCount"] != count:
        raise wrong(
            f"ChangedBlocksCount is {call.asked['ChangedBlocksCount']}; {count} blocks were written."
        )
    _aggregate(call, base64.b64encode(digest).decode())
    if thing["Sealed"] is None:
        thing |= {"Sealed": call.now, "Progress": 100}
        call.things(KIND).save(identity, thing)
    return {"Status": snapshots.state(call.store, thing, call.now)}


def _aggregate(call: Call, found: str) -> None:
    names = ("Checksum", "ChecksumAlgorithm", "ChecksumAggregationMethod")
    told = [call.get(name) for name in names]
    if any(told) and not all(told):
        raise wrong(f"{', '.join(names)}: all of them, or none")
    if told[0] not in (None, found):
        raise wrong("The checksum of the snapshot is not the one that the request tells.")
