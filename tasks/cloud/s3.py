"""S3 as the stages need it: a bucket that is ours and private, objects that are whole. Every call says whose it must be."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast

from tasks.cloud.refusals import asking, code_of, skewed
from tasks.kit.fault import CloudFault
from tasks.spec import names
from tasks.spec.record import Stored

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.literals import BucketLocationConstraintType
    from mypy_boto3_s3.type_defs import CreateBucketRequestTypeDef

FIRST_REGION = "us-east-1"  # the one region that must not be named when a bucket is made
DIGEST = "sha256"  # the metadata key of an object's digest: S3's own checksum is not told by all that speak its language
STALE = timedelta(
    days=1
)  # a part takes minutes at most: what is older was left by somebody who was killed

NOT_THERE = {"404", "NoSuchBucket", "NoSuchKey", "NotFound"}
NOT_OURS = {"403", "AccessDenied", "BucketAlreadyExists", "Forbidden"}
ELSEWHERE = {
    "301",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
}


@dataclass(frozen=True)
class Bucket:
    """A bucket, and the account that must own it: S3 refuses every call (403) when another one does."""

    client: "S3Client"
    name: str
    owner: str
    region: str

    def __str__(self) -> str:
        return f"bucket {self.name} in {self.region}"


def prepare(bucket: Bucket, labels: Mapping[str, str], *, named_by_us: bool) -> None:
    """The bucket is there, is ours, and takes the ACL that EC2 needs.

    The settings of a bucket that a user made and named are the user's; ours are put right if we were killed over them.
    """
    if not exists(bucket):
        make(bucket)
        settle(bucket, labels)
    elif named_by_us and names.BUCKET_TAG not in labels_of(bucket):
        settle(bucket, labels)
    check_ownership(bucket)


def exists(bucket: Bucket) -> bool:
    """Raises CloudFault when it is somebody else's, or lies in another region."""
    from botocore.exceptions import ClientError

    with asking("look at the bucket", where=str(bucket)):
        try:
            found = bucket.client.head_bucket(Bucket=bucket.name, ExpectedBucketOwner=bucket.owner)
        except ClientError as error:
            if code_of(error) in NOT_THERE:
                return False
            if fault := trespass(error, bucket):
                raise fault from error
            raise
    if found.get("BucketRegion", bucket.region) != bucket.region:  # botocore follows a 301 by itself
        raise elsewhere(bucket, found["BucketRegion"])
    return True


def make(bucket: Bucket) -> None:
    """With ACLs on, but the objects ours: what EC2 needs, and no more."""
    from botocore.exceptions import ClientError

    wish: CreateBucketRequestTypeDef = {"Bucket": bucket.name, "ObjectOwnership": "BucketOwnerPreferred"}
    if bucket.region != FIRST_REGION:
        wish["CreateBucketConfiguration"] = {
            "LocationConstraint": cast("BucketLocationConstraintType", bucket.region)
        }
    with asking("make the bucket", where=str(bucket)):
        try:
            bucket.client.create_bucket(**wish)
        except ClientError as error:
            if code_of(error) == "BucketAlreadyOwnedByYou":  # another run of ours was quicker
                return
            if code_of(error) == "BucketAlreadyExists" and (fault := trespass(error, bucket)):
                raise fault from error
            raise


def settle(bucket: Bucket, labels: Mapping[str, str]) -> None:
    """Private; the tag comes last, and says that all of this was done."""
    with asking("make the bucket private", where=str(bucket)):
        bucket.client.put_public_access_block(
            Bucket=bucket.name,
            ExpectedBucketOwner=bucket.owner,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": True,
                "IgnorePublicAcls": True,
                "BlockPublicPolicy": True,
                "RestrictPublicBuckets": True,
            },
        )
        bucket.client.put_bucket_tagging(
            Bucket=bucket.name,
            ExpectedBucketOwner=bucket.owner,
            Tagging={
                "TagSet": [
                    {"Key": key, "Value": value}
                    for key, value in {names.BUCKET_TAG: bucket.name, **labels}.items()
                ]
            },
        )


def labels_of(bucket: Bucket) -> dict[str, str]:
    from botocore.exceptions import ClientError

    with asking("read the bucket's tags", where=str(bucket)):
        try:
            reply = bucket.client.get_bucket_tagging(
                Bucket=bucket.name, ExpectedBucketOwner=bucket.owner
            )
        except ClientError as error:
            if code_of(error) == "NoSuchTagSet":
                return {}
            raise
    return {tag["Key"]: tag["Value"] for tag in reply["TagSet"]}


def check_ownership(bucket: Bucket) -> None:
    """EC2 reads a bundle by the ACL aws-exec-read; a bucket may have ACLs switched off, as new ones have by default."""
    from botocore.exceptions import ClientError

    with asking("read the bucket's settings", where=str(bucket)):
        try:
            reply = bucket.client.get_bucket_ownership_controls(
                Bucket=bucket.name, ExpectedBucketOwner=bucket.owner
            )
        except ClientError as error:
            if code_of(error) == "OwnershipControlsNotFoundError":  # older than the setting: ACLs are on
                return
            raise
    if any(
        rule["ObjectOwnership"] == "BucketOwnerEnforced" for rule in reply["OwnershipControls"]["Rules"]
    ):
        raise CloudFault(
            f"the bucket {bucket.name} has ACLs switched off, and EC2 reads S3-backed images by an ACL",
            where=str(bucket),
            hint=f"aws s3api put-bucket-ownership-controls --bucket {bucket.name}"
            " --ownership-controls 'Rules=[{ObjectOwnership=BucketOwnerPreferred}]', or name another `bucket:`",
        )


def trespass(error: "ClientError", bucket: Bucket) -> CloudFault | None:
    """What a refusal at the bucket's door means, when it means that the bucket is not ours."""
    if code_of(error) in ELSEWHERE:
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return elsewhere(bucket, headers.get("x-amz-bucket-region", "another region"))
    if code_of(error) in NOT_OURS and not skewed(error):
        return CloudFault(
            f"the bucket {bucket.name} is not account {bucket.owner}'s, or its credentials may not look at it",
            evidence=(" ".join(str(error).split()),),
            where=str(bucket),
            hint="name another `bucket:` in config/clouds/, or have s3:ListBucket permitted on this one",
        )
    return None


def elsewhere(bucket: Bucket, region: str) -> CloudFault:
    return CloudFault(
        f"the bucket {bucket.name} lies in {region}, and the image is to be registered in {bucket.region}",
        where=str(bucket),
        hint="name another `bucket:` in config/clouds/ (with {region} in it there is one for each), or set `region:`",
    )


def listing(bucket: Bucket, prefix: str) -> dict[str, Stored]:
    """What lies under a prefix, by key."""
    pages = bucket.client.get_paginator("list_objects_v2")
    with asking("list what is in the bucket", where=str(bucket)):
        return {
            item["Key"]: Stored(key=item["Key"], etag=item["ETag"].strip('"'), size=item["Size"])
            for page in pages.paginate(
                Bucket=bucket.name, Prefix=prefix, ExpectedBucketOwner=bucket.owner
            )
            for item in page.get("Contents", [])
        }


def holds(bucket: Bucket, key: str, sha256: str) -> bool:
    """Whether an object is there with this digest, by what was said and checked when it was sent."""
    from botocore.exceptions import ClientError

    with asking(f"look at {key}", where=str(bucket)):
        try:
            found = bucket.client.head_object(
                Bucket=bucket.name, Key=key, ExpectedBucketOwner=bucket.owner, ChecksumMode="ENABLED"
            )
        except ClientError as error:
            if code_of(error) in NOT_THERE:
                return False
            raise
    checksum = found.get("ChecksumSHA256", checksum_of(sha256))
    return found["Metadata"].get(DIGEST) == sha256 and checksum == checksum_of(sha256)


def put(bucket: Bucket, key: str, content: bytes, sha256: str) -> None:
    """Readable by EC2 when it launches an image; S3 refuses the content unless it has this digest."""
    with asking(f"send {key.rpartition('/')[2]}", where=str(bucket)):
        bucket.client.put_object(
            Bucket=bucket.name,
            Key=key,
            Body=content,
            ACL="aws-exec-read",
            ChecksumSHA256=checksum_of(sha256),
            Metadata={DIGEST: sha256},
            ExpectedBucketOwner=bucket.owner,
        )


def checksum_of(sha256: str) -> str:
    """Hex to base64, as S3 writes it."""
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def abort_stale(bucket: Bucket, prefix: str, *, now: datetime) -> int:
    """End the multipart uploads under a prefix that nobody works at any more: they are invisible, and cost. How many."""
    pages, aborted = bucket.client.get_paginator("list_multipart_uploads"), 0
    with asking("end stale uploads", where=str(bucket)):
        for page in pages.paginate(Bucket=bucket.name, Prefix=prefix, ExpectedBucketOwner=bucket.owner):
            for upload in page.get("Uploads", []):
                if now - upload["Initiated"] > STALE:
                    abort(bucket, upload["Key"], upload["UploadId"])
                    aborted += 1
    return aborted


def abort(bucket: Bucket, key: str, upload: str) -> None:
    from botocore.exceptions import ClientError

    try:
        bucket.client.abort_multipart_upload(
            Bucket=bucket.name, Key=key, UploadId=upload, ExpectedBucketOwner=bucket.owner
        )
    except ClientError as error:
        if code_of(error) != "NoSuchUpload":
            raise
