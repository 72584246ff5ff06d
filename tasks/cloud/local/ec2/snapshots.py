"""Snapshots as EC2 shows them. They are made block by block, by EBS's direct APIs; those of volumes do not exist here."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.cloud.local.call import Answer, Asked, Call
from tasks.cloud.local.ebs import blocks
from tasks.cloud.local.ebs.snapshots import ID, KIND, anywhere, state
from tasks.cloud.local.ec2.filters import matching, plain
from tasks.cloud.local.ec2.images import IMAGE, backing
from tasks.cloud.local.ec2.service import SERVICE, invalid, paged
from tasks.cloud.local.kms.keys import default_key
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Thing, every
from tasks.cloud.local.wire.text import iso

PERMISSION = "createVolumePermission"
EVERYBODY = "all"
MODIFICATIONS = 500  # of permissions, in one request
ACCOUNT = re.compile(r"[0-9]{12}")
FILTERS = {
    **plain("description", "encrypted", "owner-id", "progress", "snapshot-id", "start-time"),
    **plain("storage-tier", "volume-id", "volume-size", "owner-alias"),
    "status": lambda shown: shown["State"],
}


@SERVICE.operation
def describe_snapshots(call: Call) -> Answer:
    """The caller's own, and those that others let them use."""
    asked = call.get("SnapshotIds", ())
    visible = {each["SnapshotId"]: each for each in _visible(call)}
    for identity in asked:
        _formed(identity)
        if identity not in visible and not _hidden(call, identity):
            raise _absent(identity)
    owners = {call.account if each == "self" else each for each in call.get("OwnerIds", ())}
    found = [
        _shown(call, each)
        for identity, each in visible.items()
        if (not asked or identity in asked) and (not owners or each["OwnerId"] in owners)
    ]
    return paged(call, matching(call, found, FILTERS), "Snapshots")


def _visible(call: Call) -> Iterator[Thing]:
    yield from call.things(KIND).listed()
    for account, region, thing in every(call.store, KIND):
        if account != call.account and region == call.region and usable_by(thing, call.account):
            yield thing


def usable_by(thing: Thing, account: str) -> bool:
    """Whether the account may make volumes and images of it."""
    return account in (thing["OwnerId"], *thing["Users"]) or EVERYBODY in thing["Groups"]


def _hidden(call: Call, identity: str) -> bool:
    """There is one, which the caller may not use: it is left out, and no error."""
    found = anywhere(call, identity)
    return found is not None and not usable_by(found, call.account)


def _shown(call: Call, thing: Thing) -> dict[str, Any]:
    names = ("SnapshotId", "OwnerId", "VolumeId", "VolumeSize", "Description", "Encrypted")
    found = {name: thing[name] for name in names} | {
        "StartTime": _time(thing["StartTime"]),
        "State": state(call.store, thing, call.now),
        "Progress": f"{thing['Progress']}%",
        "StorageTier": "standard",
    }
    if found["State"] == "completed":
        found["CompletionTime"] = _time(thing["Sealed"] + call.store.setting("pending"))
    if found["State"] == "error":
        found["StateMessage"] = f"No block was written for {thing['Timeout']} minutes"
    return found | {name: thing[name] for name in ("Tags", "KmsKeyId") if thing[name]}


def _time(at: float) -> str:
    return iso(datetime.fromtimestamp(at, UTC))


@SERVICE.operation
def delete_snapshot(call: Call) -> Answer:
    """Children keep the blocks that they have of it."""
    identity = call.asked["SnapshotId"]
    _own(call, identity)
    for user in _images(call, identity):
        raise Refusal("InvalidSnapshot.InUse", f"The snapshot {identity} is currently in use by {user}")
    remove(call, identity)
    return {}


def remove(call: Call, identity: str) -> None:
    """It, its blocks, and the files that nobody else needs."""
    call.things(KIND).drop(identity)
    spent = blocks.drop(call.store, identity)
    call.then.append(lambda: _unlink(spent))


def _unlink(spent: Iterable[Path]) -> None:
    for path in spent:
        path.unlink(missing_ok=True)


def let_go(call: Call, identity: str) -> str:
    """With an image that was made of it, and is no more: what became of it, in DeregisterImage's words."""
    if call.things(KIND).get(identity) is None:
        return "missing-permissions"
    if any(_images(call, identity)):
        return "skipped"
    remove(call, identity)
    return "success"


def completed(call: Call, identity: str) -> Thing:
    """One that the caller may make an image of. Raises Refusal."""
    _formed(identity)
    found = anywhere(call, identity)
    if found is None or not usable_by(found, call.account):
        raise _absent(identity)
    if state(call.store, found, call.now) != "completed":
        raise Refusal("IncorrectState", f"Snapshot '{identity}' is not 'completed'.")
    return found


def _images(call: Call, identity: str) -> Iterator[str]:
    """That are registered, and made of it; whosever."""
    for _, region, image in every(call.store, IMAGE):
        if region == call.region and identity in backing(image):
            yield image["ImageId"]


@SERVICE.operation
def describe_snapshot_attribute(call: Call) -> Answer:
    identity = call.asked["SnapshotId"]
    thing = _own(call, identity)
    if call.asked["Attribute"] != PERMISSION:
        return {"SnapshotId": identity, "ProductCodes": []}
    allowed = [{"Group": each} for each in thing["Groups"]]
    allowed += [{"UserId": each} for each in thing["Users"]]
    return {"SnapshotId": identity, "CreateVolumePermissions": allowed}


@SERVICE.operation
def modify_snapshot_attribute(call: Call) -> Answer:
    """Who may use it. Both of the ways in which that can be said, but one at a time."""
    identity = call.asked["SnapshotId"]
    thing = _own(call, identity)
    if call.get("Attribute", PERMISSION) != PERMISSION:
        raise invalid(f"Value ({call.asked['Attribute']}) for parameter attribute is invalid")
    add, users, groups = _modification(call)
    if len(users) + len(groups) > MODIFICATIONS:
        raise invalid(f"A request may make up to {MODIFICATIONS} modifications")
    if add:
        _shareable(call, thing, users, groups)
    for key, values in (("Users", users), ("Groups", groups)):
        left = [each for each in thing[key] if each not in values]
        thing[key] = left + (list(dict.fromkeys(values)) if add else [])
    call.things(KIND).save(identity, thing)
    return {}


def _modification(call: Call) -> tuple[bool, list[str], list[str]]:
    """Whether to add, accounts, groups."""
    change, operation = call.get("CreateVolumePermission"), call.get("OperationType")
    if (change is None) == (operation is None):
        raise Refusal("MissingParameter", "Write either CreateVolumePermission or OperationType")
    if change is None:
        return operation == "add", list(call.get("UserIds", ())), list(call.get("GroupNames", ()))
    add, remove_ = change.get("Add", ()), change.get("Remove", ())
    if bool(add) == bool(remove_):
        raise Refusal("InvalidParameterCombination", "Write either what to add or what to remove")
    return bool(add), _told(add or remove_, "UserId"), _told(add or remove_, "Group")


def _told(rows: Iterable[Asked], name: str) -> list[str]:
    return [each[name] for each in rows if each.get(name)]


def _shareable(call: Call, thing: Thing, users: list[str], groups: list[str]) -> None:
    for each in users:
        if not ACCOUNT.fullmatch(each):
            raise Refusal("InvalidUserID.Malformed", f"Invalid user id: {each}")
    if set(groups) - {EVERYBODY}:
        raise invalid(f"Value ({', '.join(groups)}) for parameter group is invalid. Write: {EVERYBODY}")
    if groups and thing["Encrypted"]:
        raise Refusal("OperationNotPermitted", "Encrypted snapshots cannot be public")
    if thing["KmsKeyId"] == default_key(call.account, call.region):
        raise Refusal("InvalidParameter", "Snapshots encrypted with the AWS Managed CMK can't be shared")


def _own(call: Call, identity: str) -> Thing:
    _formed(identity)
    found = call.things(KIND).get(identity)
    if found is None:
        raise _absent(identity)
    return found


def _formed(identity: str) -> None:
    if not ID.fullmatch(identity):
        raise Refusal("InvalidSnapshotID.Malformed", f'Invalid id: "{identity}" (expecting "snap-...")')


def _absent(identity: str) -> Refusal:
    return Refusal("InvalidSnapshot.NotFound", f"The snapshot '{identity}' does not exist.")
