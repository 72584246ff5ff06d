"""A bundle in a bucket to a registered image, once: whatever was done before is found by its content.

In:    the receipt of the upload, and the evidence: boot.json, scan.json
Out:   ami.json, and ami-id with nothing but the id
Needs: ec2:DescribeImages, RegisterImage, CreateTags
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, cast

from pydantic import Field

from tasks.cloud import ec2, tags
from tasks.cloud.clients import Cloud, connect
from tasks.kit import files
from tasks.kit.fault import CloudFault, ImageFault
from tasks.kit.report import Report
from tasks.spec import names, record
from tasks.spec.cloud import AMI_NAME, AmiName, CloudSpec, filled
from tasks.spec.model import Image
from tasks.spec.part import Part

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import (
        BlockDeviceMappingTypeDef,
        ImageTypeDef,
        RegisterImageRequestTypeDef,
    )

RECIPE = 1
TOLD = 20  # findings that a fault names


class Order(Part):
    """All this stage may know; its digest decides whether the stage runs."""

    image: str
    cloud: CloudSpec
    name: AmiName
    description: str = Field(max_length=255)
    architecture: Literal["i386", "x86_64", "arm64"]
    virtualization: Literal["paravirtual", "hvm"]
    kernel_id: str | None
    ramdisk_id: str | None
    root_device_name: str
    block_devices: Mapping[
        str, str
    ]  # virtual name to device, as in the manifest; EC2 is told of ephemeralN alone
    imds: Literal["v2", "optional"]
    ena: bool
    tags: Mapping[str, str]

    @classmethod
    def of(cls, image: Image, cloud: CloudSpec) -> Self:
        told = image.ami.model_dump(exclude={"backing"})
        return cls(image=image.name, cloud=cloud, architecture=image.architecture, **told)


@dataclass(frozen=True)
class Wish:
    """The image as it should be registered, wholly resolved."""

    name: str
    digest: str
    request: "RegisterImageRequestTypeDef"


def body(
    order: Order,
    *,
    report: Report,
    upload: Path,
    img: Path,
    boot: Path,
    scan: Path,
    home: Path,
    ami_id: Path,
    receipt: Path,
) -> None:
    stored, image = record.UploadReceipt.read(upload), record.ImgStamp.read(img)
    evidence = record.BootReport.read(boot)
    check(image, stored, evidence, record.ScanReport.read(scan))
    report.said(f"connecting to {order.cloud.name}")
    cloud = connect(order.cloud, home)
    check_place(stored, cloud)
    wish = wished(order, stored, image)
    report.said(f"registering {wish.name}")
    found = obtained(cloud.ec2(), wish)
    proof = record.AmiReceipt(
        account=cloud.account,
        region=cloud.region,
        id=found["ImageId"],
        name=found["Name"],
        sha256=stored.sha256,
        digest=wish.digest,
        location=stored.location,
        boot=evidence,
        cloud_id=cloud.id,
        at=record.now(),
    )
    proof.keep(receipt)
    files.write(ami_id, f"{proof.id}\n")


def check(
    image: record.ImgStamp,
    stored: record.UploadReceipt,
    boot: record.BootReport,
    scan: record.ScanReport,
) -> None:
    """Raises ImageFault unless this very image was uploaded, booted, and passed its scan."""
    for what, sha256 in (
        ("the upload", stored.sha256),
        ("boot.json", boot.sha256),
        ("scan.json", scan.sha256),
    ):
        if sha256 != image.file.sha256:
            raise ImageFault(
                f"{what} is of another image ({sha256[:12]}) than {image.file.name} ({image.file.sha256[:12]})",
                hint="run doit again: what is stale is made anew",
            )
    if failed := [f"{check.name}: {check.detail}" for check in boot.checks if not check.passed]:
        raise ImageFault(
            f"{image.file.name} did not boot as it should, and is not registered",
            evidence=failed,
            hint="console.log has what it said; put it right in the image's configuration and run doit again",
        )
    if not boot.checks:
        raise ImageFault(
            "boot.json tells of no check: nothing shows that the image boots",
            hint="delete it and run doit again",
        )
    if scan.findings:
        raise ImageFault(
            f"the scan found {len(scan.findings)} thing(s) in {image.file.name} that no image should hold; it is not registered",
            evidence=found_by(scan.findings),
            hint="keep them out of the image, or name them in `allow_findings:` of its configuration",
        )


def found_by(findings: tuple[record.Finding, ...]) -> Iterable[str]:
    yield from (f"{finding.path}: {finding.reason}" for finding in findings[:TOLD])
    if len(findings) > TOLD:
        yield f"and {len(findings) - TOLD} more"


def check_place(stored: record.UploadReceipt, cloud: Cloud) -> None:
    """Raises CloudFault when the bundle lies in another account or region than we are in now."""
    there, here = (
        (stored.account, stored.region, stored.cloud_id),
        (cloud.account, cloud.region, cloud.id),
    )
    if there != here:
        raise CloudFault(
            f"the bundle was uploaded to account {there[0]} in {there[1]}, but {cloud.name} is now {here[0]} in {here[1]}"
            + (", and has forgotten what it held" if there[:2] == here[:2] else ""),
            where=stored.location,
            hint="choose the credentials and the region of before, or delete the upload's receipt and run doit again",
        )


def wished(order: Order, stored: record.UploadReceipt, image: record.ImgStamp) -> Wish:
    """Nothing is left to EC2's defaults: they are i386 and paravirtual."""
    plain = order.model_dump(mode="json", exclude={"cloud"})
    digest = files.digest({"bundle": stored.digest, "location": stored.location, "order": plain})
    name = filled(order.name, image=order.image, date=f"{image.made:%Y%m%d}", digest=digest[:12])
    if not AMI_NAME.fullmatch(name):
        raise CloudFault(
            f"{name!r} is no name for an image: EC2 takes 3 to 128 of A-Z, a-z, 0-9 and ()[] ./-'@_",
            where=f"config/images/{order.image}.yaml: ami.name",
            hint="shorten it there",
        )
    labels = {
        **order.tags,
        names.NAME_TAG: name,
        names.IMAGE_TAG: order.image,
        names.DIGEST_TAG: digest,
        names.SHA256_TAG: stored.sha256,
    }
    return Wish(name, digest, requested(order, name, stored.location, labels))


def requested(
    order: Order, name: str, location: str, labels: Mapping[str, str]
) -> "RegisterImageRequestTypeDef":
    request: RegisterImageRequestTypeDef = {
        "Name": name,
        "Description": order.description,
        "ImageLocation": location,
        "Architecture": order.architecture,
        "VirtualizationType": order.virtualization,
        "KernelId": order.kernel_id or "",
        "RamdiskId": order.ramdisk_id or "",
        "RootDeviceName": order.root_device_name,
        "BlockDeviceMappings": mappings(order.block_devices),
        "EnaSupport": order.ena,
        "TagSpecifications": [{"ResourceType": "image", "Tags": tags.listed(labels)}],
    }
    if order.imds == "v2":
        request["ImdsSupport"] = "v2.0"
    said = {key: value for key, value in request.items() if value not in ("", [])}
    return cast("RegisterImageRequestTypeDef", said)


def mappings(block_devices: Mapping[str, str]) -> "list[BlockDeviceMappingTypeDef]":
    """What EC2 is told: the manifest alone knows of ami, root and swap."""
    return [
        {"DeviceName": f"/dev/{device.removeprefix('/dev/')}", "VirtualName": virtual}
        for virtual, device in sorted(block_devices.items())
        if virtual.startswith("ephemeral")
    ]


def obtained(
    client: "EC2Client", wish: Wish, *, pause: Callable[[float], None] = time.sleep
) -> "ImageTypeDef":
    """The one image of this content: found, or registered now."""
    image = standing(client, wish) or ec2.register(client, wish.request) or emerging(client, wish, pause)
    found = ec2.available(client, image, pause=pause)
    if differences := ec2.differences(found, wish.request):
        raise CloudFault(
            f"{image} is not as it was asked for",
            evidence=differences,
            where=ec2.where(client),
            hint=f"aws ec2 deregister-image --image-id {image}, and run doit again",
        )
    return found


def standing(client: "EC2Client", wish: Wish) -> str | None:
    """The id of our image, if it is registered. Raises CloudFault when there are several, or its name is another's."""
    mine = ec2.with_digest(client, wish.digest)
    if len(mine) > 1:
        ids = ", ".join(sorted(image["ImageId"] for image in mine))
        raise CloudFault(
            f"{len(mine)} images hold this very content, and one was expected: {ids}",
            where=ec2.where(client),
            hint="keep one and deregister the rest: aws ec2 deregister-image --image-id ...",
        )
    if mine:
        return mine[0]["ImageId"]
    if others := ec2.with_name(client, wish.name):
        other = others[0]
        holder = tags.mapped(other.get("Tags", ())).get(names.IMAGE_TAG, "an image that is not ours")
        raise CloudFault(
            f"the name {wish.name} is taken by {other['ImageId']}, which is of other content ({holder})",
            where=ec2.where(client),
            hint="write {digest} into `ami.name:`, or deregister that image",
        )
    return None


def emerging(client: "EC2Client", wish: Wish, pause: Callable[[float], None]) -> str:
    """Our image, after EC2 said that its name is taken or said nothing: the deed was done, lists lag behind it."""
    waited = 0.0
    while waited <= ec2.VISIBLE:
        if image := standing(client, wish):
            return image
        pause(step := ec2.PAUSES[2])
        waited += step
    raise CloudFault(
        f"whether {wish.name} was registered is not known: EC2's answer was lost, and no image of ours shows",
        where=ec2.where(client),
        hint="run doit again: it looks first",
    )
