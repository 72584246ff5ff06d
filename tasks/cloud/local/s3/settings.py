"""What a bucket is set to."""

from typing import Any

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.s3 import tags
from tasks.cloud.local.s3.service import SERVICE, Bucket, change, owned, spoken_of
from tasks.cloud.local.wire.xmls import malformed

BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


@SERVICE.operation
def get_bucket_location(call: Call) -> Answer:
    """The first region has none."""
    region = owned(call).region
    return {"LocationConstraint": "" if region == "us-east-1" else region}


@SERVICE.operation
def get_bucket_versioning(call: Call) -> Answer:
    """None here ever had it."""
    owned(call)
    return {}


@SERVICE.operation
def get_bucket_encryption(call: Call) -> Answer:
    owned(call)
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
        "BucketKeyEnabled": False,
    }
    return {"ServerSideEncryptionConfiguration": {"Rules": [rule]}}


def _set(bucket: Bucket, what: str, code: str, message: str) -> Any:
    found = bucket.settings.get(what)
    if found is None:
        raise Refusal(code, message, 404, {"BucketName": bucket.name})
    return found


@SERVICE.operation
def get_bucket_tagging(call: Call) -> Answer:
    found = _set(owned(call), "tags", "NoSuchTagSet", "The TagSet does not exist")
    return {"TagSet": tags.listed(found)}


@SERVICE.operation
def put_bucket_tagging(call: Call) -> Answer:
    bucket = owned(call)
    spoken_of(call)
    change(call, bucket, tags=tags.read(call.asked["Tagging"]["TagSet"], most=50, of="Bucket"))
    return {"ResponseMetadata": {"HTTPStatusCode": 204}}


@SERVICE.operation
def delete_bucket_tagging(call: Call) -> Answer:
    change(call, owned(call), tags=None)
    return {}


@SERVICE.operation
def get_bucket_ownership_controls(call: Call) -> Answer:
    found = _set(
        owned(call),
        "ownership",
        "OwnershipControlsNotFoundError",
        "The bucket ownership controls were not found",
    )
    return {"OwnershipControls": {"Rules": [{"ObjectOwnership": found}]}}


@SERVICE.operation
def put_bucket_ownership_controls(call: Call) -> Answer:
    bucket = owned(call)
    spoken_of(call)
    rules = call.asked["OwnershipControls"]["Rules"]
    if len(rules) != 1:
        raise malformed("one rule")
    change(call, bucket, ownership=rules[0]["ObjectOwnership"])
    return {}


@SERVICE.operation
def delete_bucket_ownership_controls(call: Call) -> Answer:
    change(call, owned(call), ownership=None)
    return {}


@SERVICE.operation
def get_public_access_block(call: Call) -> Answer:
    found = _set(
        owned(call),
        "block",
        "NoSuchPublicAccessBlockConfiguration",
        "The public access block configuration was not found",
    )
    return {"PublicAccessBlockConfiguration": found}


@SERVICE.operation
def put_public_access_block(call: Call) -> Answer:
    """What is not said is off."""
    bucket = owned(call)
    spoken_of(call)
    wish = call.asked["PublicAccessBlockConfiguration"]
    change(call, bucket, block={name: bool(wish.get(name, False)) for name in BLOCKS})
    return {}


@SERVICE.operation
def delete_public_access_block(call: Call) -> Answer:
    change(call, owned(call), block=None)
    return {}
