"""Objects put, removed, and changed in what is told about them."""

import json
from typing import Any

from tasks.cloud.local.body import SUMS
from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.s3 import acl, integrity, pieces, shelf, tags
from tasks.cloud.local.s3.service import (
    SERVICE,
    Bucket,
    Object,
    held,
    key_of,
    no_key,
    object_at,
    owned,
    spoken_of,
)
from tasks.cloud.local.wire.xmls import malformed

LARGEST = 5 << 30  # bytes that one request may carry
MOST_METADATA = 2048  # bytes
MOST_DELETED = 1000  # keys in one request
TEXTS = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType")
ENCRYPTED = {"ServerSideEncryption": "AES256"}


@SERVICE.operation
def put_object(call: Call) -> Answer:
    bucket, key = owned(call), key_of(call)
    about = wish(call, bucket)
    allowed(call, object_at(call.store, bucket.name, key))
    carried(call)
    name = (integrity.claimed(call) or (integrity.USUAL, ""))[0]
    about |= {"sums": call.body.sums(name), "kind": "FULL_OBJECT"}
    holder = shelf.new_name()
    piece = pieces.add(call, holder, 1, about["sums"])
    put(call, bucket, Object(key, holder, piece.made, piece.size, piece.etag, about))
    return {"ETag": f'"{piece.etag}"', **ENCRYPTED, **sums(about)}


def carried(call: Call) -> None:
    for name in ("ContentLength", "ContentMD5", "ChecksumAlgorithm", *map(parameter, SUMS)):
        call.get(name)  # looked at before the change began
    if call.body.size > LARGEST:
        raise Refusal(
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed size",
            fields={"ProposedSize": str(call.body.size), "MaxSizeAllowed": str(LARGEST)},
        )


def parameter(algorithm: str) -> str:
    return f"Checksum{algorithm}"


def sums(about: dict[str, Any]) -> dict[str, str]:
    """As replies tell them."""
    return {parameter(name): value for name, value in about["sums"].items()} | {
        "ChecksumType": about["kind"]
    }


def wish(call: Call, bucket: Bucket) -> dict[str, Any]:
    """What is to be told about the object."""
    headers = {name: call.get(name) for name in TEXTS if call.get(name)}
    encodings = [each.strip() for each in headers.pop("ContentEncoding", "").split(",")]
    if real := ",".join(each for each in encodings if each not in ("aws-chunked", "")):
        headers["ContentEncoding"] = real
    if expires := call.get("Expires"):
        headers["Expires"] = expires.timestamp()
    if call.get("StorageClass", "STANDARD") != "STANDARD":
        raise Refusal("NotImplemented", "The local cloud stores all in STANDARD", 501)
    if call.get("ServerSideEncryption", "AES256") != "AES256":
        raise Refusal("NotImplemented", "The local cloud has no keys but S3's own (AES256)", 501)
    return {
        "headers": {"ContentType": "binary/octet-stream", **headers},
        "metadata": _metadata(call),
        "acl": acl.asked(call, bucket),
        "tags": tags.from_header(call.get("Tagging", "")),
    }


def _metadata(call: Call) -> dict[str, str]:
    found: dict[str, str] = call.asked["Metadata"].whole() if "Metadata" in call.asked else {}
    size = sum(len(key.encode()) + len(value.encode()) for key, value in found.items())
    if size > MOST_METADATA:
        raise Refusal(
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
            fields={"Size": str(size), "MaxSizeAllowed": str(MOST_METADATA)},
        )
    return found


def allowed(call: Call, present: Object | None) -> None:
    """Raises Refusal unless what is there now is what the caller believes."""
    none, etag = call.get("IfNoneMatch"), call.get("IfMatch")
    if none not in (None, "*"):
        raise Refusal(
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
            501,
            {"Header": "If-None-Match"},
        )
    if none and present:
        raise stale("If-None-Match")
    if etag and present is None:
        raise no_key(call.asked["Key"])
    if etag and present and etag.strip('"') != present.etag:
        raise stale("If-Match")


def stale(condition: str) -> Refusal:
    return Refusal(
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
        412,
        {"Condition": condition},
    )


def put(call: Call, bucket: Bucket, new: Object) -> None:
    """In the place of what was there."""
    remove(call, bucket, new.key)
    row = (bucket.name, *vars(new).values())[:-1]
    call.store.db.execute(
        "INSERT INTO s3_objects VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, json.dumps(new.about))
    )


def remove(call: Call, bucket: Bucket, key: str) -> None:
    old = object_at(call.store, bucket.name, key)
    if old:
        pieces.drop(call, old.holder)
        call.store.db.execute("DELETE FROM s3_objects WHERE bucket = ? AND key = ?", (bucket.name, key))


@SERVICE.operation
def delete_object(call: Call) -> Answer:
    """What is not there is deleted just as well."""
    remove(call, owned(call), key_of(call))
    return {}


@SERVICE.operation
def delete_objects(call: Call) -> Answer:
    bucket, told = owned(call), call.asked["Delete"]
    call.get("ChecksumAlgorithm")
    keys = [each["Key"] for each in told["Objects"]]
    if not 1 <= len(keys) <= MOST_DELETED:
        raise malformed(f"1 to {MOST_DELETED} keys")
    for key in keys:
        remove(call, bucket, key)
    return {} if told.get("Quiet") else {"Deleted": [{"Key": key} for key in keys]}


@SERVICE.operation
def put_object_acl(call: Call) -> Answer:
    bucket = owned(call)
    found = held(call, bucket)
    spoken_of(call)
    if not call.get("ACL"):
        raise Refusal("NotImplemented", "The local cloud knows the canned ACLs alone", 501)
    tell(call, bucket, found, acl=acl.asked(call, bucket))
    return {}


@SERVICE.operation
def get_object_tagging(call: Call) -> Answer:
    return {"TagSet": tags.listed(held(call, owned(call)).about["tags"])}


@SERVICE.operation
def put_object_tagging(call: Call) -> Answer:
    bucket = owned(call)
    found = held(call, bucket)
    spoken_of(call)
    told = tags.read(call.asked["Tagging"]["TagSet"], most=tags.MOST, of="Object")
    tell(call, bucket, found, tags=told)
    return {}


@SERVICE.operation
def delete_object_tagging(call: Call) -> Answer:
    bucket = owned(call)
    tell(call, bucket, held(call, bucket), tags={})
    return {}


def tell(call: Call, bucket: Bucket, found: Object, **about: Any) -> None:
    call.store.db.execute(
        "UPDATE s3_objects SET about = ? WHERE bucket = ? AND key = ?",
        (json.dumps({**found.about, **about}), bucket.name, found.key),
    )
