"""S3 that deletes: all pages, batches, refusals inside a reply; on stubs, for what no server at hand says."""

from datetime import UTC, datetime

import boto3
import pytest
from botocore.stub import Stubber

from tasks.cloud import erase, s3
from tasks.kit.fault import CloudFault

OWNER = "123456789012"
AT = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def bucket(credentials):
    del credentials
    return s3.Bucket(boto3.client("s3", region_name="us-east-1"), "b", OWNER, "us-east-1")


@pytest.fixture
def stub(bucket):
    with Stubber(bucket.client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def page(*keys: str, more: str = "") -> dict[str, object]:
    held = [{"Key": key, "Size": 1, "LastModified": AT, "ETag": "e"} for key in keys]
    return {
        "Contents": held,
        "IsTruncated": bool(more),
        **({"NextContinuationToken": more} if more else {}),
    }


def test_all_pages_are_listed_and_each_call_says_whose_the_bucket_must_be(bucket, stub):
    wish = {"Bucket": "b", "Prefix": "p", "ExpectedBucketOwner": OWNER}
    stub.add_response("list_objects_v2", page("p1", more="t"), wish)
    stub.add_response("list_objects_v2", page("p2"), {**wish, "ContinuationToken": "t"})
    assert erase.listed(bucket, "p") == {"p1": (1, AT), "p2": (1, AT)}


def test_a_bucket_that_is_not_there_holds_nothing(bucket, stub):
    stub.add_client_error("list_objects_v2", "NoSuchBucket", "", 404)
    stub.add_client_error("list_multipart_uploads", "NoSuchBucket", "", 404)
    assert (erase.listed(bucket, "p"), erase.unfinished(bucket, "p")) == ({}, ())


def test_a_bucket_that_is_not_ours_is_told_as_that(bucket, stub):
    """S3 says no more than AccessDenied."""
    stub.add_client_error("list_objects_v2", "AccessDenied", "Access Denied", 403)
    with pytest.raises(CloudFault, match=f"the bucket b is not account {OWNER}'s"):
        erase.listed(bucket, "p")


def test_to_find_one_more_object_no_more_pages_are_read_than_it_takes(bucket, stub):
    """A bucket may hold millions."""
    stub.add_response("list_objects_v2", page("x", "y", more="t"))
    stub.add_response("list_objects_v2", page("z", more="u"))
    assert erase.holds_more(bucket, ["x", "y"]) == "z"


def test_batches_of_a_thousand_and_progress(bucket, stub):
    def wish(first: int, last: int) -> dict[str, object]:
        objects = [{"Key": str(number)} for number in range(first, last)]
        return {
            "Bucket": "b",
            "ExpectedBucketOwner": OWNER,
            "Delete": {"Objects": objects, "Quiet": True},
        }

    moved: list[int] = []
    stub.add_response("delete_objects", {}, wish(0, 1000))
    stub.add_response("delete_objects", {}, wish(1000, 1001))
    erase.delete(bucket, [str(number) for number in range(1001)], moved.append)
    assert moved == [1000, 1]
    erase.delete(bucket, [])


def test_refusals_inside_the_reply_stop_it_and_are_counted(bucket, stub):
    """The first twenty are told; no further batch is sent."""
    errors = [{"Key": str(number), "Code": "InternalError", "Message": "m"} for number in range(30)]
    stub.add_response("delete_objects", {"Errors": errors})
    with pytest.raises(
        CloudFault, match=r"30 object\(s\) could not be deleted: InternalError"
    ) as caught:
        erase.delete(bucket, [str(number) for number in range(2000)])
    assert len(caught.value.evidence) == 20
    assert "goes on where it stopped" in caught.value.hint


@pytest.mark.parametrize(
    ("operation", "permission"),
    [("delete_objects", "s3:DeleteObject"), ("delete_bucket", "s3:DeleteBucket"),
     ("get_bucket_versioning", "s3:GetBucketVersioning")],
)  # fmt: skip
def test_what_is_not_permitted_is_named(bucket, stub, operation, permission):
    stub.add_client_error(operation, "AccessDenied", "Access Denied", 403)
    deeds = {
        "delete_objects": lambda: erase.delete(bucket, ["k"]),
        "delete_bucket": lambda: erase.drop(bucket),
        "get_bucket_versioning": lambda: erase.keeps_versions(bucket),
    }
    with pytest.raises(CloudFault, match=f"do not permit {permission}$|do not permit {permission}\n"):
        deeds[operation]()


def test_a_bucket_that_filled_up_meanwhile_stays(bucket, stub):
    """S3 refuses; one that is gone already is no fault."""
    stub.add_client_error("delete_bucket", "BucketNotEmpty", "The bucket is not empty", 409)
    stub.add_client_error("delete_bucket", "NoSuchBucket", "", 404)
    with pytest.raises(CloudFault, match="could not remove the bucket: The bucket is not empty"):
        erase.drop(bucket)
    erase.drop(bucket)


@pytest.mark.parametrize(
    ("status", "keeps"), [({}, False), ({"Status": "Enabled"}, True), ({"Status": "Suspended"}, True)]
)
def test_a_bucket_keeps_versions_even_when_it_makes_no_new_ones(bucket, stub, status, keeps):
    stub.add_response("get_bucket_versioning", status)
    assert erase.keeps_versions(bucket) is keeps


def test_unfinished_uploads_of_all_pages_are_ended_and_one_that_ended_is_no_fault(bucket, stub):
    more = {"IsTruncated": True, "NextKeyMarker": "k", "NextUploadIdMarker": "u"}
    stub.add_response("list_multipart_uploads", {**more, "Uploads": [{"Key": "a", "UploadId": "1"}]})
    stub.add_response(
        "list_multipart_uploads", {"IsTruncated": False, "Uploads": [{"Key": "b", "UploadId": "2"}]}
    )
    stub.add_client_error("abort_multipart_upload", "NoSuchUpload", "", 404)
    stub.add_response("abort_multipart_upload", {})
    found = erase.unfinished(bucket, "")
    assert found == (("a", "1"), ("b", "2"))
    erase.end_uploads(bucket, found)
