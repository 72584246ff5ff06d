"""Buckets: made, found, listed, removed."""

import base64
import ipaddress
import json
import re
from typing import Any

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.s3 import pieces
from tasks.cloud.local.s3.service import ENFORCED, SERVICE, Bucket, bucket_named, owned, user

FIRST_REGION = "us-east-1"  # has no location constraint, and says yes to a bucket that is there
EUROPE = {"EU": "eu-west-1"}  # its name of 2007
NAME = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
RESERVED = re.compile(
    r"(?:xn--|sthree-|amzn-s3-demo-).*|.*(?:-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)"
)
MOST = 10_000  # buckets, and how many a page of their list has at most
PRIVATE = dict.fromkeys(
    ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
)


@SERVICE.operation
def list_buckets(call: Call) -> Answer:
    limit = call.get("MaxBuckets", MOST)
    if not 1 <= limit <= MOST:
        raise Refusal("InvalidArgument", f"MaxBuckets is 1 to {MOST}")
    prefix, region, token = (
        call.get("Prefix", ""),
        call.get("BucketRegion"),
        call.get("ContinuationToken"),
    )
    rows = call.store.db.execute(
        "SELECT name, region, made FROM s3_buckets WHERE account = ? AND name > ? ORDER BY name",
        (call.account, decoded(token) if token else ""),
    ).fetchall()
    found = [row for row in rows if row[0].startswith(prefix) and region in (None, row[1])]
    answer: dict[str, Any] = {
        "Buckets": [
            {"Name": name, "BucketRegion": at, "CreationDate": made, "BucketArn": arn(name)}
            for name, at, made in found[:limit]
        ],
        "Owner": {"ID": user(call.account)},
    }
    if len(found) > limit:
        answer["ContinuationToken"] = encoded(found[limit - 1][0])
    return answer | ({"Prefix": prefix} if prefix else {})


def arn(name: str) -> str:
    return f"arn:aws:s3:::{name}"


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def decoded(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise Refusal("InvalidArgument", "The continuation token provided is incorrect") from None


@SERVICE.operation
def create_bucket(call: Call) -> Answer:
    name, region = call.asked["Bucket"], _place(call)
    _named_well(name)
    settings = {"ownership": _ownership(call), "block": PRIVATE}
    present = bucket_named(call.store, name)
    if present:
        _again(call, present)
    else:
        call.store.db.execute(
            "INSERT INTO s3_buckets VALUES (?, ?, ?, ?, ?)",
            (name, call.account, region, float(int(call.now)), json.dumps(settings)),
        )
    path = f"/{name}" if call.region == FIRST_REGION else f"http://{name}.s3.amazonaws.com/"
    return {"Location": path, "BucketArn": arn(name)}


def _place(call: Call) -> str:
    """The region that is asked for, by name and by where it is asked."""
    wish = call.get("CreateBucketConfiguration", {})
    asked: str | None = wish.get("LocationConstraint") or None
    if call.region == FIRST_REGION:
        return EUROPE.get(asked, asked) if asked else FIRST_REGION
    if asked is None or EUROPE.get(asked, asked) != call.region:
        raise Refusal(
            "IllegalLocationConstraintException",
            f"The {asked or 'unspecified'} location constraint is incompatible for the region specific endpoint "
            "this request was sent to.",
        )
    return call.region


def _named_well(name: str) -> None:
    """By the rules of docs.aws.amazon.com, "General purpose bucket naming rules"."""
    try:
        ipaddress.IPv4Address(name)
        address = True
    except ValueError:
        address = False
    fits = NAME.fullmatch(name) and not RESERVED.fullmatch(name)
    if address or not fits:
        raise Refusal(
            "InvalidBucketName", "The specified bucket is not valid.", fields={"BucketName": name}
        )


def _ownership(call: Call) -> str:
    ownership: str = call.get("ObjectOwnership", ENFORCED)
    acl = call.get("ACL", "private")
    if acl != "private" and ownership == ENFORCED:
        raise Refusal(
            "InvalidBucketAclWithObjectOwnership",
            "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
        )
    if acl != "private":
        raise Refusal(
            "InvalidBucketAclWithBlockPublicAccessError",
            "Bucket cannot have public ACLs set with BlockPublicAccess enabled",
        )
    return ownership


def _again(call: Call, present: Bucket) -> None:
    """Raises Refusal, but to its owner in the first region, as it always was."""
    fields = {"BucketName": present.name}
    if present.account != call.account:
        raise Refusal(
            "BucketAlreadyExists",
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system. "
            "Please select a different name and try again.",
            409,
            fields,
        )
    if not present.region == call.region == FIRST_REGION:
        raise Refusal(
            "BucketAlreadyOwnedByYou",
            "Your previous request to create the named bucket succeeded and you already own it.",
            409,
            fields,
        )


@SERVICE.operation
def head_bucket(call: Call) -> Answer:
    bucket = owned(call)
    return {"BucketRegion": bucket.region, "BucketArn": arn(bucket.name), "AccessPointAlias": False}


@SERVICE.operation
def delete_bucket(call: Call) -> Answer:
    """Its multipart uploads go with it; an object does not."""
    bucket, db = owned(call), call.store.db
    if db.execute("SELECT 1 FROM s3_objects WHERE bucket = ? LIMIT 1", (bucket.name,)).fetchone():
        raise Refusal(
            "BucketNotEmpty",
            "The bucket you tried to delete is not empty",
            409,
            {"BucketName": bucket.name},
        )
    holders = db.execute(
        "DELETE FROM s3_uploads WHERE bucket = ? RETURNING holder", (bucket.name,)
    ).fetchall()
    for (holder,) in holders:
        pieces.drop(call, holder)
    db.execute("DELETE FROM s3_buckets WHERE name = ?", (bucket.name,))
    return {}
