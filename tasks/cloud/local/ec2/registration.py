"""RegisterImage: a bundle in S3, or a snapshot, becomes an image. What does not fit together is refused; digests are the launch's business."""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.ec2 import bundles
from tasks.cloud.local.ec2.images import IMAGE
from tasks.cloud.local.ec2.mappings import mapped, wrong
from tasks.cloud.local.ec2.service import SERVICE, combination, invalid, new_id
from tasks.cloud.local.ec2.tagging import tags_asked
from tasks.cloud.local.refusal import Refusal, unknown
from tasks.cloud.local.wire.text import iso
from tasks.spec.cloud import AMI_NAME

LONGEST = 255  # characters of a description
ROOT = "/dev/sda1"
ARCHITECTURES = ("i386", "x86_64", "arm64")
KERNEL = re.compile(r"aki-([0-9a-f]{8}|[0-9a-f]{17})")
RAMDISK = re.compile(r"ari-([0-9a-f]{8}|[0-9a-f]{17})")
UEFI_VARIABLES = b"AMZNUEFI"  # what EC2's form of a variable store begins with
LARGEST_UEFI_DATA = 64 << 10  # characters


@SERVICE.operation
def register_image(call: Call) -> Answer:
    identity, name = new_id("ami"), call.asked["Name"]
    _judge_name(call, name)
    description = call.get("Description")
    if description and len(description) > LONGEST:
        raise invalid(f"Description exceeds the maximum length of {LONGEST} characters")
    backing = _backing(call, name)
    image = {
        "ImageId": identity,
        "Name": name,
        "Description": description,
        "OwnerId": call.account,
        "CreationDate": iso(datetime.fromtimestamp(call.now, UTC)),
        "ImageType": "machine",
        "Hypervisor": "xen",
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "DeregistrationProtection": "disabled",
        **backing,
        **_machine(call, backing),
        "Tags": tags_asked(call, "image"),
        "made": call.now,
        "disabled": False,
        "permissions": [],
        "uefi": _uefi(call),
    }
    call.things(IMAGE).add(identity, {key: value for key, value in image.items() if value is not None})
    return {"ImageId": identity}


def _judge_name(call: Call, name: str) -> None:
    if not AMI_NAME.fullmatch(name):
        raise Refusal(
            "InvalidAMIName.Malformed",
            "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, "
            "'(', ')', '[', ']', ' ', '.', '/', '-', ''', '@' and '_'",
        )
    for image in call.things(IMAGE).all():
        if image["Name"] == name:
            raise Refusal(
                "InvalidAMIName.Duplicate",
                f"AMI name {name} is already in use by AMI {image['ImageId']}",
            )


def _backing(call: Call, name: str) -> dict[str, Any]:
    """Where its bits are, and what follows from that."""
    location = call.get("ImageLocation")
    if not location and not call.get("BlockDeviceMappings"):
        raise Refusal(
            "MissingParameter",
            "The request must contain the parameter imageLocation or blockDeviceMapping",
        )
    root = call.get("RootDeviceName", ROOT)
    mappings = mapped(call, root)
    volume: dict[str, Any] = next(
        (each.get("Ebs", {}) for each in mappings if each["DeviceName"] == root), {}
    )
    held = {"RootDeviceName": root, "BlockDeviceMappings": mappings}
    if not location:
        if not volume.get("SnapshotId"):
            raise wrong("No root snapshot specified in device mapping.")
        return held | {
            "RootDeviceType": "ebs",
            "ImageLocation": f"{call.account}/{name}",
            "Architecture": call.get("Architecture", "i386"),
        }
    if volume:
        raise combination(
            f"The parameter imageLocation cannot be used with a volume for the root device {root}"
        )
    manifest = bundles.judged(call, location)
    return held | {
        "RootDeviceType": "instance-store",
        "ImageLocation": location,
        "Architecture": call.get("Architecture", manifest.architecture),
        "KernelId": manifest.kernel_id,
        "RamdiskId": manifest.ramdisk_id,
    }


def _machine(call: Call, backing: Mapping[str, Any]) -> dict[str, Any]:
    """What it runs on. Raises Refusal when that cannot be."""
    architecture = backing["Architecture"]
    if architecture not in ARCHITECTURES:
        raise unknown(f"the architecture {architecture}", "ec2")
    found = {
        "VirtualizationType": call.get("VirtualizationType", "paravirtual"),
        "BootMode": call.get("BootMode"),
        "TpmSupport": call.get("TpmSupport"),
        "ImdsSupport": call.get("ImdsSupport"),
        "EnaSupport": call.get("EnaSupport", False),
        "SriovNetSupport": call.get("SriovNetSupport"),
    }
    if found["VirtualizationType"] not in ("hvm", "paravirtual"):
        raise invalid(f"Invalid value '{found['VirtualizationType']}' for virtualizationType")
    if found["SriovNetSupport"] not in (None, "simple"):
        raise invalid(f"Invalid value '{found['SriovNetSupport']}' for sriovNetSupport")
    _judge_boot(architecture, found)
    return found | _kernel(call, backing, str(found["VirtualizationType"]))


def _judge_boot(architecture: str, found: Mapping[str, Any]) -> None:
    mode = found["BootMode"]
    if found["VirtualizationType"] == "paravirtual":
        for key in ("BootMode", "TpmSupport", "EnaSupport", "SriovNetSupport"):
            if found[key]:
                raise combination(f"{key} is supported for images of virtualization type hvm only")
        if architecture == "arm64":
            raise combination("The architecture arm64 requires the virtualization type hvm")
    if architecture == "arm64" and mode not in (None, "uefi"):
        raise combination(f"The boot mode {mode} is not supported for the architecture arm64")
    if architecture == "i386" and mode not in (None, "legacy-bios"):
        raise combination(f"The boot mode {mode} is not supported for the architecture i386")
    if found["TpmSupport"] and mode != "uefi":
        raise combination("TpmSupport requires the boot mode uefi")


def _kernel(call: Call, backing: Mapping[str, Any], virtualization: str) -> dict[str, str]:
    """Amazon's, by their ids: which there are, only Amazon knows. Not asked for, it may stand in the manifest."""
    found = {}
    for key, pattern in (("KernelId", KERNEL), ("RamdiskId", RAMDISK)):
        identity = call.get(key, backing.get(key))
        if identity is None:
            continue
        if virtualization == "hvm":
            raise combination(f"{key} is supported for images of virtualization type paravirtual only")
        if not pattern.fullmatch(identity):
            raise Refusal("InvalidAMIID.Malformed", f'Invalid id: "{identity}"')
        found[key] = identity
    return found


def _uefi(call: Call) -> str | None:
    data: str | None = call.get("UefiData")
    if data is None:
        return None
    if call.get("BootMode") not in ("uefi", "uefi-preferred"):
        raise combination("UefiData requires the boot mode uefi")
    try:
        variables = base64.b64decode(data, validate=True)
    except (ValueError, binascii.Error):
        variables = b""
    if len(data) > LARGEST_UEFI_DATA or not variables.startswith(UEFI_VARIABLES):
        raise invalid("The UEFI data is not valid")
    return data
