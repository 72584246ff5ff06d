"""Keys: made, described, switched off and on. Nothing is encrypted here: a key is only ever asked whether it may be used.

A thing of the kind `kms-key` is its own description, under KMS's names. The key that AWS has for an account's volumes is
there without having been made.
"""

import re
import uuid
from typing import Any, Literal

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.kms.service import SERVICE
from tasks.cloud.local.refusal import Refusal, unknown
from tasks.cloud.local.store import Store, Thing

KIND = "kms-key"
EBS = "alias/aws/ebs"
SYMMETRIC, ENCRYPTION = "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"
ARN = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]*):([0-9]{12}):(?:key/([A-Za-z0-9-]+)|(alias/[\w/-]+))")
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|mrk-[0-9a-f]{32}")
ALIAS = re.compile(r"alias/[\w/-]+", re.ASCII)

Trouble = Literal["malformed", "elsewhere", "foreign", "absent", "disabled"]


def default_key(account: str, region: str) -> str:
    """The ARN of the key that AWS has for an account's volumes."""
    name = uuid.uuid5(uuid.NAMESPACE_URL, f"{EBS} {account} {region}")
    return _arn(account, region, str(name))


def _arn(account: str, region: str, name: str) -> str:
    return f"arn:aws:kms:{region}:{account}:key/{name}"


def usable(store: Store, account: str, region: str, asked: str) -> tuple[str, Trouble | None]:
    """The ARN of the key that is meant (by id, alias, or the ARN of either), and why volumes cannot be encrypted with it.

    A key of another account may be used where its policy says so; policies are not known here, and the usual one does not.
    """
    found = _parsed(account, region, asked)
    if isinstance(found, str):
        return asked, "malformed"
    there, owner, name = found
    if owner != account:
        return asked, "foreign"
    if there != region:
        return asked, "elsewhere"
    thing = _named(store, account, region, name)
    if thing is None:
        return asked, "absent"
    return str(thing["Arn"]), None if thing["KeyState"] == "Enabled" else "disabled"


def _parsed(account: str, region: str, asked: str) -> tuple[str, str, str] | str:
    """Region, account, and id or alias; or the text itself, when it says nothing."""
    if full := ARN.fullmatch(asked):
        return full[1], full[2], full[3] or full[4]
    return (region, account, asked) if ID.fullmatch(asked) or ALIAS.fullmatch(asked) else asked


def _named(store: Store, account: str, region: str, name: str) -> Thing | None:
    """By id or alias. KMS makes the account's own key for EBS when it is first asked for; here it always was."""
    arn = default_key(account, region)
    if name == EBS or arn.endswith(f"/{name}"):
        return _described(arn, made=0.0, manager="AWS", about="Default key that protects my EBS volumes")
    return store.things(KIND, account, region).get(name)


def _described(arn: str, *, made: float, manager: str, about: str) -> dict[str, Any]:
    account, name = arn.split(":")[4], arn.rpartition("/")[2]
    return {
        "AWSAccountId": account,
        "KeyId": name,
        "Arn": arn,
        "CreationDate": made,
        "Enabled": True,
        "Description": about,
        "KeyUsage": ENCRYPTION,
        "KeyState": "Enabled",
        "Origin": "AWS_KMS",
        "KeyManager": manager,
        "CustomerMasterKeySpec": SYMMETRIC,
        "KeySpec": SYMMETRIC,
        "EncryptionAlgorithms": [SYMMETRIC],
        "MultiRegion": False,
    }


@SERVICE.operation
def create_key(call: Call) -> Answer:
    """A symmetric one of KMS's own making: the only kind that EBS takes."""
    wishes = {
        "KeyUsage": ENCRYPTION,
        "KeySpec": SYMMETRIC,
        "CustomerMasterKeySpec": SYMMETRIC,
        "Origin": "AWS_KMS",
    }
    for name, known in wishes.items():
        if (wish := call.get(name, known)) != known:
            raise unknown(f"the {name} {wish}", "kms")
    identity = str(uuid.uuid4())
    arn = _arn(call.account, call.region, identity)
    thing = _described(arn, made=call.now, manager="CUSTOMER", about=call.get("Description", ""))
    call.things(KIND).add(identity, thing)
    return {"KeyMetadata": thing}


@SERVICE.operation
def describe_key(call: Call) -> Answer:
    return {"KeyMetadata": _meant(call)}


@SERVICE.operation
def enable_key(call: Call) -> Answer:
    return _switched(call, on=True)


@SERVICE.operation
def disable_key(call: Call) -> Answer:
    return _switched(call, on=False)


def _switched(call: Call, *, on: bool) -> Answer:
    thing = _meant(call)
    if thing["KeyManager"] == "AWS":
        raise Refusal(
            "AccessDeniedException",
            "AWS managed keys can be neither enabled nor disabled by their account",
        )
    thing |= {"Enabled": on, "KeyState": "Enabled" if on else "Disabled"}
    call.things(KIND).save(thing["KeyId"], thing)
    return {}


def _meant(call: Call) -> Thing:
    asked = call.asked["KeyId"]
    found = _parsed(call.account, call.region, asked)
    if isinstance(found, str):
        raise Refusal("NotFoundException", f"Invalid keyId {asked!r}")
    region, account, name = found
    if account != call.account:
        raise Refusal(
            "AccessDeniedException",
            f"User: arn:aws:iam::{call.account}:root is not authorized to perform: kms:{call.operation} on resource:"
            f" {asked} because no resource-based policy allows it",
        )
    thing = _named(call.store, account, region, name) if region == call.region else None
    if thing is None:
        said = "Alias" if name.startswith("alias/") else "Key"
        raise Refusal("NotFoundException", f"{said} '{asked}' does not exist")
    return thing
