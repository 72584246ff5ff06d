"""Buckets and objects: made private, checked to be ours, whole. On the wire, and by stubs where moto cannot refuse."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.stub import ANY, Stubber
from pydantic import ValidationError

from tasks.cloud import s3
from tasks.cloud.clients import connect
from tasks.kit.fault import CloudFault
from tasks.spec import names
from tasks.spec.cloud import LOCAL_ACCOUNT, CloudSpec, bucket_trouble
from tests import clouds

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CLOUDS = Path(__file__).parents[2] / "config" / "clouds"


@pytest.fixture
def bucket(fresh, cloud):
    assert fresh
    return s3.Bucket(cloud.s3(), "doit-ami-test", LOCAL_ACCOUNT, "us-east-1")


@pytest.fixture
def stub(bucket):
    with Stubber(bucket.client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def test_a_bucket_is_made_private_and_with_acls(bucket):
    """All four blocks, objects ours, ACLs on, tagged."""
    s3.prepare(bucket, {"Name": "x"}, named_by_us=True)
    client = bucket.client
    assert all(
        client.get_public_access_block(Bucket=bucket.name)["PublicAccessBlockConfiguration"].values()
    )
    rules = client.get_bucket_ownership_controls(Bucket=bucket.name)["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerPreferred"}]
    assert s3.labels_of(bucket) == {names.BUCKET_TAG: bucket.name, "Name": "x"}
    s3.prepare(bucket, {"Name": "x"}, named_by_us=True)


@pytest.mark.parametrize(
    ("region", "told"), [("us-east-1", None), ("eu-west-1", "eu-west-1"), ("eu-north-1", "eu-north-1")]
)
def test_the_first_region_is_never_named_and_any_other_always(fresh, home, region, told):
    """S3 refuses both mistakes, and so does the local cloud."""
    assert fresh
    client = connect(clouds.LOCAL.model_copy(update={"region": region}), home).s3()
    s3.prepare(s3.Bucket(client, f"doit-ami-{region}", LOCAL_ACCOUNT, region), {}, named_by_us=True)
    assert client.get_bucket_location(Bucket=f"doit-ami-{region}")["LocationConstraint"] == told


def test_killed_between_making_and_settling_it_is_settled_later(bucket):
    """Only when the name is of our making: a user's bucket keeps the settings it has."""
    s3.make(bucket)
    s3.prepare(bucket, {}, named_by_us=False)
    assert s3.labels_of(bucket) == {}
    s3.prepare(bucket, {}, named_by_us=True)
    assert names.BUCKET_TAG in s3.labels_of(bucket)


def test_a_bucket_without_acls_is_refused_with_the_command_that_helps(bucket):
    """It is the default of new buckets, and EC2 could not read the bundle."""
    bucket.client.create_bucket(Bucket=bucket.name, ObjectOwnership="BucketOwnerEnforced")
    with pytest.raises(
        CloudFault, match=r"(?s)doit-ami-test has ACLs switched off.*put-bucket-ownership-controls"
    ):
        s3.prepare(bucket, {}, named_by_us=False)


def test_a_bucket_of_somebody_else_is_refused_by_name(bucket, stub):
    """S3 says 403 when the owner is not the one we expect."""
    stub.add_client_error("head_bucket", "403", "Forbidden", 403)
    with pytest.raises(
        CloudFault,
        match=rf"(?s)the bucket doit-ami-test is not account {LOCAL_ACCOUNT}'s.*another `bucket:`",
    ):
        s3.prepare(bucket, {}, named_by_us=True)


def test_a_name_that_somebody_took_first(bucket, stub):
    stub.add_client_error("head_bucket", "404", "Not Found", 404)
    stub.add_client_error(
        "create_bucket", "BucketAlreadyExists", "The requested bucket name is not available", 409
    )
    with pytest.raises(CloudFault, match=r"(?s)doit-ami-test is not account .*name is not available"):
        s3.prepare(bucket, {}, named_by_us=True)


def test_a_bucket_that_another_run_made_a_moment_ago(bucket, stub):
    """Both were told that it is missing; the slower one goes on."""
    stub.add_client_error("create_bucket", "BucketAlreadyOwnedByYou", "", 409)
    s3.make(bucket)


@pytest.mark.parametrize("by", ["refusal", "redirection"])
def test_a_bucket_in_another_region_is_refused(bucket, stub, by):
    if by == "refusal":
        stub.add_client_error("head_bucket", "301", "Moved", 301, response_meta={"HTTPHeaders": {}})
    else:
        stub.add_response("head_bucket", {"BucketRegion": "eu-west-1"})
    with pytest.raises(
        CloudFault, match=r"(?s)doit-ami-test lies in (eu-west-1|another region).*\{region\}"
    ):
        s3.exists(bucket)


def test_to_be_refused_is_not_to_be_absent(bucket, stub):
    """A HEAD that is denied stops the stage; it does not count as a missing object."""
    stub.add_client_error("head_object", "403", "Forbidden", 403)
    with pytest.raises(CloudFault, match="do not permit s3:GetObject"):
        s3.holds(bucket, "a/b", clouds.SHA256)


def test_an_object_is_known_by_its_digest(bucket):
    """Its size and name are not enough: content that differs is sent again."""
    s3.make(bucket)
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # of b"x"
    assert not s3.holds(bucket, "a/x", digest)
    s3.put(bucket, "a/x", b"x", digest)
    assert s3.holds(bucket, "a/x", digest)
    assert not s3.holds(bucket, "a/x", clouds.SHA256)


def test_a_checksum_that_s3_tells_is_heeded(bucket, stub):
    """Metadata is what was said, the checksum what was verified."""
    stub.add_response("head_object", {"Metadata": {s3.DIGEST: clouds.SHA256}, "ChecksumSHA256": "AAAA"})
    assert not s3.holds(bucket, "a/x", clouds.SHA256)


def test_what_is_sent_says_checksum_acl_and_owner(bucket, stub):
    stub.add_response(
        "put_object",
        {"ETag": "e"},
        {
            "Bucket": bucket.name,
            "Key": "a/x",
            "Body": b"x",
            "ACL": "aws-exec-read",
            "ChecksumSHA256": "LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=",
            "Metadata": ANY,
            "ExpectedBucketOwner": LOCAL_ACCOUNT,
        },
    )
    s3.put(bucket, "a/x", b"x", "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881")


def test_a_listing_has_all_its_pages(bucket, stub):
    page = {
        "IsTruncated": True,
        "NextContinuationToken": "t",
        "Contents": [{"Key": "a", "Size": 1, "ETag": '"e"'}],
    }
    stub.add_response("list_objects_v2", page)
    stub.add_response(
        "list_objects_v2", {"IsTruncated": False, "Contents": [{"Key": "b", "Size": 2, "ETag": '"f"'}]}
    )
    assert {key: (item.etag, item.size) for key, item in s3.listing(bucket, "").items()} == {
        "a": ("e", 1),
        "b": ("f", 2),
    }


def test_stale_uploads_under_our_prefix_are_ended_and_no_others(bucket, shared):
    """Invisible in a listing, paid for all the same."""
    s3.make(bucket)
    for key in ("debian-12/x/part", "debian-12/y/part", "debian-12-other/part", "somebody/else"):
        bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)
    shared.age(days=2)
    assert s3.abort_stale(bucket, "debian-12/", now=datetime.now(UTC)) == 2
    left = bucket.client.list_multipart_uploads(Bucket=bucket.name)["Uploads"]
    assert sorted(upload["Key"] for upload in left) == ["debian-12-other/part", "somebody/else"]


def test_young_uploads_are_somebodys_work_and_pages_are_followed(bucket, stub):
    """And one that ended meanwhile is no fault."""

    def upload(key: str, initiated: datetime) -> dict[str, Any]:
        return {"Key": key, "UploadId": key, "Initiated": initiated}

    old, young = datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 22, 23, tzinfo=UTC)
    more = {"IsTruncated": True, "NextKeyMarker": "k", "NextUploadIdMarker": "u"}
    stub.add_response(
        "list_multipart_uploads", {**more, "Uploads": [upload("a", young), upload("b", old)]}
    )
    stub.add_client_error("abort_multipart_upload", "NoSuchUpload", "", 404)
    stub.add_response("list_multipart_uploads", {"IsTruncated": False, "Uploads": [upload("c", old)]})
    stub.add_response("abort_multipart_upload", {})
    assert s3.abort_stale(bucket, "", now=NOW) == 2


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"bucket": "Caps"}, "a-z, 0-9"),
        ({"bucket": "ab"}, "3 to 63"),
        ({"bucket": "a..b"}, "no two dots"),
        ({"bucket": "xn--a"}, "keeps these"),
        ({"bucket": "a-s3alias"}, "keeps these"),
        ({"bucket": "192.168.1.1"}, "not an IP address"),
        ({"bucket": "b-{user}"}, "there is no {user}; write {account} and {region}"),
        ({"prefix": "/a"}, "words of A-Z"),
        ({"prefix": "a/../b"}, "are no names"),
        ({"endpoint_url": "http://example.net"}, "in the clear; write https://example.net"),
        ({"endpoint_url": "ftp://example.net"}, "is no address"),
        ({"endpoint_url": "https://me:secret@example.net"}, "no secret belongs here"),
        ({"account": "12345"}, "should match pattern"),
        ({"region": "Frankfurt"}, "should match pattern"),
        ({"secret_access_key": "s"}, "Extra inputs are not permitted"),
        ({"kind": "local", "endpoint_url": "https://example.net"}, "the local cloud has its own"),
        ({"kind": "local", "account": "210987654321"}, "the local cloud's is 123456789012"),
        ({"kind": "azure"}, "'aws' or 'local'"),
    ],
)
def test_what_no_cloud_is_described_by(keys, message):
    """Told in the words of the file, and never with the secret that was pasted there."""
    with pytest.raises(ValidationError) as caught:
        CloudSpec.model_validate({"name": "x", "kind": "aws", **keys})
    assert message in str(caught.value)
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:5000", "http://localhost:1", "http://[::1]:1", "https://example.net"]
)
def test_plain_http_stays_on_this_machine(url):
    assert CloudSpec(name="x", kind="aws", endpoint_url=url).endpoint_url == url


@pytest.mark.parametrize("name", ["abc", "a.b-c", "doit-ami-123456789012-us-east-1", "1" * 63])
def test_names_that_buckets_may_have(name):
    assert bucket_trouble(name) == ""


@pytest.mark.parametrize("path", sorted(CLOUDS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_clouds_that_are_shipped_are_valid_and_so_are_their_comments(path):
    """Uncommented, the samples of aws.yaml are what a user would write."""
    text = path.read_text()
    CloudSpec.model_validate({"name": path.stem, **yaml.safe_load(text)})
    samples = (
        yaml.safe_load("\n".join(re.findall(r"^# ((?:  )?[a-z0-9_]+: .*)", text, re.MULTILINE))) or {}
    )
    assert len(samples) == (9 if path.stem == "aws" else 0)
    CloudSpec.model_validate({"name": path.stem, **yaml.safe_load(text), **samples})
