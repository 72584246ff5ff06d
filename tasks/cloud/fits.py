"""Whether an AMI is the one meant, and whether an instance type can run it: asked before anything is started."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tasks.cloud import tags
from tasks.cloud.clients import Cloud
from tasks.kit.fault import CloudFault, Fault
from tasks.spec import names
from tasks.spec.launch import usual_type
from tasks.spec.record import AmiReceipt

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import ImageTypeDef, InstanceTypeInfoTypeDef

# What an image says of itself, and what that is called.
ASKED = {
    "Architecture": "architecture",
    "RootDeviceType": "root device",
    "VirtualizationType": "virtualization",
    "BootMode": "boot mode",
}
EITHER = "uefi-preferred"


def image_faults(
    found: "ImageTypeDef | None", receipt: AmiReceipt, image: str, cloud: Cloud
) -> Iterator[CloudFault]:
    """Why this is not the AMI of the image's receipt, here."""
    where, hint = f"EC2 in {cloud.region}", f"delete {image}'s ami.json and run doit again"
    there, here = (receipt.account, receipt.region), (cloud.account, cloud.region)
    if (*there, receipt.cloud_id) != (*here, cloud.id):
        yield CloudFault(
            f"{receipt.id} was registered in account {there[0]} in {there[1]}, but {cloud.name} is now {here[0]}"
            f" in {here[1]}{', and has forgotten what it held' if there == here else ''}",
            where=where,
            hint=f"choose the credentials and the region of before, or {hint}",
        )
    elif found is None:
        yield CloudFault(f"{receipt.id} is not there any more", where=where, hint=hint)
    else:
        for problem in _differences(found, receipt, image, cloud.account):
            yield CloudFault(problem, where=where, hint=hint)


def _differences(found: "ImageTypeDef", receipt: AmiReceipt, image: str, account: str) -> Iterator[str]:
    held = tags.mapped(found.get("Tags", ()))
    if found.get("OwnerId") != account:
        yield f"{receipt.id} is of account {found.get('OwnerId')}, and not of ours, {account}"
    if held.get(names.IMAGE_TAG) != image:
        yield f"{receipt.id} is of {held.get(names.IMAGE_TAG, 'an image that is not ours')}, and not of {image}"
    elif held.get(names.DIGEST_TAG) != receipt.digest:
        yield f"{receipt.id} is of other content than its receipt says"
    if found.get("State") != "available":
        yield f"{receipt.id} is {found.get('State')}, and not available"


def type_faults(
    image: "ImageTypeDef", kind: "InstanceTypeInfoTypeDef | None", name: str
) -> Iterator[CloudFault]:
    """Why an instance type cannot run the image."""
    ebs = image.get("RootDeviceType") != "instance-store"
    usual = usual_type(image.get("Architecture", ""), ebs=ebs)
    hint = f"write another: `launch: {{type: {usual}}}` in the image's configuration, or --type={usual}"
    if kind is None:
        yield CloudFault(f"there is no instance type {name} in this region", hint=hint)
        return
    able: dict[str, Sequence[object]] = {
        "Architecture": kind.get("ProcessorInfo", {}).get("SupportedArchitectures", ()),
        "RootDeviceType": kind.get("SupportedRootDeviceTypes", ()),
        "VirtualizationType": kind.get("SupportedVirtualizationTypes", ()),
        "BootMode": kind.get("SupportedBootModes", ()),
    }
    for key, what in ASKED.items():
        wanted, words = image.get(key), [str(word) for word in able[key]]
        if words and wanted and wanted != EITHER and wanted not in words:
            yield CloudFault(
                f"{name} cannot run it: the image's {what} is {wanted}, and {name} has {' and '.join(words)}",
                hint=hint,
            )
    yield from _lacking(image, kind, name, hint)


def _lacking(
    image: "ImageTypeDef", kind: "InstanceTypeInfoTypeDef", name: str, hint: str
) -> Iterator[CloudFault]:
    """What one of the two needs of the other. A paravirtual image was refused already."""
    hvm = image.get("VirtualizationType") == "hvm"
    if (
        hvm
        and kind.get("NetworkInfo", {}).get("EnaSupport") == "required"
        and not image.get("EnaSupport")
    ):
        yield CloudFault(
            f"{name} cannot run it: its network is ENA's, for which the image is not registered",
            hint=f"`ami: {{ena: true}}` in the image's configuration, if its kernel has the driver; or {hint}",
        )
    encrypted = any(
        each.get("Ebs", {}).get("Encrypted") for each in image.get("BlockDeviceMappings", ())
    )
    if encrypted and kind.get("EbsInfo", {}).get("EncryptionSupport") == "unsupported":
        yield CloudFault(
            f"{name} cannot run it: the image is encrypted, which {name} cannot read", hint=hint
        )
    if image.get("TpmSupport") and kind.get("NitroTpmSupport") == "unsupported":
        yield CloudFault(
            f"{name} cannot run it: the image wants a TPM, and {name} has none",
            hint=f"`ami: {{tpm: false}}` in the image's configuration; or {hint}",
        )


def together(faults: Sequence[Fault]) -> Fault:
    """All that is in the way, as one fault."""
    if len(faults) == 1:
        return faults[0]
    return CloudFault(
        f"{len(faults)} things are in the way; nothing was started",
        evidence=[fault.problem for fault in faults],
        where=faults[0].where,
        hint="; ".join(dict.fromkeys(fault.hint for fault in faults if fault.hint)),
    )
