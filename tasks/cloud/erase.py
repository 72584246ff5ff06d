"""S3 as those stages need it that delete: all that is there, in however many pages; in batches; nothing of anybody else's."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from tasks.cloud.refusals import asking, code_of
from tasks.cloud.s3 import Bucket, abort, trespass
from tasks.kit.fault import CloudFault

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ErrorTypeDef

BATCH = 1000  # keys that one DeleteObjects takes
TOLD = 20  # keys that a fault names

Found = dict[str, tuple[int, datetime]]  # key to size and time


@contextmanager
def inside(bucket: Bucket, purpose: str) -> Iterator[None]:
    """As `asking`, and a refusal that means that the bucket is not ours is told as that."""
    from botocore.exceptions import ClientError

    with asking(purpose, where=str(bucket)):
        try:
            yield
        except ClientError as error:
            if error.operation_name == "ListObjectsV2" and (fault := trespass(error, bucket)):
                raise fault from error
            raise


def listed(bucket: Bucket, prefix: str) -> Found:
    """What lies under a prefix; nothing in a bucket that is not there."""
    from botocore.exceptions import ClientError

    pages = bucket.client.get_paginator("list_objects_v2")
    with inside(bucket, "list what is in the bucket"):
        try:
            return {
                item["Key"]: (item["Size"], item["LastModified"])
                for page in pages.paginate(
                    Bucket=bucket.name, Prefix=prefix, ExpectedBucketOwner=bucket.owner
                )
                for item in page.get("Contents", [])
            }
        except ClientError as error:
            if code_of(error) == "NoSuchBucket":
                return {}
            raise


def holds_more(bucket: Bucket, keys: Sequence[str]) -> str:
    """A key that the bucket holds beside these, or nothing. No more pages are asked for than it takes."""
    known = set(keys)
    pages = bucket.client.get_paginator("list_objects_v2")
    with inside(bucket, "list what is in the bucket"):
        return next(
            (
                item["Key"]
                for page in pages.paginate(Bucket=bucket.name, ExpectedBucketOwner=bucket.owner)
                for item in page.get("Contents", [])
                if item["Key"] not in known
            ),
            "",
        )


def unfinished(bucket: Bucket, prefix: str) -> tuple[tuple[str, str], ...]:
    """Key and id of each multipart upload under a prefix that was never completed."""
    from botocore.exceptions import ClientError

    pages = bucket.client.get_paginator("list_multipart_uploads")
    with asking("look for unfinished uploads", where=str(bucket)):
        try:
            return tuple(
                (upload["Key"], upload["UploadId"])
                for page in pages.paginate(
                    Bucket=bucket.name, Prefix=prefix, ExpectedBucketOwner=bucket.owner
                )
                for upload in page.get("Uploads", [])
            )
        except ClientError as error:
            if code_of(error) == "NoSuchBucket":
                return ()
            raise


def end_uploads(bucket: Bucket, uploads: Sequence[tuple[str, str]]) -> None:
    with asking("end unfinished uploads", where=str(bucket)):
        for key, upload in uploads:
            abort(bucket, key, upload)


def delete(bucket: Bucket, keys: Sequence[str], moved: Callable[[int], None] = lambda _: None) -> None:
    """One by one would be a request for each. What is gone already is no fault, as S3 has it."""
    for start in range(0, len(keys), BATCH):
        some = keys[start : start + BATCH]
        with asking("delete objects", where=str(bucket)):
            reply = bucket.client.delete_objects(
                Bucket=bucket.name,
                ExpectedBucketOwner=bucket.owner,
                Delete={"Objects": [{"Key": key} for key in some], "Quiet": True},
            )
        if errors := reply.get("Errors"):
            raise undeleted(bucket, errors)
        moved(len(some))


def undeleted(bucket: Bucket, errors: "Sequence[ErrorTypeDef]") -> CloudFault:
    """S3 says 200 to the whole, and what it refused in its words about each: nobody raises that but us."""
    codes = sorted({error.get("Code", "") for error in errors})
    told = [
        f"{error.get('Key')}: {error.get('Code')}: {error.get('Message', '')}" for error in errors[:TOLD]
    ]
    denied = "AccessDenied" in codes
    return CloudFault(
        f"{len(errors)} object(s) could not be deleted: {', '.join(codes)}",
        evidence=told,
        where=str(bucket),
        hint="have s3:DeleteObject permitted, and see whether the bucket's policy or an object lock forbids it"
        if denied
        else "run it again: it goes on where it stopped",
    )


def keeps_versions(bucket: Bucket) -> bool:
    """Whether what is deleted there is only hidden. A bucket whose versioning is suspended has those of before."""
    with asking("ask whether the bucket keeps versions", where=str(bucket)):
        reply = bucket.client.get_bucket_versioning(Bucket=bucket.name, ExpectedBucketOwner=bucket.owner)
    return bool(reply.get("Status"))


def drop(bucket: Bucket) -> None:
    """The bucket itself. S3 refuses when it is not empty."""
    from botocore.exceptions import ClientError

    with asking("remove the bucket", where=str(bucket)):
        try:
            bucket.client.delete_bucket(Bucket=bucket.name, ExpectedBucketOwner=bucket.owner)
        except ClientError as error:
            if code_of(error) != "NoSuchBucket":
                raise
