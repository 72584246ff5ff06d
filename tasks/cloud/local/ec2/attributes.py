"""What of an image may change after its registration: its words, whom it is shared with, whether it is of use at all."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.cloud.local.call import Answer, Asked, Call
from tasks.cloud.local.ec2.images import ACCOUNT, IMAGE, own, public, state_of
from tasks.cloud.local.ec2.registration import LONGEST
from tasks.cloud.local.ec2.service import SERVICE, combination, invalid
from tasks.cloud.local.refusal import Refusal, unknown
from tasks.cloud.local.store import Thing
from tasks.cloud.local.wire.text import iso, moment

Permission = dict[str, str]

BLOCKED, OPEN = "block-new-sharing", "unblocked"  # new accounts begin blocked
SHARING = "image-sharing"  # kind, and id, of what holds the account's own choice
YEAR = timedelta(days=365)
MOST_YEARS, MOST_PUBLIC_YEARS = 10, 2
ORGANIZATION = re.compile(r"arn:aws[a-z-]*:organizations::[0-9]{12}:organization/o-[a-z0-9]{10,32}")
UNIT = re.compile(
    r"arn:aws[a-z-]*:organizations::[0-9]{12}:ou/o-[a-z0-9]{10,32}/ou-[a-z0-9]{4,32}-[a-z0-9]{8,32}"
)

# By the attribute's name: the member of the answer, and where an image has it.
PLAIN = {
    "description": ("Description", "Description"),
    "kernel": ("KernelId", "KernelId"),
    "ramdisk": ("RamdiskId", "RamdiskId"),
    "sriovNetSupport": ("SriovNetSupport", "SriovNetSupport"),
    "bootMode": ("BootMode", "BootMode"),
    "tpmSupport": ("TpmSupport", "TpmSupport"),
    "uefiData": ("UefiData", "uefi"),
    "imdsSupport": ("ImdsSupport", "ImdsSupport"),
    "lastLaunchedTime": ("LastLaunchedTime", "LastLaunchedTime"),
    "deregistrationProtection": ("DeregistrationProtection", "DeregistrationProtection"),
}


@SERVICE.operation
def describe_image_attribute(call: Call) -> Answer:
    image, attribute = own(call, call.asked["ImageId"]), call.asked["Attribute"]
    answer: dict[str, Any] = {"ImageId": image["ImageId"]}
    if attribute == "launchPermission":
        return answer | {"LaunchPermissions": image["permissions"]}
    if attribute == "productCodes":
        return answer | {"ProductCodes": []}
    if attribute == "blockDeviceMapping":  # to everybody, since 2014
        raise Refusal("AuthFailure", "Unauthorized attempt to access restricted resource", 403)
    member, key = PLAIN[attribute]
    return answer | {member: {"Value": image[key]} if image.get(key) else {}}


@SERVICE.operation
def modify_image_attribute(call: Call) -> Answer:
    image = own(call, call.asked["ImageId"])
    said = {"Description", "ImdsSupport", "LaunchPermission"} & set(call.asked)
    named = call.get("Attribute")
    if len(said) + bool(named) != 1:
        raise combination("Specify one attribute, and no more than one at a time")
    attribute = (named or said.pop()).lower()
    if attribute == "launchpermission":
        add, remove = _by_operation(call) if named else _by_structure(call.asked["LaunchPermission"])
        image["permissions"] = _shared(call, image, add, remove)
    elif attribute == "description":
        image["Description"] = _description(
            call.get("Value", "") if named else _value(call, "Description")
        )
    elif attribute == "imdssupport":
        value = call.get("Value") if named else _value(call, "ImdsSupport")
        if value != "v2.0":
            raise invalid(f"Value ({value}) for parameter imdsSupport is invalid. Valid values: v2.0")
        image["ImdsSupport"] = value
    else:
        raise unknown(f"the attribute {named}", "ec2")
    call.things(IMAGE).save(image["ImageId"], image)
    return {}


def _value(call: Call, key: str) -> str:
    return str(call.asked[key].get("Value", ""))


def _description(text: str) -> str:
    if len(text) > LONGEST:
        raise invalid(f"Description exceeds the maximum length of {LONGEST} characters")
    return text


def _by_operation(call: Call) -> tuple[list[Permission], list[Permission]]:
    operation = call.get("OperationType")
    named = [
        {key: each}
        for parameter, key in (
            ("UserIds", "UserId"),
            ("UserGroups", "Group"),
            ("OrganizationArns", "OrganizationArn"),
            ("OrganizationalUnitArns", "OrganizationalUnitArn"),
        )
        for each in call.get(parameter, ())
    ]
    if operation is None or not named:
        raise combination(
            "launchPermission needs an operation type and users, groups, organizations or units"
        )
    return (named, []) if operation == "add" else ([], named)


def _by_structure(asked: Asked) -> tuple[list[Permission], list[Permission]]:
    """Of each entry, what it names: one thing."""
    add, remove = ([each.whole() for each in asked.get(key, ())] for key in ("Add", "Remove"))
    if any(len(each) != 1 for each in (*add, *remove)) or not (add or remove):
        raise combination(
            "Each launch permission names one of a user, a group, an organization or a unit"
        )
    return add, remove


def _shared(
    call: Call, image: Thing, add: Iterable[Permission], remove: Iterable[Permission]
) -> list[Permission]:
    for each in (*add, *remove):
        _judge(each)
    if image["disabled"] and add:
        raise Refusal(
            "InvalidAMIID.Unavailable",
            f"The image ID '{image['ImageId']}' is disabled and cannot be shared",
        )
    if {"Group": "all"} in add and _blocked(call) == BLOCKED:
        raise Refusal(
            "OperationNotPermitted",
            "You can't publicly share this image because block public access for images is enabled for this account."
            " To publicly share the image, call the DisableImageBlockPublicAccess API.",
        )
    encrypted = any(each.get("Ebs", {}).get("Encrypted") for each in image["BlockDeviceMappings"])
    if {"Group": "all"} in add and encrypted:
        raise invalid("Images with encrypted snapshots cannot be made public")
    held = [each for each in image["permissions"] if each not in remove]
    return held + [each for each in add if each not in held]


def _judge(permission: Permission) -> None:
    """Raises Refusal."""
    [(key, value)] = permission.items()
    able = {
        "UserId": bool(ACCOUNT.fullmatch(value)),
        "Group": value == "all",
        "OrganizationArn": bool(ORGANIZATION.fullmatch(value)),
        "OrganizationalUnitArn": bool(UNIT.fullmatch(value)),
    }
    if not able[key]:
        kind = key[0].lower() + key[1:]
        raise Refusal(
            "InvalidAMIAttributeItemValue",
            f'Invalid attribute item value "{value}" for {kind} item type.',
        )


@SERVICE.operation
def reset_image_attribute(call: Call) -> Answer:
    image = own(call, call.asked["ImageId"])
    call.asked["Attribute"]  # there is one that can be reset: launchPermission
    call.things(IMAGE).save(image["ImageId"], image | {"permissions": []})
    return {}


@SERVICE.operation
def get_image_block_public_access_state(call: Call) -> Answer:
    return {"ImageBlockPublicAccessState": _blocked(call), "ManagedBy": "account"}


@SERVICE.operation
def enable_image_block_public_access(call: Call) -> Answer:
    return _block(call, call.asked["ImageBlockPublicAccessState"])


@SERVICE.operation
def disable_image_block_public_access(call: Call) -> Answer:
    return _block(call, OPEN)


def _blocked(call: Call) -> str:
    return str((call.things(SHARING).get(SHARING) or {"state": BLOCKED})["state"])


def _block(call: Call, state: str) -> Answer:
    """AWS takes up to ten minutes."""
    call.things(SHARING).drop(SHARING)
    call.things(SHARING).add(SHARING, {"state": state})
    return {"ImageBlockPublicAccessState": state}


@SERVICE.operation
def get_ebs_encryption_by_default(_: Call) -> Answer:
    """It is off, and cannot be put on: there is no KMS here."""
    return {"EbsEncryptionByDefault": False, "SseType": "none"}


@SERVICE.operation
def disable_image(call: Call) -> Answer:
    """Nobody else has it any more; its owner may have it again."""
    image = own(call, call.asked["ImageId"])
    if state_of(call.store, image) == "pending":
        raise Refusal("InvalidAMIID.Unavailable", f"The image ID '{image['ImageId']}' is pending")
    return _saved(call, image | {"disabled": True, "permissions": []})


@SERVICE.operation
def enable_image(call: Call) -> Answer:
    return _saved(call, own(call, call.asked["ImageId"]) | {"disabled": False})


@SERVICE.operation
def enable_image_deprecation(call: Call) -> Answer:
    image, at = own(call, call.asked["ImageId"]), moment(call.asked["DeprecateAt"])
    now = datetime.fromtimestamp(call.now, UTC)
    last = now + MOST_YEARS * YEAR
    if public(image):
        last = moment(image["CreationDate"]) + MOST_PUBLIC_YEARS * YEAR
    at = (at + timedelta(seconds=30)).replace(second=0, microsecond=0)
    if not now < at <= last:
        raise invalid(f"The deprecation time {iso(at)} is not between now and {iso(last)}")
    return _saved(call, image | {"DeprecationTime": iso(at)})


@SERVICE.operation
def disable_image_deprecation(call: Call) -> Answer:
    image = own(call, call.asked["ImageId"])
    image.pop("DeprecationTime", None)
    return _saved(call, image)


def _saved(call: Call, image: Thing) -> Answer:
    call.things(IMAGE).save(image["ImageId"], image)
    return {"Return": True}
