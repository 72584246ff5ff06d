"""RegisterImage of S3-backed images, as AWS documents it; moto keeps a name and a description and invents the rest.

What is not known here is refused rather than forgotten.
"""

import threading
from typing import Any
from xml.etree import ElementTree as ET

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.amis import Ami
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.utils import random_ami_id
from moto.s3.models import s3_backends

from tasks.spec.cloud import AMI_NAME

KNOWN = {
    "Name", "ImageLocation", "Description", "Architecture", "VirtualizationType", "KernelId", "RamdiskId",
    "RootDeviceName", "ImdsSupport", "EnaSupport", "BlockDeviceMappings", "TagSpecifications", "DryRun",
}  # fmt: skip
CHOICES = {
    "Architecture": ("i386", "x86_64", "arm64"),
    "VirtualizationType": ("paravirtual", "hvm"),
    "ImdsSupport": ("v2.0",),
}
MAX_DESCRIPTION = 255
ONE_AT_A_TIME = threading.Lock()  # or two requests of one name would both find it free


class StoredImage(Ami):
    """An image in S3: what was asked for, kept. moto's own would make a volume and a snapshot for it."""

    def __init__(self, backend: Any, wish: dict[str, Any]) -> None:
        self.ec2_backend, self.id, self.owner_id = backend, random_ami_id(), backend.account_id
        self.name, self.description = wish["Name"], wish.get("Description")
        self.image_location = wish["ImageLocation"]
        self.architecture = wish["Architecture"]
        self.virtualization_type = wish.get("VirtualizationType", "paravirtual")
        self.kernel_id, self.ramdisk_id = wish.get("KernelId"), wish.get("RamdiskId")
        self.root_device_name = wish.get("RootDeviceName", "/dev/sda1")
        self.root_device_type = "instance-store"
        self.imds_support, self.ena_support = wish.get("ImdsSupport"), wish.get("EnaSupport", False)
        self.mappings = wish.get("BlockDeviceMappings", [])
        self.state, self.image_type, self.hypervisor = "available", "machine", "xen"
        self.creation_date = utcnow()
        self.owner_alias = self.platform = self.instance_id = None
        self.product_codes: set[str] = set()
        self.launch_permissions: list[dict[str, str]] = []
        for tag in asked_tags(wish):
            self.add_tag(tag["Key"], tag["Value"])

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        return list(self.mappings)


def install() -> None:
    setattr(AmisResponse, AmisResponse.register_image.__name__, register_image)


def register_image(self: Any) -> ActionResult:
    wish = dict(self.params)
    backend = self.ec2_backend
    with ONE_AT_A_TIME:
        judge(wish)
        stored(wish, backend.account_id)
        for image in backend.amis.values():
            if image.name == wish["Name"]:
                raise EC2ClientError(
                    "InvalidAMIName.Duplicate",
                    f"AMI name {wish['Name']} is already in use by AMI {image.id}",
                )
        self.error_on_dryrun()
        image = StoredImage(backend, wish)
        backend.amis[image.id] = image
    return ActionResult({"ImageId": image.id})


def judge(wish: dict[str, Any]) -> None:
    """Refuse what AWS would, and what this cloud does not know."""
    if strange := sorted(set(wish) - KNOWN):
        raise EC2ClientError(
            "UnsupportedOperation", f"The local cloud does not know {', '.join(strange)}"
        )
    if not wish.get("ImageLocation"):
        raise EC2ClientError(
            "UnsupportedOperation", "The local cloud registers S3-backed images only: give ImageLocation"
        )
    if not AMI_NAME.fullmatch(wish["Name"]):
        raise EC2ClientError(
            "InvalidAMIName.Malformed",
            "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, "
            "'(', ')', '[', ']', ' ', '.', '/', '-', ''', '@' and '_'",
        )
    if len(wish.get("Description", "")) > MAX_DESCRIPTION:
        raise EC2ClientError(
            "InvalidParameterValue", f"Description is longer than {MAX_DESCRIPTION} characters"
        )
    for key, choices in CHOICES.items():
        if key in wish and wish[key] not in choices:
            raise EC2ClientError("InvalidParameterValue", f"Invalid value '{wish[key]}' for {key}")
    if any("Ebs" in mapping for mapping in wish.get("BlockDeviceMappings", [])):
        raise EC2ClientError(
            "UnsupportedOperation", "The local cloud does not know EBS volumes of S3-backed images"
        )
    asked_tags(wish)


def asked_tags(wish: dict[str, Any]) -> list[dict[str, str]]:
    tags = []
    for specification in wish.get("TagSpecifications", []):
        if specification.get("ResourceType") != "image":
            raise EC2ClientError(
                "InvalidParameterValue",
                f"'{specification.get('ResourceType')}' is not a valid taggable resource type for this operation.",
            )
        tags += specification.get("Tags", [])
    return tags


def stored(wish: dict[str, Any], account: str) -> None:
    """The manifest and every part it names are in S3. The architecture, if not asked for, is the manifest's."""
    bucket, _, key = wish["ImageLocation"].partition("/")
    try:
        manifest = ET.fromstring(fetched(account, bucket, key))  # noqa: S314 - expat limits what entities may grow to
    except ET.ParseError as error:
        raise EC2ClientError("InvalidManifest", f"The manifest is no XML: {error}") from error
    names = [element.text or "" for element in manifest.findall("./image/parts/part/filename")]
    if not names:
        raise EC2ClientError("InvalidManifest", "The manifest names no parts")
    for name in names:
        fetched(account, bucket, f"{key.rpartition('/')[0]}/{name}".lstrip("/"))
    wish.setdefault("Architecture", manifest.findtext("./machine_configuration/architecture"))


def fetched(account: str, bucket: str, key: str) -> bytes:
    backend = s3_backends[account]["aws"]
    found = backend.get_object(bucket, key) if bucket in backend.buckets else None
    if found is None:
        raise EC2ClientError(
            "InvalidManifest",
            f"HTTP 404 (Not Found) response for URL http://s3.amazonaws.com:80/{bucket}/{key}: "
            "check your manifest path is correct and in the correct region.",
        )
    return bytes(found.value) if key.endswith(".xml") else b""
