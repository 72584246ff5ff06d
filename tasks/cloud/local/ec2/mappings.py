"""Block device mappings of an image, as RegisterImage takes them: each device once; volumes that EBS could make. Sizes are GiB."""

import re
from typing import Any, NamedTuple

from tasks.cloud.local.call import Asked, Call
from tasks.cloud.local.ebs import snapshots
from tasks.cloud.local.ec2.service import combination, invalid
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Thing

DEVICE = re.compile(r"(/dev/)?(sd[a-z]|hd[a-z]|xvd[a-z]|xvd[b-d][a-z])([1-9][0-9]?)?")
EPHEMERAL = re.compile(r"ephemeral([0-9]|1[0-9]|2[0-3])")
USUAL = "standard"  # when RegisterImage is not told
GP3_IOPS, GP3_THROUGHPUT = 3000, 125
MOST_THROUGHPUT = 2000  # MiB/s
IOPS_FOR_EACH_MIB = 4  # gp3: at most 0.25 MiB/s for each


class Type(NamedTuple):
    """`per_gib`: the most operations for each GiB; none of `iops` where they cannot be chosen."""

    sizes: tuple[int, int]
    iops: tuple[int, int] | None = None
    per_gib: int = 0
    boots: bool = True


TYPES = {  # botocore's documentation of EbsBlockDevice
    "gp2": Type((1, 16384)),
    "gp3": Type((1, 65536), (GP3_IOPS, 80000), 500),
    "io1": Type((4, 16384), (100, 64000), 50),
    "io2": Type((4, 65536), (100, 256000), 1000),
    "standard": Type((1, 1024)),
    "st1": Type((125, 16384), boots=False),
    "sc1": Type((125, 16384), boots=False),
}


def wrong(message: str) -> Refusal:
    return Refusal("InvalidBlockDeviceMapping", message)


def mapped(call: Call, root: str) -> list[dict[str, Any]]:
    """As they are kept. `root`: the device whose volume is to boot. Raises Refusal."""
    found: list[dict[str, Any]] = []
    for asked in call.get("BlockDeviceMappings", ()):
        device = asked.get("DeviceName") or ""
        if not device:
            raise Refusal("MissingParameter", "The request must contain the parameter deviceName")
        if not DEVICE.fullmatch(device):
            raise wrong(f"Invalid device name {device}")
        if any(each["DeviceName"] == device for each in found):
            raise wrong(f"The device '{device}' is used in more than one block-device mapping")
        found.append({"DeviceName": device, **_held(call, asked, root=device == root)})
    return found


def _held(call: Call, asked: Asked, *, root: bool) -> dict[str, Any]:
    said = [key for key in ("Ebs", "VirtualName", "NoDevice") if key in asked]
    if len(said) != 1:
        raise wrong(f"The device '{asked['DeviceName']}' needs one of ebs, virtualName and noDevice")
    value = asked[said[0]]
    if said == ["Ebs"]:
        return {"Ebs": volume(call, asked["DeviceName"], value, root=root)}
    if said == ["VirtualName"] and not EPHEMERAL.fullmatch(value):
        raise wrong(f"Invalid virtual name {value}: expecting ephemeral0 to ephemeral23")
    return {said[0]: value}


def volume(call: Call, device: str, asked: Asked, *, root: bool) -> dict[str, Any]:
    """One that EBS can make. Raises Refusal."""
    kind, source = asked.get("VolumeType", USUAL), asked.get("SnapshotId")
    encrypted = asked.get("Encrypted")
    if source and encrypted is not None:
        raise wrong(
            f"the encrypted flag cannot be specified since device {device} has a snapshot specified."
        )
    snapshot = _completed(call, source) if source else None
    size = _size(asked, kind, snapshot)
    found = {
        "DeleteOnTermination": asked.get("DeleteOnTermination", True),
        "SnapshotId": source,
        "VolumeSize": size,
        "VolumeType": kind,
        "Encrypted": bool(snapshot["Encrypted"] if snapshot else encrypted),
        **_speed(asked, kind, size),
    }
    if root and not TYPES[kind].boots:
        raise wrong(f"Volume type {kind} is not supported for the root device {device}")
    return {key: value for key, value in found.items() if value is not None}


def _completed(call: Call, identity: str) -> Thing:
    """The account's own snapshot, all of it there. Raises Refusal."""
    if not snapshots.ID.fullmatch(identity):
        raise Refusal("InvalidSnapshotID.Malformed", f'Invalid id: "{identity}" (expecting "snap-...")')
    snapshot = call.things(snapshots.KIND).get(identity)
    if snapshot is None:
        raise Refusal("InvalidSnapshot.NotFound", f"The snapshot '{identity}' does not exist.")
    if (state := snapshots.state(call.store, snapshot, call.now)) != "completed":
        raise Refusal("IncorrectState", f"Snapshot is in invalid state - {state}")
    return snapshot


def _size(asked: Asked, kind: str, snapshot: Thing | None) -> int:
    size: int | None = asked.get("VolumeSize")
    needed: int | None = snapshot["VolumeSize"] if snapshot else None
    chosen = needed if size is None else size
    if chosen is None:
        raise Refusal("MissingParameter", "The request must contain the parameter size or snapshotId")
    if snapshot and needed and chosen < needed:
        raise wrong(
            f"Volume of size {chosen}GB is smaller than snapshot '{snapshot['SnapshotId']}', expect size>= {needed}GB"
        )
    least, most = TYPES[kind].sizes
    if not least <= chosen <= most:
        raise invalid(f"Volume size {chosen} GiB is out of range for {kind}: {least} to {most} GiB")
    return chosen


def _speed(asked: Asked, kind: str, size: int) -> dict[str, int]:
    iops, throughput, limits = asked.get("Iops"), asked.get("Throughput"), TYPES[kind].iops
    for name, value, able in (
        ("iops", iops, limits is not None),
        ("throughput", throughput, kind == "gp3"),
    ):
        if value is not None and not able:
            raise combination(f"The parameter {name} is not supported for {kind} volumes.")
    if limits is None:
        return {}
    if iops is None and kind != "gp3":
        raise Refusal("MissingParameter", f"The parameter iops must be specified for {kind} volumes.")
    chosen = GP3_IOPS if iops is None else iops
    most = min(limits[1], max(limits[0], size * TYPES[kind].per_gib))
    if not limits[0] <= chosen <= most:
        raise invalid(
            f"Volume iops of {chosen} is out of range: {limits[0]} to {most} for {size} GiB of {kind}"
        )
    return {"Iops": chosen} | ({"Throughput": _throughput(throughput, chosen)} if kind == "gp3" else {})


def _throughput(asked: int | None, iops: int) -> int:
    chosen = GP3_THROUGHPUT if asked is None else asked
    if not GP3_THROUGHPUT <= chosen <= min(MOST_THROUGHPUT, iops // IOPS_FOR_EACH_MIB):
        raise invalid(
            f"Throughput of {chosen} MiB/s is out of range: {GP3_THROUGHPUT} to {MOST_THROUGHPUT},"
            f" and at most one for each {IOPS_FOR_EACH_MIB} of {iops} IOPS"
        )
    return chosen
