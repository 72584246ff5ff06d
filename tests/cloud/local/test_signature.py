"""Whoever is not who they say, or says it too late, gets nothing: in each service's own words."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import Request as Plain
from urllib.request import urlopen

import botocore.auth
import pytest
from botocore.exceptions import ClientError

from tests.localcloud import LocalCloud, refused

LET_IN = (
    "",
    "ResourceNotFoundException",
    "ValidationException",
)  # there is no such snapshot, that is all

# A call that needs no more than to be let in, for each service
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "s3": ("list_buckets", {}),
    "ec2": ("describe_key_pairs", {}),
    "ebs": ("list_snapshot_blocks", {"SnapshotId": "snap-0123456789abcdef0"}),
    "ssm": ("get_parameters", {"Names": ["x"]}),
    "sts": ("get_caller_identity", {}),
}


def code(cloud: LocalCloud, service: str, **told: Any) -> str:
    """The error code of a call; nothing when it was let in (and may have been refused for another reason)."""
    name, asked = CALLS[service]
    try:
        getattr(cloud.client(service, **told), name)(**asked)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("s3", "SignatureDoesNotMatch"),
        ("ec2", "AuthFailure"),
        ("ebs", "InvalidSignatureException"),
        ("ssm", "InvalidSignatureException"),
        ("sts", "SignatureDoesNotMatch"),
    ],
)
def test_a_wrong_secret_is_refused(localcloud, service, expected):
    """As each service says it; and with the right one the same call gets in."""
    assert code(localcloud, service, secret="wrong") == expected
    assert code(localcloud, service) in LET_IN


@pytest.mark.parametrize(
    ("service", "expected", "minutes"),
    [
        ("s3", "RequestTimeTooSkewed", 15),
        ("ec2", "RequestExpired", 5),
        ("ebs", "InvalidSignatureException", 5),
        ("ssm", "InvalidSignatureException", 5),
        ("sts", "SignatureDoesNotMatch", 5),
    ],
)
@pytest.mark.parametrize("ahead", [1, -1])
def test_a_clock_that_is_off_is_refused(localcloud, monkeypatch, service, expected, minutes, ahead):
    """S3 lets pass a quarter of an hour, the others five minutes; behind or ahead."""
    for off, said in ((minutes + 1, expected), (minutes - 1, "")):
        there = datetime.now(UTC) + timedelta(minutes=ahead * off)
        monkeypatch.setattr(
            botocore.auth, "get_current_datetime", lambda there=there: there.replace(tzinfo=None)
        )
        assert (code(localcloud, service) == expected) is (said == expected)


@pytest.mark.parametrize("region", ["me-south-1", "xx-nowhere"])
def test_a_region_that_is_off_lets_nobody_in(localcloud, region):
    """AWS does not say that it is the region."""
    assert code(localcloud, "ec2", region=region) == "AuthFailure"
    assert code(localcloud, "sts", region=region) == "InvalidClientTokenId"


def test_each_key_is_an_account_s(localcloud):
    """One key for each account, and no other keys."""
    sts = localcloud.client("sts", account="210987654321")
    assert sts.get_caller_identity()["Account"] == "210987654321"
    assert localcloud.client("sts").get_caller_identity()["Account"] == "123456789012"
    assert refused(localcloud.client("sts", account="12").get_caller_identity) == "InvalidClientTokenId"


def test_a_body_that_is_not_the_signed_one_is_refused(localcloud):
    """The digest in the header is signed; the body must have it."""
    s3 = localcloud.client("s3")
    s3.meta.events.register("before-send.s3.CreateBucket", tampered)
    asked = {"Bucket": "bucket", "CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}}
    assert refused(s3.create_bucket, **asked) == "XAmzContentSHA256Mismatch"


def tampered(request: Any, **_: object) -> None:
    request.body = request.body.replace(b"eu-west-1", b"eu-west-2")


def test_without_a_signature_there_is_nothing(localcloud):
    """Not even a list."""
    for path in ("/", "/bucket/key"):
        with pytest.raises(OSError, match="403"):
            urlopen(Plain(f"{localcloud.url}{path}"), timeout=10)  # noqa: S310 - our own server's address


def test_a_presigned_address_works_until_it_expires(localcloud, monkeypatch):
    """Its signature is in the query, and its time with it."""
    s3 = localcloud.client("s3", signature_version="s3v4")
    url = s3.generate_presigned_url("list_buckets", ExpiresIn=60)
    with urlopen(url, timeout=10) as reply:  # noqa: S310 - our own server's address
        assert b"ListAllMyBucketsResult" in reply.read()
    with pytest.raises(OSError, match="403"):
        urlopen(url.replace("Signature=", "Signature=0"), timeout=10)  # noqa: S310 - our own server's address
    past = (datetime.now(UTC) - timedelta(minutes=2)).replace(tzinfo=None)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: past)
    old = s3.generate_presigned_url("list_buckets", ExpiresIn=60)
    with pytest.raises(OSError, match="403"):
        urlopen(old, timeout=10)  # noqa: S310 - our own server's address
