"""EC2 as those stages need it that end things: what there is, who needs it, and its end. What is gone already is no fault."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from tasks.cloud import ec2 as images
from tasks.cloud import instances, tags
from tasks.cloud.refusals import asking, code_of
from tasks.plan.things import Image, Instance, KeyPair, Snapshot
from tasks.spec import names
from tasks.spec.record import now

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef, ImageTypeDef, InstanceTypeDef, SnapshotTypeDef

NEEDY = ("pending", "running", "stopping", "stopped")  # states of an instance that needs its image
VALUES = 200  # that one filter takes
RELEASE = 120.0  # seconds until EC2 has noticed that no image needs a snapshot any more
PAUSE = 2.0  # seconds between two tries


def of_tag(tagged: "ImageTypeDef | InstanceTypeDef | SnapshotTypeDef") -> str:
    """The image of ours that a thing's tag names, or nothing."""
    return tags.mapped(tagged.get("Tags", ())).get(names.IMAGE_TAG, "")


def held_images(ec2: "EC2Client", wanted: Sequence[str], of: str) -> list[Image]:
    """Every image of the account; and those of `wanted`, whoever's they are. Who uses it is asked of `wanted` and of ours."""
    found = {image["ImageId"]: image for image in images.images(ec2)}
    strangers = (images.by_id(ec2, each) for each in wanted if each not in found)
    found |= {image["ImageId"]: image for image in strangers if image}
    there = [image for image in found.values() if image.get("State") != "deregistered"]
    ours = [image["ImageId"] for image in there if of_tag(image) == of or image["ImageId"] in wanted]
    using = users(ec2, ours)
    return [held_image(image, using.get(image["ImageId"], ())) for image in there]


def await_shown(
    ec2: "EC2Client", image: str, since: datetime, *, pause: Callable[[float], None] = time.sleep
) -> None:
    """Until EC2 has caught up with a registration of this very minute: what it does not show then is gone."""
    while (now() - since).total_seconds() < images.VISIBLE and not images.by_id(ec2, image):
        pause(PAUSE)


def held_image(image: "ImageTypeDef", using: Sequence[str] = ()) -> Image:
    return Image(
        id=image["ImageId"],
        name=image.get("Name", ""),
        owner=image.get("OwnerId", ""),
        of=of_tag(image),
        sources=made_of(image),
        users=tuple(using),
        protected=image.get("DeregistrationProtection", "").startswith("enabled"),
    )


def made_of(image: "ImageTypeDef") -> tuple[str, ...]:
    """The snapshots of its volumes, and its manifest's place if it lies in S3; of others EC2 puts the name there."""
    snapshots = (
        mapping.get("Ebs", {}).get("SnapshotId", "") for mapping in image.get("BlockDeviceMappings", ())
    )
    in_s3 = image.get("RootDeviceType") == "instance-store"
    location = image.get("ImageLocation", "") if in_s3 else ""
    return tuple(filter(None, (location, *snapshots)))


def users(ec2: "EC2Client", of: Sequence[str]) -> dict[str, list[str]]:
    """By image, the instances that were made of it and have not ended, each with its state."""
    using: dict[str, list[str]] = {}
    states: FilterTypeDef = {"Name": "instance-state-name", "Values": list(NEEDY)}
    for start in range(0, len(of), VALUES):
        made: FilterTypeDef = {"Name": "image-id", "Values": list(of[start : start + VALUES])}
        for each in instances.listed(ec2, made, states):
            told = f"{instances.id_of(each)} ({instances.state_of(each)})"
            using.setdefault(each.get("ImageId", ""), []).append(told)
    return using


def held_snapshots(ec2: "EC2Client", of: str, also: Sequence[str]) -> list[Snapshot]:
    """Those of an image by their tag, and `also` those of these ids that are there and the account's."""
    tagged = list(_snapshots(ec2, {"Name": f"tag:{names.IMAGE_TAG}", "Values": [of]}))
    for start in range(0, len(also), VALUES):
        ids = list(also[start : start + VALUES])
        tagged += _snapshots(ec2, {"Name": "snapshot-id", "Values": ids})
    found = {each.get("SnapshotId", ""): each for each in tagged}
    return [
        Snapshot(
            id=id_,
            of=of_tag(each),
            state=each.get("State", ""),
            size=each.get("VolumeSize", 0),
            since=each["StartTime"],
        )
        for id_, each in sorted(found.items())
    ]


def _snapshots(ec2: "EC2Client", which: "FilterTypeDef") -> "Iterator[SnapshotTypeDef]":
    pages = ec2.get_paginator("describe_snapshots")
    with asking("list the snapshots", where=images.where(ec2)):
        for page in pages.paginate(
            OwnerIds=["self"], Filters=[which], PaginationConfig={"PageSize": VALUES}
        ):
            yield from page["Snapshots"]


def deregister(ec2: "EC2Client", image: str) -> None:
    from botocore.exceptions import ClientError

    with asking(f"deregister {image}", where=images.where(ec2)):
        try:
            ec2.deregister_image(ImageId=image)
        except ClientError as error:
            if code_of(error) not in {"InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"}:
                raise


def delete_snapshot(
    ec2: "EC2Client", snapshot: str, *, pause: Callable[[float], None] = time.sleep
) -> None:
    """For a while after its image was deregistered EC2 may still say that the snapshot is in use."""
    from botocore.exceptions import ClientError

    waited = 0.0
    with asking(f"delete {snapshot}", where=images.where(ec2)):
        while True:
            try:
                ec2.delete_snapshot(SnapshotId=snapshot)
            except ClientError as error:
                if code_of(error) == "InvalidSnapshot.NotFound":
                    return
                if code_of(error) != "InvalidSnapshot.InUse" or waited >= RELEASE:
                    raise
            else:
                return
            pause(PAUSE)
            waited += PAUSE


def held_instances(
    ec2: "EC2Client", of: str, wanted: Sequence[str]
) -> tuple[list[Instance], list[Instance]]:
    """(those of an image and those of `wanted`, all others). Those that ended are told of only if they are wanted."""
    held: list[Instance] = []
    others: list[Instance] = []
    for each in instances.listed(ec2):
        id_, state = instances.id_of(each), instances.state_of(each)
        concerned = id_ in wanted or (of_tag(each) == of and state != "terminated")
        protected = concerned and state in NEEDY and is_protected(ec2, id_)
        instance = Instance(id_, of_tag(each), state, each.get("KeyName", ""), protected=protected)
        (held if concerned else others).append(instance)
    return held, others


def is_protected(ec2: "EC2Client", instance: str) -> bool:
    """Whether TerminateInstances would refuse it; lists do not say."""
    with asking("ask whether the instance is protected", where=f"{instance}, {images.where(ec2)}"):
        reply = ec2.describe_instance_attribute(InstanceId=instance, Attribute="disableApiTermination")
    return reply["DisableApiTermination"].get("Value", False)


def held_key_pairs(ec2: "EC2Client", of: str) -> list[KeyPair]:
    with asking("list the key pairs", where=images.where(ec2)):
        reply = ec2.describe_key_pairs(Filters=[{"Name": f"tag:{names.IMAGE_TAG}", "Values": [of]}])
    return [
        KeyPair(each.get("KeyPairId", ""), each.get("KeyName", "")) for each in reply.get("KeyPairs", ())
    ]


def delete_key_pair(ec2: "EC2Client", name: str) -> None:
    from botocore.exceptions import ClientError

    with asking(f"delete the key pair {name}", where=images.where(ec2)):
        try:
            ec2.delete_key_pair(KeyName=name)
        except ClientError as error:
            if code_of(error) != "InvalidKeyPair.NotFound":
                raise
