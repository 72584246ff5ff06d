"""Images: who sees them, in which state they are, and how they end. registration.py makes them.

An image is held as EC2 describes it, its state apart: that follows from `made`, `disabled` and the clock.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.ec2.filters import matching, plain, within
from tasks.cloud.local.ec2.service import SERVICE, combination, paged
from tasks.cloud.local.ec2.tagging import without_none
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Store, Thing, anybody, every
from tasks.cloud.local.wire.text import moment

IMAGE, GONE = "image", "deregistered-image"
ID = re.compile(r"ami-([0-9a-f]{8}|[0-9a-f]{17})")
ACCOUNT = re.compile(r"[0-9]{12}")
ALIASES = ("amazon", "aws-marketplace", "aws-backup-vault")  # of owners that have no images here
OURS = {"made", "disabled", "permissions", "uefi"}  # of what is held, what EC2 does not describe

Test = Callable[[Thing], bool]

TABLE = {
    **plain(
        "architecture", "boot-mode", "creation-date", "description", "ena-support", "hypervisor", "image-id",
        "image-type", "kernel-id", "name", "owner-id", "platform", "ramdisk-id", "root-device-name",
        "root-device-type", "sriov-net-support", "state", "tpm-support", "imds-support", "virtualization-type",
        "usage-operation", "platform-details",
    ),
    "block-device-mapping.delete-on-termination": within("BlockDeviceMappings", "Ebs", "DeleteOnTermination"),
    "block-device-mapping.device-name": within("BlockDeviceMappings", "DeviceName"),
    "block-device-mapping.encrypted": within("BlockDeviceMappings", "Ebs", "Encrypted"),
    "block-device-mapping.snapshot-id": within("BlockDeviceMappings", "Ebs", "SnapshotId"),
    "block-device-mapping.volume-size": within("BlockDeviceMappings", "Ebs", "VolumeSize"),
    "block-device-mapping.volume-type": within("BlockDeviceMappings", "Ebs", "VolumeType"),
    "is-public": lambda image: image["Public"],
    "manifest-location": lambda image: image["ImageLocation"],
    # No image here has any of these.
    **dict.fromkeys(
        ("owner-alias", "product-code", "product-code.type", "public-ssm-parameter-name", "source-image-id",
         "source-image-region", "source-instance-id", "state-reason-code", "state-reason-message"),
        lambda _: None,
    ),
}  # fmt: skip


def usable(store: Store, account: str, region: str, identity: str) -> Thing:
    """An image that the account may launch now, as it is held. Raises Refusal."""
    well_formed([identity])
    image = _visible(store, account, region, identity)
    if image is None:
        raise _absent(store, region, [identity])
    if (state := state_of(store, image)) != "available":
        raise _unavailable(identity, state)
    return image


def own(call: Call, identity: str) -> Thing:
    """The account's own image. Raises Refusal."""
    well_formed([identity])
    image = call.things(IMAGE).get(identity)
    if image is None:
        found = anybody(call.store, IMAGE, identity)
        if found and found[1] == call.region:
            raise Refusal("AuthFailure", f"Not authorized for image:{identity}", 403)
        raise _absent(call.store, call.region, [identity])
    return image


def state_of(store: Store, image: Thing) -> str:
    if image["disabled"]:
        return "disabled"
    pending = image["made"] + store.setting("pending") > datetime.now(UTC).timestamp()
    return "pending" if pending else "available"


def public(image: Thing) -> bool:
    return {"Group": "all"} in image["permissions"]


def shared(image: Thing, account: str) -> bool:
    return {"UserId": account} in image["permissions"]


def described(store: Store, image: Thing) -> Thing:
    told = {key: value for key, value in image.items() if key not in OURS}
    return without_none(told) | {"State": state_of(store, image), "Public": public(image)}


def well_formed(identities: Sequence[str]) -> None:
    for identity in identities:
        if not identity.startswith("ami-"):
            raise Refusal("InvalidAMIID.Malformed", f'Invalid id: "{identity}" (expecting "ami-...")')
        if not ID.fullmatch(identity):
            raise Refusal("InvalidAMIID.Malformed", f'Invalid id: "{identity}"')


def _visible(store: Store, account: str, region: str, identity: str) -> Thing | None:
    found = anybody(store, IMAGE, identity)
    if found is None or found[1] != region:
        return None
    owner, _, image = found
    if account != owner and not (public(image) or shared(image, account)):
        raise Refusal("AuthFailure", f"Not authorized for images: [{identity}]", 403)
    return image


def _absent(store: Store, region: str, identities: Sequence[str]) -> Refusal:
    gone = [each for each in identities if _gone(store, region, each)]
    if gone:
        return _unavailable(gone[0], "deregistered")
    what = "ids" if len(identities) > 1 else "id"
    verb = "do" if len(identities) > 1 else "does"
    return Refusal(
        "InvalidAMIID.NotFound", f"The image {what} '[{', '.join(identities)}]' {verb} not exist"
    )


def _gone(store: Store, region: str, identity: str) -> bool:
    found = anybody(store, GONE, identity)
    return found is not None and found[1] == region


def _unavailable(identity: str, state: str) -> Refusal:
    return Refusal(
        "InvalidAMIID.Unavailable", f"The image ID '{identity}' is not available: it is {state}"
    )


@SERVICE.operation
def describe_images(call: Call) -> Answer:
    wanted = call.get("ImageIds", ())
    if wanted and (call.get("MaxResults") or call.get("NextToken")):
        raise combination("The parameter imageIds cannot be used with the parameter maxResults")
    owned, executable = _owned(call), _executable(call)
    deprecated, disabled = call.get("IncludeDeprecated", False), call.get("IncludeDisabled", False)
    scoped = [
        image
        for image in (_by_id(call, wanted) if wanted else _listed(call))
        if owned(image)
        and executable(image)
        and (disabled or not image["disabled"])
        and (deprecated or wanted or not _deprecated(call, image))
    ]
    told = [described(call.store, image) for image in scoped]
    return paged(call, matching(call, told, TABLE), "Images", least=1)


def _listed(call: Call) -> Iterator[Thing]:
    """All that the account sees: its own, those that are shared with it, those that are everybody's."""
    until = call.now - call.store.setting("lag")
    for owner, region, image in every(call.store, IMAGE):
        mine = call.account == owner or public(image) or shared(image, call.account)
        if region == call.region and image["made"] <= until and mine:
            yield image


def _by_id(call: Call, wanted: Sequence[str]) -> Iterator[Thing]:
    """Those that were deregistered are not told of any more; that is no error as yet, as EC2 has it."""
    well_formed(wanted)
    until = call.now - call.store.setting("lag")
    missing = []
    for identity in dict.fromkeys(wanted):
        image = _visible(call.store, call.account, call.region, identity)
        if image and image["made"] <= until:
            yield image
        elif not _gone(call.store, call.region, identity):
            missing.append(identity)
    if missing:
        raise _absent(call.store, call.region, missing)


def _owned(call: Call) -> Test:
    owners = _accounts(call.get("Owners", ()), "self", *ALIASES)
    mine = {call.account if owner == "self" else owner for owner in owners}
    return lambda image: not mine or image["OwnerId"] in mine


def _executable(call: Call) -> Test:
    users = _accounts(call.get("ExecutableUsers", ()), "self", "all")
    mine = {call.account if user == "self" else user for user in users if user != "all"}
    return lambda image: (
        not users or any(shared(image, user) for user in mine) or ("all" in users and public(image))
    )


def _accounts(users: Sequence[str], *words: str) -> Sequence[str]:
    for user in users:
        if user not in words and not ACCOUNT.fullmatch(user):
            raise Refusal("InvalidUserID.Malformed", f'Invalid user id: "{user}"')
    return users


def _deprecated(call: Call, image: Thing) -> bool:
    at = image.get("DeprecationTime")
    return bool(at and image["OwnerId"] != call.account and moment(at).timestamp() <= call.now)


def backing(image: Thing) -> list[str]:
    """The snapshots that it is made of."""
    return [
        mapping["Ebs"]["SnapshotId"]
        for mapping in image["BlockDeviceMappings"]
        if mapping.get("Ebs", {}).get("SnapshotId")
    ]
