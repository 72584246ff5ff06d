"""What EC2 says of what is there, against what was asked for. Sizes in its words are GiB."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tasks.cloud import tags
from tasks.spec import names
from tasks.spec.cloud import Ebs
from tasks.spec.units import UNITS

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import ImageTypeDef, RegisterImageRequestTypeDef, SnapshotTypeDef

UNASKED = (  # absent from the wish, absent from the image
    "BootMode", "Description", "ImdsSupport", "KernelId", "RamdiskId", "SriovNetSupport", "TpmSupport",
)  # fmt: skip
# Compared element by element, or not at all: the name may bear the date of another day, and EC2 shows no variables.
IN_PARTS = ("Name", "TagSpecifications", "BlockDeviceMappings", "UefiData")

Pair = tuple[str, Any, Any]  # what, as asked for, as it is


def differences(
    found: "ImageTypeDef", wish: "RegisterImageRequestTypeDef", *, encrypted: bool = False
) -> list[str]:
    """Where EC2's description is not what was asked for. `encrypted`: whether the snapshot is, as which the volume comes."""
    root = "instance-store" if "ImageLocation" in wish else "ebs"
    asked: dict[str, Any] = {**dict.fromkeys(UNASKED), "RootDeviceType": root, **wish}
    pairs = [(key, asked[key], found.get(key)) for key in sorted(asked) if key not in IN_PARTS]
    held = tags.mapped(found.get("Tags", ()))
    for specification in wish.get("TagSpecifications", ()):
        labels = tags.mapped(specification.get("Tags", ()))
        pairs += [
            (f"tag {key}", label, held.get(key))
            for key, label in labels.items()
            if key != names.NAME_TAG
        ]
    pairs += _devices(found, wish, encrypted=encrypted)
    return [
        f"{key}: asked for {value}, is {held}"
        for key, value, held in pairs
        if (value or None) != (held or None)
    ]


def _devices(
    found: "ImageTypeDef", wish: "RegisterImageRequestTypeDef", *, encrypted: bool
) -> Iterator[Pair]:
    held: dict[str, Any] = {
        each.get("DeviceName", ""): each for each in found.get("BlockDeviceMappings", ())
    }
    for mapping in wish.get("BlockDeviceMappings", ()):
        device = mapping.get("DeviceName", "")
        there = held.pop(device, {})
        yield f"block device {device}", mapping.get("VirtualName"), there.get("VirtualName")
        asked: dict[str, Any] = dict(mapping.get("Ebs", {}))
        if asked:
            # RegisterImage takes no word about the encryption of what comes from a snapshot.
            asked["Encrypted"] = encrypted if "SnapshotId" in asked else asked.get("Encrypted", False)
        for key, value in asked.items():
            yield f"volume {device}: {key}", value, there.get("Ebs", {}).get(key)
    if "ImageLocation" not in wish:
        for device, mapping in held.items():
            what = mapping.get("VirtualName") or mapping.get("Ebs", {}).get("SnapshotId", "a volume")
            yield f"block device {device}", None, what


def troubles(
    found: "SnapshotTypeDef | None", wanted: Ebs, account: str, image: str, sha256: str, size: int
) -> list[str]:
    """Why no image can be made of a snapshot, or not this one: "is gone", say. `size`: bytes, of the disk image."""
    if found is None:
        return ["is gone"]
    labels, state = tags.mapped(found.get("Tags", ())), found.get("State", "")
    key = found.get("KmsKeyId", "")
    judged = (
        (found.get("OwnerId") != account, f"belongs to account {found.get('OwnerId')}"),
        (state == "error", f"failed: {found.get('StateMessage', 'AWS gives no reason')}"),
        (state not in ("completed", "error"), f"is {state}, {found.get('Progress', '0%')} of it"),
        (labels.get(names.IMAGE_TAG) != image, f"bears no tag {names.IMAGE_TAG} that says {image}"),
        (labels.get(names.SHA256_TAG) != sha256, "is of another disk image, as its tag says"),
        (
            found.get("VolumeSize", 0) * UNITS["GiB"] != size,
            f"has {found.get('VolumeSize')} GiB, and the disk image {size / UNITS['GiB']:g}",
        ),
        # The other way round is no fault: an account may encrypt by default whatever comes.
        (
            wanted.encrypted and not found.get("Encrypted"),
            "is not encrypted, as `ebs.encrypted` wants it",
        ),
        (
            wanted.kms_key is not None and key not in ("", wanted.kms_key),
            f"is encrypted with {key}, and not with `ebs.kms_key`",
        ),
    )
    return [because for holds, because in judged if holds]
