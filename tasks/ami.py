"""What was uploaded to a registered image, once: whatever was done before is found by its content.

In:    the receipt of the upload, and the evidence: boot.json, scan.json; of some images, UEFI variables
Out:   ami.json, and ami-id with nothing but the id
Needs: ec2:DescribeImages, RegisterImage, CreateTags; of EBS-backed images DescribeSnapshots; of those with
       UEFI variables DescribeImageAttribute
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from pydantic import Field

from tasks.cloud import described, ec2, registering, snapshots, tags
from tasks.cloud.clients import Cloud, connect
from tasks.cloud.registering import Wish
from tasks.kit import files
from tasks.kit.fault import CloudFault, ConfigFault
from tasks.kit.report import Report
from tasks.plan import evidence
from tasks.spec import names, record
from tasks.spec.ami import BootMode, Firmware, Volume
from tasks.spec.cloud import AMI_NAME, AmiName, CloudSpec, filled
from tasks.spec.model import Image
from tasks.spec.part import Part
from tasks.spec.units import UNITS

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import (
        BlockDeviceMappingTypeDef,
        EbsBlockDeviceTypeDef,
        RegisterImageRequestTypeDef,
    )

RECIPE = 1
LARGEST_UEFI_DATA = 64000  # characters, by RegisterImage's model


class Order(Part):
    """All this stage may know; its digest decides whether the stage runs."""

    image: str
    cloud: CloudSpec
    name: AmiName
    description: str = Field(max_length=255)
    architecture: Literal["i386", "x86_64", "arm64"]
    backing: Literal["ebs", "s3"]
    virtualization: Literal["paravirtual", "hvm"]
    boot_mode: BootMode | None  # S3-backed images are registered without
    firmwares: tuple[Firmware, ...]  # by which it must have booted
    kernel_id: str | None
    ramdisk_id: str | None
    root_device_name: str
    block_devices: Mapping[
        str, str
    ]  # virtual name to device, as in the manifest; EC2 is told of ephemeralN alone
    volume: Volume
    volumes: Mapping[str, Volume]
    imds: Literal["v2", "optional"]
    ena: bool
    tpm: bool
    uefi_data: str | None
    tags: Mapping[str, str]

    @classmethod
    def of(cls, image: Image, cloud: CloudSpec) -> Self:
        told = {key: getattr(image.ami, key) for key in type(image.ami).model_fields}
        told |= {
            "image": image.name,
            "cloud": cloud,
            "architecture": image.architecture,
            "boot_mode": image.boot_mode if image.ami.backing == "ebs" else None,
            "firmwares": image.firmwares,
        }
        return cls(**told)


@dataclass(frozen=True)
class Source:
    """What an image is made of."""

    location: str  # bucket/key of a manifest, or a snapshot's id
    size: int  # bytes, of the disk image
    encrypted: bool = False


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
    uefi_data: Path | None = None,
) -> None:
    """`uefi_data`: there if the order names it."""
    stored, image = record.UploadReceipt.read(upload), record.ImgStamp.read(img)
    booted, scanned = record.BootReport.read(boot), record.ScanReport.read(scan)
    evidence.same(image, stored, booted, scanned)
    evidence.uploaded(stored, order.image, ebs=order.backing == "ebs")
    evidence.booted(booted, image.file.name, order.firmwares)
    evidence.clean(scanned, image.file.name)
    variables = variables_of(order, uefi_data)
    report.said(f"connecting to {order.cloud.name}")
    cloud = connect(order.cloud, home)
    check_place(stored, cloud)
    client = cloud.ec2()
    source = source_of(order, client, stored, image, upload)
    wish = wished(order, stored, image, source, variables)
    report.said(f"registering {wish.name}")
    found = registering.obtained(client, wish)
    if variables and not registering.holds(client, found["ImageId"], variables):
        report.noted(
            "whether its UEFI variables are there could not be seen: ec2:DescribeImageAttribute is not permitted"
        )
    proof = record.AmiReceipt(
        account=cloud.account,
        region=cloud.region,
        id=found["ImageId"],
        name=found["Name"],
        sha256=stored.sha256,
        digest=wish.digest,
        location=stored.location,
        boot=booted,
        cloud_id=cloud.id,
        at=record.now(),
    )
    proof.keep(receipt)
    files.write(ami_id, f"{proof.id}\n")


def variables_of(order: Order, path: Path | None) -> str:
    """A UEFI variable store, as RegisterImage takes it, or nothing. Raises ConfigFault for what is none."""
    if path is None:
        if order.uefi_data:
            raise AssertionError(f"the task handed over no {order.uefi_data}")
        return ""
    text = "".join(path.read_text(errors="replace").split())
    try:
        held = base64.b64decode(text, validate=True)
    except ValueError:
        held = b""
    if not held or len(text) > LARGEST_UEFI_DATA:
        raise ConfigFault(
            f"{path.name} is no UEFI variable store: base64, at most {LARGEST_UEFI_DATA} characters",
            where=f"{path}: ami.uefi_data",
            hint=f"uefivars -i none -o aws -O {path} -P PK.esl -K KEK.esl --db db.esl",
        )
    return text


def check_place(stored: record.UploadReceipt, cloud: Cloud) -> None:
    """Raises CloudFault when what was uploaded lies in another account or region than we are in now."""
    there, here = (
        (stored.account, stored.region, stored.cloud_id),
        (cloud.account, cloud.region, cloud.id),
    )
    if there != here:
        raise CloudFault(
            f"it was uploaded to account {there[0]} in {there[1]}, but {cloud.name} is now {here[0]} in {here[1]}"
            + (", and has forgotten what it held" if there[:2] == here[:2] else ""),
            where=stored.location,
            hint="choose the credentials and the region of before, or delete the upload's receipt and run doit again",
        )


def source_of(
    order: Order, client: "EC2Client", stored: record.UploadReceipt, image: record.ImgStamp, upload: Path
) -> Source:
    """Raises CloudFault unless a snapshot is there, whole, ours, and as it should be; of bundles EC2 itself will see that."""
    size = image.file.size
    if order.backing == "s3":
        return Source(stored.location, size)
    found = snapshots.by_id(client, stored.location)
    wrong = described.troubles(found, order.cloud.ebs, stored.account, order.image, stored.sha256, size)
    if wrong:
        raise CloudFault(
            f"{stored.location}, of which {order.image} is to be made, {wrong[0]}",
            evidence=wrong[1:],
            where=ec2.where(client),
            hint=f"delete {upload} and run doit again: a good one is found, or made anew",
        )
    return Source(stored.location, size, encrypted=bool(found and found.get("Encrypted")))


def wished(
    order: Order,
    stored: record.UploadReceipt,
    image: record.ImgStamp,
    source: Source,
    variables: str = "",
) -> Wish:
    """Nothing is left to EC2's defaults: they are i386 and paravirtual."""
    plain = order.model_dump(mode="json", exclude={"cloud", "uefi_data"})
    said = {"bundle": stored.digest, "location": stored.location, "order": plain, "uefi_data": variables}
    digest = files.digest(said)
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
    request = requested(order, name, source, labels, variables)
    return Wish(name, digest, request, source.encrypted)


def requested(
    order: Order, name: str, source: Source, labels: Mapping[str, str], variables: str
) -> "RegisterImageRequestTypeDef":
    """All of RegisterImage's own words, but SriovNetSupport: nothing here shows that the image has that driver, and without
    it the types that had such a card give another.
    """
    request: RegisterImageRequestTypeDef = {
        "Name": name,
        "Description": order.description,
        "Architecture": order.architecture,
        "VirtualizationType": order.virtualization,
        "KernelId": order.kernel_id or "",
        "RamdiskId": order.ramdisk_id or "",
        "RootDeviceName": order.root_device_name,
        "BlockDeviceMappings": [*volumes(order, source), *disks(order.block_devices)],
        "EnaSupport": order.ena,
        "UefiData": variables,
        # RegisterImage tags images alone; a snapshot has its own tags since it was started.
        "TagSpecifications": [{"ResourceType": "image", "Tags": tags.listed(labels)}],
    }
    if order.backing == "s3":
        request["ImageLocation"] = source.location
    if order.boot_mode:
        request["BootMode"] = order.boot_mode
    if order.imds == "v2":
        request["ImdsSupport"] = "v2.0"
    if order.tpm:
        request["TpmSupport"] = "v2.0"
    said = {key: value for key, value in request.items() if value not in ("", [])}
    return cast("RegisterImageRequestTypeDef", said)


def volumes(order: Order, source: Source) -> "Iterator[BlockDeviceMappingTypeDef]":
    """The root, from the snapshot; then those that are empty. S3-backed images have none."""
    if order.backing == "s3":
        return
    root = {**ebs(order.volume, order.volume.size or source.size), "SnapshotId": source.location}
    yield {"DeviceName": order.root_device_name, "Ebs": cast("EbsBlockDeviceTypeDef", root)}
    for device, volume in sorted(order.volumes.items()):
        empty = ebs(volume, volume.size or 0)
        if order.cloud.ebs.encrypted:
            empty["Encrypted"] = (
                True  # of a snapshot's volume that cannot be said: it is as its snapshot
            )
        yield {"DeviceName": device, "Ebs": cast("EbsBlockDeviceTypeDef", empty)}


def ebs(volume: Volume, size: int) -> dict[str, Any]:
    """`size`: bytes."""
    said = {
        "VolumeType": volume.type,
        "VolumeSize": size // UNITS["GiB"],
        "Iops": volume.iops,
        "Throughput": volume.throughput,
        "DeleteOnTermination": volume.delete_on_termination,
    }
    return {key: value for key, value in said.items() if value is not None}


def disks(block_devices: Mapping[str, str]) -> "list[BlockDeviceMappingTypeDef]":
    """What EC2 is told of the instance's own: the manifest alone knows of ami, root and swap."""
    return [
        {"DeviceName": f"/dev/{device.removeprefix('/dev/')}", "VirtualName": virtual}
        for virtual, device in sorted(block_devices.items())
        if virtual.startswith("ephemeral")
    ]
