"""Instances in EC2, as the stages need them: found by tag, started once, reached, read, ended."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tasks.cloud import local, tags
from tasks.cloud.clients import connect
from tasks.cloud.refusals import asking, code_of
from tasks.kit.fault import CloudFault, ImageFault
from tasks.spec import names, record
from tasks.spec.cloud import CloudSpec

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.literals import InstanceTypeType
    from mypy_boto3_ec2.type_defs import (
        FilterTypeDef,
        InstanceTypeDef,
        InstanceTypeInfoTypeDef,
        RunInstancesRequestTypeDef,
    )

ALIVE = ("pending", "running")
DEAD = ("shutting-down", "terminated")
PAGE = 200
END = 300.0  # seconds for instances to be gone
PAUSE = 2.0  # seconds between two looks
# A token of before, which EC2 does not take again: its instances ended, or the request was another.
SPENT = {"IdempotentInstanceTerminated", "IdempotentParameterMismatch"}


def where(ec2: "EC2Client") -> str:
    return f"EC2 in {ec2.meta.region_name}"


def listed(ec2: "EC2Client", *filters: "FilterTypeDef") -> list["InstanceTypeDef"]:
    """The instances that pass all filters; those that ended show for an hour."""
    pages = ec2.get_paginator("describe_instances")
    with asking("list the instances", where=where(ec2)):
        return [
            instance
            for page in pages.paginate(Filters=list(filters), PaginationConfig={"PageSize": PAGE})
            for reservation in page["Reservations"]
            for instance in reservation.get("Instances", ())
        ]


def ours(ec2: "EC2Client") -> list["InstanceTypeDef"]:
    return listed(ec2, {"Name": "tag-key", "Values": [names.IMAGE_TAG]})


def of_image(ec2: "EC2Client", image: str) -> list["InstanceTypeDef"]:
    """What was started from any AMI of an image, and has not ended."""
    found = listed(ec2, {"Name": f"tag:{names.IMAGE_TAG}", "Values": [image]})
    return [instance for instance in found if state_of(instance) not in DEAD]


def with_digest(ec2: "EC2Client", digest: str) -> list["InstanceTypeDef"]:
    """What runs, or comes up, for one and the same wish."""
    return listed(
        ec2,
        {"Name": f"tag:{names.DIGEST_TAG}", "Values": [digest]},
        {"Name": "instance-state-name", "Values": list(ALIVE)},
    )


def others(ec2: "EC2Client", image: str, digest: str) -> list[str]:
    """The ids of what was started for an image before its AMI, or what is asked for, became another."""
    return sorted(id_of(each) for each in of_image(ec2, image) if digest_of(each) != digest)


def by_ids(ec2: "EC2Client", ids: Iterable[str]) -> list["InstanceTypeDef"]:
    """Those of them that the lists show: they lag behind the deed, and forget what ended."""
    return listed(ec2, {"Name": "instance-id", "Values": list(ids)})


def state_of(instance: "InstanceTypeDef") -> str:
    return instance.get("State", {}).get("Name", "pending")


def id_of(instance: "InstanceTypeDef") -> str:
    return instance.get("InstanceId", "")


def digest_of(instance: "InstanceTypeDef") -> str:
    return tags.mapped(instance.get("Tags", ())).get(names.DIGEST_TAG, "")


def reached(instance: "InstanceTypeDef", port: int) -> tuple[str, int] | None:
    """Where a port of the instance is reached from here; None as long as it has no address."""
    led = tags.mapped(instance.get("Tags", ())).get(f"{names.REACHED_TAG}{port}")
    if led:
        host, _, number = led.rpartition(":")
        return host, int(number)
    address = (
        instance.get("PublicIpAddress")
        or instance.get("Ipv6Address")
        or instance.get("PrivateIpAddress")
    )
    return (address, port) if address else None


def start(ec2: "EC2Client", request: "RunInstancesRequestTypeDef") -> list["InstanceTypeDef"] | None:
    """The instances; the same request with the same token starts none twice. None: the token is spent."""
    from botocore.exceptions import ClientError

    with asking("start the instances", where=where(ec2)):
        try:
            return ec2.run_instances(**request)["Instances"]
        except ClientError as error:
            if code_of(error) in SPENT:
                return None
            raise


def end(
    ec2: "EC2Client",
    ids: Sequence[str],
    *,
    moved: Callable[[int, int], None] = lambda _, __: None,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Terminate them, and wait until they are gone. Those that ended before are no mistake. `moved`: how many of all."""
    with asking("end the instances", where=where(ec2)):
        ec2.terminate_instances(InstanceIds=list(ids))
    waited = 0.0
    while left := [each for each in by_ids(ec2, ids) if state_of(each) != "terminated"]:
        if waited >= END:
            raise CloudFault(
                f"{', '.join(map(id_of, left))} did not end within {END:.0f} s",
                where=where(ec2),
                hint="doit instances shows what becomes of it",
            )
        moved(len(ids) - len(left), len(ids))
        pause(PAUSE)
        waited += PAUSE


def type_of(ec2: "EC2Client", name: str) -> "InstanceTypeInfoTypeDef | None":
    """What an instance type can do; None when there is none of that name in the region."""
    from botocore.exceptions import ClientError

    with asking("look at the instance type", where=f"{name}, {where(ec2)}"):
        try:
            found = ec2.describe_instance_types(InstanceTypes=[cast("InstanceTypeType", name)])[
                "InstanceTypes"
            ]
        except ClientError as error:
            if code_of(error) in {"InvalidInstanceType", "InvalidInstanceType.NotFound"}:
                return None
            raise
    return found[0] if found else None


def live(kind: "InstanceTypeInfoTypeDef | None") -> bool:
    """Whether such an instance's console can be read as it is written; from others EC2 collects it now and then."""
    return kind is not None and kind.get("Hypervisor") == "nitro"


def console(ec2: "EC2Client", instance: str, *, latest: bool) -> str:
    """What the instance has written on its serial console; nothing as long as EC2 has collected nothing."""
    with asking("read the console", where=f"{instance}, {where(ec2)}"):
        if latest:
            return ec2.get_console_output(InstanceId=instance, Latest=True).get("Output", "")
        return ec2.get_console_output(InstanceId=instance).get("Output", "")


def gone(receipt: Path, spec: CloudSpec, home: Path) -> bool:
    """Whether an instance of a receipt runs no more. When nobody can be asked there is no doubt, and nothing is started to ask."""
    try:
        wanted = {each.id for each in record.InstanceReceipt.read(receipt).instances}
    except ImageFault:
        return True
    if spec.kind == "local" and local.running(home) is None:
        return True  # its machines ended with it
    try:
        found = by_ids(connect(spec, home).ec2(), wanted)
    except CloudFault:
        return False
    return {id_of(each) for each in found if state_of(each) in ALIVE} != wanted
