"""The volumes that an EBS-backed instance starts with: as its image has them, changed as the launch says. Sizes are GiB."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.cloud.local.call import Asked, Call
from tasks.cloud.local.ec2 import mappings
from tasks.cloud.local.ec2.mappings import wrong
from tasks.cloud.local.ec2.service import new_id
from tasks.cloud.local.ec2.tagging import Tag, tags_asked
from tasks.cloud.local.refusal import Refusal, unknown
from tasks.cloud.local.store import Thing

VOLUME = "volume"
Volume = Mapping[str, Any]


def volumes(call: Call, image: Thing) -> tuple[Volume, ...]:
    """The root's, and then those beside it; none for an image in S3. Raises Refusal."""
    root, asked = image["RootDeviceName"], _asked(call)
    tags: list[Tag] = tags_asked(call, VOLUME, others=("instance",))
    held = {each["DeviceName"]: each["Ebs"] for each in image["BlockDeviceMappings"] if "Ebs" in each}
    if image["RootDeviceType"] != "ebs":
        if others := sorted({*held, *asked} - {root}):
            raise unknown(f"volumes beside an instance store's root: {', '.join(others)}", "ec2")
        if asked or tags:
            raise wrong(f"The image has no volume for {root}: its root device is an instance store")
        return ()
    found = []
    for device in sorted({*held, *asked}, key=lambda each: (each != root, each)):
        volume = _volume(call, device, held.get(device), asked.get(device), root=device == root)
        if not volume["DeleteOnTermination"]:
            raise unknown("volumes that outlive their instance: DeleteOnTermination=false", "ec2")
        found.append({**volume, "DeviceName": device, "Tags": tags})
    return tuple(found)


def _volume(call: Call, device: str, held: Volume | None, said: Asked | None, *, root: bool) -> Volume:
    """As the image has it, as the launch has it, or both."""
    if said is None:
        return held or {}
    if held is None:
        return mappings.volume(call, device, said, root=root)
    return {**held, **_changes(said, held, root=root)}


def _asked(call: Call) -> dict[str, Asked]:
    found: dict[str, Asked] = {}
    for each in call.get("BlockDeviceMappings", ()):
        device = each.get("DeviceName")
        if not device:
            raise Refusal("MissingParameter", "The request must contain the parameter deviceName")
        if device in found:
            raise wrong(f"The device '{device}' is used in more than one block-device mapping")
        if "Ebs" not in each:
            raise unknown(f"a mapping of {device} without Ebs", "ec2")
        found[device] = each["Ebs"]
    return found


def _changes(said: Asked, held: Volume, *, root: bool) -> dict[str, Any]:
    """What a launch may change; what volumes are made of, and how fast they are, makes no difference here."""
    least, size, snapshot = held["VolumeSize"], said.get("VolumeSize"), held.get("SnapshotId")
    if snapshot and size is not None and size < least:
        raise wrong(
            f"Volume of size {size}GB is smaller than snapshot '{snapshot}', expect size>= {least}GB"
        )
    if said.get("SnapshotId", snapshot) != snapshot:
        if root:
            raise wrong("snapshotId cannot be modified on root device")
        raise unknown("another snapshot than the image's", "ec2")
    if said.get("Encrypted", held["Encrypted"]) != held["Encrypted"]:
        raise unknown("another encryption than the snapshot's", "ec2")
    keys = ("VolumeSize", "VolumeType", "DeleteOnTermination")
    return {key: value for key in keys if (value := said.get(key)) is not None}


def given(call: Call, thing: Thing, wanted: Sequence[Volume]) -> Thing:
    """The instance with its volumes."""
    shown, kept = [], []
    for volume in wanted:
        identity = new_id("vol")
        row = {"VolumeId": identity, "Tags": volume["Tags"], "InstanceId": thing["InstanceId"]}
        call.things(VOLUME).add(identity, row)
        attached = {
            "VolumeId": identity,
            "Status": "attached",
            "AttachTime": call.now,
            "DeleteOnTermination": True,
        }
        shown.append({"DeviceName": volume["DeviceName"], "Ebs": attached})
        kept.append(
            {
                "volume": identity,
                "device": volume["DeviceName"],
                "size": volume["VolumeSize"],
                "snapshot": volume.get("SnapshotId"),
            }
        )
    local = thing["local"] | {"volumes": kept}
    return thing | {"BlockDeviceMappings": shown, "local": local}
