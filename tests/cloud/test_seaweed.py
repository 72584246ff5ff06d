"""Our S3 code on SeaweedFS, which checks what moto lets pass: signatures, clocks, checksums. Where it is not as AWS, it is said."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.auth
import botocore.compat
import pytest
from botocore.exceptions import ClientError

from tasks.cloud import erase, refusals, s3
from tasks.kit.fault import CloudFault
from tests.seaweeds import ACCOUNT, client, seaweed

__all__ = ["seaweed"]

CONTENT = b"a part"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def bucket(seaweed, tmp_path):
    """One that a user made, with ACLs on."""
    made = s3.Bucket(client(seaweed), named(tmp_path), ACCOUNT, "us-east-1")
    made.client.create_bucket(Bucket=made.name)
    rules: Any = {"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]}
    made.client.put_bucket_ownership_controls(Bucket=made.name, OwnershipControls=rules)
    return made


def named(tmp_path: Path) -> str:
    return "t-" + hashlib.sha256(str(tmp_path).encode()).hexdigest()[:20]


def test_an_object_is_sent_known_by_its_digest_and_deleted(bucket):
    s3.prepare(bucket, {}, named_by_us=False)
    s3.put(bucket, "a/x", CONTENT, SHA256)
    assert s3.holds(bucket, "a/x", SHA256)
    assert not s3.holds(bucket, "a/x", "0" * 64)
    assert not s3.holds(bucket, "a/y", SHA256)
    assert list(s3.listing(bucket, "a/")) == list(erase.listed(bucket, "a/")) == ["a/x"]
    erase.delete(bucket, ["a/x", "a/never"])
    assert erase.listed(bucket, "") == {}


def test_content_that_is_not_of_its_digest_is_refused(bucket):
    """As by AWS; moto takes it."""
    with pytest.raises(CloudFault, match="could not send x") as caught:
        s3.put(bucket, "a/x", b"another", SHA256)
    assert "BadDigest" in str(caught.value)
    assert erase.listed(bucket, "") == {}


def test_a_bucket_has_its_acls_off_until_they_are_switched_on(seaweed, tmp_path):
    """As on AWS since April 2023; of moto's nothing is known."""
    made = s3.Bucket(client(seaweed), named(tmp_path), ACCOUNT, "us-east-1")
    made.client.create_bucket(Bucket=made.name)
    with pytest.raises(CloudFault, match="has ACLs switched off"):
        s3.prepare(made, {}, named_by_us=False)


def test_a_bucket_of_our_own_cannot_be_made_private_there(seaweed, tmp_path):
    """SeaweedFS has no public access block, and says so. AWS has; that we insist on it is right."""
    made = s3.Bucket(client(seaweed), named(tmp_path), ACCOUNT, "us-east-1")
    with pytest.raises(CloudFault, match="could not make the bucket private"):
        s3.prepare(made, {}, named_by_us=True)


def test_an_unfinished_upload_is_stale_when_it_is_old_and_ended_when_it_is_asked_for(bucket):
    """Its real time is told, as by AWS; moto's uploads are all of 2010. An end that comes twice is a 404 on AWS, and none here."""
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key="a/x")
    now = datetime.now(UTC)
    assert s3.abort_stale(bucket, "a/", now=now) == 0
    found = erase.unfinished(bucket, "a/")
    assert [key for key, _ in found] == ["a/x"]
    assert erase.unfinished(bucket, "b/") == ()
    assert s3.abort_stale(bucket, "a/", now=now + timedelta(days=2)) == 1
    erase.end_uploads(bucket, found)
    assert erase.unfinished(bucket, "a/") == ()


def test_more_than_a_thousand_keys_in_one_request_are_refused(bucket):
    """As AWS documents it; moto takes them. So batches are needed, and ours are small enough."""
    keys = [f"a/{number}" for number in range(1001)]
    with pytest.raises(ClientError):
        bucket.client.delete_objects(
            Bucket=bucket.name, Delete={"Objects": [{"Key": key} for key in keys]}
        )
    erase.delete(bucket, keys)


def test_in_a_bucket_that_keeps_versions_what_is_deleted_remains(bucket):
    """As on AWS: so that is said. SeaweedFS would remove the bucket with its versions; AWS says BucketNotEmpty, and is right."""
    assert not erase.keeps_versions(bucket)
    on: Any = {"Status": "Enabled"}
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration=on)
    assert erase.keeps_versions(bucket)
    s3.put(bucket, "a/x", CONTENT, SHA256)
    erase.delete(bucket, ["a/x"])
    assert erase.listed(bucket, "") == {}
    held = bucket.client.list_object_versions(Bucket=bucket.name)
    assert [each["Key"] for each in held["Versions"]] == ["a/x"]


def test_an_empty_bucket_is_removed_and_one_that_is_gone_is_no_fault(bucket):
    erase.drop(bucket)
    assert not s3.exists(bucket)
    erase.drop(bucket)


@pytest.mark.parametrize(
    ("minutes", "words"), [(20, "20 min . s ahead of AWS's"), (-20, r"(19|20) min \d+ s behind AWS's")]
)
def test_a_clock_that_is_off_is_told_with_how_far(bucket, monkeypatch, minutes, words):
    """S3 allows a quarter of an hour; moto never looks."""

    def wrong(*args: Any, **more: Any) -> datetime:
        return botocore.compat.get_current_datetime(*args, **more) + timedelta(minutes=minutes)

    monkeypatch.setattr(botocore.auth, "get_current_datetime", wrong)
    ours = SimpleNamespace(now=lambda tz: datetime.now(tz) + timedelta(minutes=minutes))
    monkeypatch.setattr(refusals, "datetime", ours)
    with pytest.raises(CloudFault, match=f"this machine's clock is {words}"):
        erase.listed(bucket, "")


@pytest.mark.parametrize(
    ("key", "secret", "message"),
    [("nobody", "wrong", "the secret key does not belong to the access key"), ("stranger", "x", "does not know the access key")],
)  # fmt: skip
def test_credentials_that_are_wrong_are_told_apart(seaweed, bucket, key, secret, message):
    other = client(seaweed, key=key, secret=secret)
    with pytest.raises(CloudFault, match=message):
        erase.listed(s3.Bucket(other, bucket.name, ACCOUNT, "us-east-1"), "")
