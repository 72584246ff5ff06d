"""Buckets of the local cloud are named, placed, owned and closed as AWS's are, and are there again after a restart."""

import pytest
from botocore.exceptions import ClientError

from tests.localcloud import LocalCloud, localcloud, refused

__all__ = ["localcloud"]
OTHER = "210987654321"
OURS = "123456789012"
NAME = "doit-ami-test"
ALL = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True}  # fmt: skip


def made(cloud: LocalCloud, name=NAME, **more):
    client = cloud.client("s3")
    client.create_bucket(Bucket=name, **more)
    return client


@pytest.mark.parametrize(
    "name",
    ["Bad-Name", "under_score", "two..dots", "192.168.5.4", "-dash", "dash-", ".dot", "xn--a", "sthree-a", "a-s3alias",
     "a--ol-s3", "a.mrap", "a--table-s3", "amzn-s3-demo-a"],
)  # fmt: skip
def test_bad_names(localcloud, name):
    """A name that AWS forbids is forbidden."""
    assert refused(localcloud.client("s3").create_bucket, Bucket=name) == "InvalidBucketName"
    assert localcloud.client("s3").list_buckets()["Buckets"] == []


def test_lengths(localcloud):
    """Three to 63 characters."""
    client = localcloud.client("s3")
    client.create_bucket(Bucket="a" * 3)
    client.create_bucket(Bucket="a.b-c" + "a" * 58)
    assert refused(client.create_bucket, Bucket="a" * 64) in ("InvalidBucketName", "InvalidArgument")


@pytest.mark.parametrize(
    ("region", "constraint", "code"),
    [
        ("us-east-1", "us-east-1", "InvalidLocationConstraint"),
        ("us-east-1", "nowhere-1", "InvalidLocationConstraint"),
        ("eu-west-1", None, "IllegalLocationConstraintException"),
        ("eu-west-1", "eu-west-3", "IllegalLocationConstraintException"),
    ],
)
def test_bad_places(localcloud, region, constraint, code):
    """A bucket is made in the region that is asked, which must be named, but the first, which must not."""
    where = {"CreateBucketConfiguration": {"LocationConstraint": constraint}} if constraint else {}
    assert refused(localcloud.client("s3", region=region).create_bucket, Bucket=NAME, **where) == code


@pytest.mark.parametrize(
    ("asked", "constraint", "region", "told"),
    [
        ("us-east-1", None, "us-east-1", None),
        ("eu-west-1", "eu-west-1", "eu-west-1", "eu-west-1"),
        ("us-east-1", "eu-west-3", "eu-west-3", "eu-west-3"),
        ("eu-west-1", "EU", "eu-west-1", "eu-west-1"),
    ],
)
def test_places(localcloud, asked, constraint, region, told):
    """A bucket lies where it was asked for, and says so."""
    where = {"CreateBucketConfiguration": {"LocationConstraint": constraint}} if constraint else {}
    localcloud.client("s3", region=asked).create_bucket(Bucket=NAME, **where)
    client = localcloud.client("s3", region=region)
    assert client.head_bucket(Bucket=NAME)["BucketRegion"] == region
    assert client.get_bucket_location(Bucket=NAME)["LocationConstraint"] == told
    assert client.list_buckets()["Buckets"][0]["BucketRegion"] == region


def test_another_region(localcloud):
    """A bucket that is asked for elsewhere answers 301 and where it is; boto3 goes there by itself."""
    made(localcloud)
    client = localcloud.client("s3", region="eu-west-1")
    seen = []
    client.meta.events.register(
        "needs-retry.s3", lambda response, **_: seen.append(response), unique_id="a"
    )
    assert client.head_bucket(Bucket=NAME)["BucketRegion"] == "us-east-1"
    first = seen[0][1]
    assert first["ResponseMetadata"]["HTTPStatusCode"] == 301
    assert first["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"] == "us-east-1"
    seen.clear()
    client = localcloud.client("s3", region="eu-west-1")
    client.meta.events.register(
        "needs-retry.s3", lambda response, **_: seen.append(response), unique_id="b"
    )
    client.list_objects_v2(Bucket=NAME)
    assert seen[0][1]["Error"]["Code"] == "PermanentRedirect"


def test_made_twice(localcloud):
    """To its owner, the first region says yes as it always did, and every other no."""
    client = made(localcloud)
    client.create_bucket(Bucket=NAME)
    elsewhere = localcloud.client("s3", region="eu-west-1")
    there = {"CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}}
    assert refused(elsewhere.create_bucket, Bucket=NAME, **there) == "BucketAlreadyOwnedByYou"
    elsewhere.create_bucket(Bucket=f"{NAME}-2", **there)
    assert refused(elsewhere.create_bucket, Bucket=f"{NAME}-2", **there) == "BucketAlreadyOwnedByYou"
    with pytest.raises(ClientError) as caught:
        client.create_bucket(Bucket=f"{NAME}-2")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409


def test_another_account(localcloud):
    """What is another account's is closed: its name, its content, its settings."""
    made(localcloud).put_object(Bucket=NAME, Key="a", Body=b"a")
    other = localcloud.client("s3", account=OTHER)
    assert refused(other.create_bucket, Bucket=NAME) == "BucketAlreadyExists"
    assert refused(other.head_bucket, Bucket=NAME) == "403"
    for call in (
        other.list_objects_v2, other.list_objects, other.get_bucket_tagging, other.get_bucket_location,
        other.get_bucket_acl, other.delete_bucket, other.list_multipart_uploads, other.get_public_access_block,
    ):  # fmt: skip
        assert refused(call, Bucket=NAME) == "AccessDenied"
    for key in ("a", "not-there"):
        assert refused(other.get_object, Bucket=NAME, Key=key) == "AccessDenied"
        assert refused(other.put_object, Bucket=NAME, Key=key, Body=b"") == "AccessDenied"
        assert refused(other.delete_object, Bucket=NAME, Key=key) == "AccessDenied"
    assert other.list_buckets()["Buckets"] == []


def test_expected_owner(localcloud):
    """Who expects another owner gets nothing, the owner included."""
    client = made(localcloud)
    client.head_bucket(Bucket=NAME, ExpectedBucketOwner=OURS)
    assert refused(client.head_bucket, Bucket=NAME, ExpectedBucketOwner=OTHER) == "403"
    assert refused(client.put_object, Bucket=NAME, Key="a", ExpectedBucketOwner=OTHER) == "AccessDenied"
    code = refused(client.list_objects_v2, Bucket=NAME, ExpectedBucketOwner="me")
    assert code == "InvalidBucketOwnerAWSAccountID"


def test_not_there(localcloud):
    """A bucket that nobody has."""
    client = localcloud.client("s3")
    assert refused(client.head_bucket, Bucket=NAME) == "404"
    for call in (client.list_objects_v2, client.delete_bucket, client.get_bucket_tagging):
        assert refused(call, Bucket=NAME) == "NoSuchBucket"
    assert refused(client.put_object, Bucket=NAME, Key="a") == "NoSuchBucket"


def test_closed_from_the_beginning(localcloud):
    """A new bucket: ACLs off, public access blocked, encrypted, unversioned, without tags."""
    client = made(localcloud)
    rules = client.get_bucket_ownership_controls(Bucket=NAME)["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert client.get_public_access_block(Bucket=NAME)["PublicAccessBlockConfiguration"] == ALL
    encryption = client.get_bucket_encryption(Bucket=NAME)["ServerSideEncryptionConfiguration"]["Rules"]
    assert encryption[0]["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert "Status" not in client.get_bucket_versioning(Bucket=NAME)
    assert refused(client.get_bucket_tagging, Bucket=NAME) == "NoSuchTagSet"
    [grant] = client.get_bucket_acl(Bucket=NAME)["Grants"]
    assert grant["Permission"] == "FULL_CONTROL"


def test_settings(localcloud):
    """What is set is told, survives a restart, and can be taken away, after which it is not there."""
    client = made(localcloud, ObjectOwnership="ObjectWriter")
    client.put_bucket_ownership_controls(
        Bucket=NAME, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]}
    )
    client.put_public_access_block(Bucket=NAME, PublicAccessBlockConfiguration={"BlockPublicAcls": True})
    client.put_bucket_tagging(Bucket=NAME, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    localcloud.restart()
    client = localcloud.client("s3")
    rules = client.get_bucket_ownership_controls(Bucket=NAME)["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerPreferred"}]
    blocks = client.get_public_access_block(Bucket=NAME)["PublicAccessBlockConfiguration"]
    assert blocks == dict.fromkeys(ALL, False) | {"BlockPublicAcls": True}
    assert client.get_bucket_tagging(Bucket=NAME)["TagSet"] == [{"Key": "a", "Value": "b"}]
    client.delete_bucket_ownership_controls(Bucket=NAME)
    client.delete_public_access_block(Bucket=NAME)
    client.delete_bucket_tagging(Bucket=NAME)
    assert refused(client.get_bucket_ownership_controls, Bucket=NAME) == "OwnershipControlsNotFoundError"
    code = refused(client.get_public_access_block, Bucket=NAME)
    assert code == "NoSuchPublicAccessBlockConfiguration"
    assert refused(client.get_bucket_tagging, Bucket=NAME) == "NoSuchTagSet"


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ([("a", "1"), ("a", "2")], "InvalidTag"),
        ([("aws:a", "1")], "InvalidTag"),
        ([("a" * 129, "1")], "InvalidTag"),
        ([("a", "1" * 257)], "InvalidTag"),
        ([(str(n), "") for n in range(51)], "BadRequest"),
    ],
)
def test_bad_tags(localcloud, tags, code):
    """At most 50, each once, none of AWS's own, none too long."""
    client = made(localcloud)
    told = {"TagSet": [{"Key": key, "Value": value} for key, value in tags]}
    assert refused(client.put_bucket_tagging, Bucket=NAME, Tagging=told) == code
    assert refused(client.get_bucket_tagging, Bucket=NAME) == "NoSuchTagSet"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"ACL": "public-read"}, "InvalidBucketAclWithObjectOwnership"),
        ({"ACL": "public-read", "ObjectOwnership": "ObjectWriter"}, "InvalidBucketAclWithBlockPublicAccessError"),
        ({"ACL": "bogus"}, "InvalidArgument"),
        ({"ObjectOwnership": "bogus"}, "InvalidArgument"),
        ({"GrantRead": "id=a"}, "NotImplemented"),
        ({"ObjectLockEnabledForBucket": True}, "NotImplemented"),
        ({"BucketNamespace": "account-regional"}, "NotImplemented"),
    ],
)  # fmt: skip
def test_made_as_it_cannot_be(localcloud, asked, code):
    """What AWS refuses is refused, and what the local cloud does not know as well; nothing is left of it."""
    client = localcloud.client("s3")
    assert refused(client.create_bucket, Bucket=NAME, **asked) == code
    assert refused(client.head_bucket, Bucket=NAME) == "404"


def test_bad_settings(localcloud):
    """Words that no one knows are no XML of S3's; operations that no one knows are no operations."""
    client = made(localcloud)
    rules = {"Rules": [{"ObjectOwnership": "bogus"}]}
    assert (
        refused(client.put_bucket_ownership_controls, Bucket=NAME, OwnershipControls=rules)
        == "MalformedXML"
    )
    two = {"Rules": [{"ObjectOwnership": "ObjectWriter"}] * 2}
    assert (
        refused(client.put_bucket_ownership_controls, Bucket=NAME, OwnershipControls=two)
        == "MalformedXML"
    )
    for call in (client.get_bucket_policy, client.get_bucket_cors, client.list_object_versions):
        assert refused(call, Bucket=NAME) == "NotImplemented"


def test_removed(localcloud):
    """Only when it is empty; uploads that nobody completed go with it."""
    client = made(localcloud)
    client.put_object(Bucket=NAME, Key="a", Body=b"a")
    assert refused(client.delete_bucket, Bucket=NAME) == "BucketNotEmpty"
    client.delete_object(Bucket=NAME, Key="a")
    upload = client.create_multipart_upload(Bucket=NAME, Key="b")["UploadId"]
    client.upload_part(Bucket=NAME, Key="b", UploadId=upload, PartNumber=1, Body=b"b")
    assert client.delete_bucket(Bucket=NAME)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert refused(client.head_bucket, Bucket=NAME) == "404"
    assert list((localcloud.home / "s3").iterdir()) == []
    client.create_bucket(Bucket=NAME)
    assert "Uploads" not in client.list_multipart_uploads(Bucket=NAME)


def test_list(localcloud):
    """In pages, by prefix, by region; each account its own."""
    client = localcloud.client("s3")
    for name in ("bb-1", "aa-2", "aa-1", "aa-3"):
        client.create_bucket(Bucket=name)
    localcloud.client("s3", account=OTHER).create_bucket(Bucket="aa-4")
    pages = [
        [each["Name"] for each in page["Buckets"]]
        for page in client.get_paginator("list_buckets").paginate(
            Prefix="aa", PaginationConfig={"PageSize": 2}
        )
    ]
    assert pages == [["aa-1", "aa-2"], ["aa-3"]]
    assert client.list_buckets(BucketRegion="eu-west-1")["Buckets"] == []
    assert refused(client.list_buckets, ContinuationToken="?") == "InvalidArgument"
