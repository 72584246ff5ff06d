"""The volume that an EBS-backed instance starts from: as its image has it, changed as the launch says. Sizes are GiB."""

from collections.abc import Mapping
from typing import Any

from tasks.cloud.local.call import Asked, Call
from tasks.cloud.local.ec2.mappings import wrong
from tasks.cloud.local.ec2.service import new_id
from tasks.cloud.local.ec2.tagging import Tag, tags_asked
from tasks.cloud.local.refusal import Refusal, unknown
from tasks.cloud.local.store import Thing

VOLUME = "volume"
Root = Mapping[str, Any]


def root(call: Call, image: Thing) -> Root | None:
    """None for an image in S3. Raises Refusal."""
    device, asked = image["RootDeviceName"], _asked(call)
    tags: list[Tag] = tags_asked(call, VOLUME, others=("instance",))
    held = {each["DeviceName"]: each["Ebs"] for each in image["BlockDeviceMappings"] if "Ebs" in each}
    if others := sorted({*held, *asked} - {device}):
        raise unknown(f"volumes beside the root device: {', '.join(others)}", "ec2")
    if image["RootDeviceType"] != "ebs":
        if asked or tags:
            raise wrong(f"The image has no volume for {device}: its root device is an instance store")
        return None
    said = asked.get(device)
    volume = {**held[device], **(_changes(said, held[device]) if said else {})}
    if not volume["DeleteOnTermination"]:
        raise unknown("volumes that outlive their instance: DeleteOnTermination=false", "ec2")
    return {**volume, "Tags": tags}


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


def _changes(said: Asked, held: Mapping[str, Any]) -> dict[str, Any]:
    """What a launch may change; what volumes are made of, and how fast they are, makes no difference here."""
    least, size = held["VolumeSize"], said.get("VolumeSize")
    if size is not None and size < least:
        raise wrong(
            f"Volume of size {size}GB is smaller than snapshot '{held['SnapshotId']}', expect size>= {least}GB"
        )
    if said.get("SnapshotId", held["SnapshotId"]) != held["SnapshotId"]:
        raise wrong("snapshotId cannot be modified on root device")
    if said.get("Encrypted", held["Encrypted"]) != held["Encrypted"]:
        raise unknown("another encryption than the snapshot's", "ec2")
    keys = ("VolumeSize", "VolumeType", "DeleteOnTermination")
    return {key: value for key in keys if (value := said.get(key)) is not None}


def given(call: Call, thing: Thing, volume: Root | None) -> Thing:
    """The instance with its volume."""
    if volume is None:
        return thing | {"BlockDeviceMappings": []}
    identity = new_id("vol")
    held = {"VolumeId": identity, "Tags": volume["Tags"], "InstanceId": thing["InstanceId"]}
    call.things(VOLUME).add(identity, held)
    mapping = {
        "DeviceName": thing["RootDeviceName"],
        "Ebs": {
            "VolumeId": identity,
            "Status": "attached",
            "AttachTime": call.now,
            "DeleteOnTermination": True,
        },
    }
    local = thing["local"] | {
        "snapshot": volume["SnapshotId"],
        "size": volume["VolumeSize"],
        "volume": identity,
    }
    return thing | {"BlockDeviceMappings": [mapping], "local": local}
