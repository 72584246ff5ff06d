"""The factory of clients, and what becomes of their errors: a person at three in the morning reads the result."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tasks.cloud import clients
from tasks.cloud.clients import connect
from tasks.cloud.refusals import asking
from tasks.kit.fault import CloudFault
from tests import clouds
from tests.clouds import Reply, elsewhere


def told(code: str, message: str = "", *, operation: str = "PutObject", date: str = "") -> str:
    """The fault that a refusal becomes."""
    reply: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPHeaders": {"date": date} if date else {}},
    }
    with pytest.raises(CloudFault) as caught, asking("send the bundle", where="bucket b in us-east-1"):
        raise ClientError(reply, operation)
    return str(caught.value)


def minutes_from_now(number: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(minutes=number), usegmt=True)


@pytest.mark.parametrize(
    ("code", "message", "problem", "hint"),
    [
        (
            "ExpiredToken",
            "The provided token has expired.",
            "the credentials have expired",
            "aws sso login",
        ),
        ("InvalidAccessKeyId", "", "AWS does not know the access key", "AWS_ACCESS_KEY_ID"),
        (
            "AuthFailure",
            "AWS was not able to validate",
            "AWS does not know the access key",
            "AWS_PROFILE",
        ),
        (
            "SignatureDoesNotMatch",
            "The request signature",
            "the secret key does not belong",
            "AWS_SECRET_ACCESS_KEY",
        ),
        (
            "SignatureDoesNotMatch",
            "Signature expired: 2026",
            "this machine's clock is off",
            "timedatectl",
        ),
        ("RequestTimeTooSkewed", "The difference", "this machine's clock is off", "timedatectl"),
        ("RequestExpired", "Request has expired.", "this machine's clock is off", "timedatectl"),
        ("AccessDenied", "Access Denied", "do not permit s3:PutObject and s3:PutObjectAcl", "permitted"),
        (
            "AccessDenied",
            "User x is not authorized to perform: kms:Encrypt on",
            "do not permit kms:Encrypt",
            "permitted",
        ),
        ("403", "Forbidden", "do not permit s3:PutObject and s3:PutObjectAcl", "AWS_PROFILE"),
        ("SlowDown", "Please reduce", "AWS asks to slow down", "in some minutes"),
        ("RequestLimitExceeded", "Request limit exceeded.", "AWS asks to slow down", "in some minutes"),
        (
            "InvalidManifest",
            "The manifest is empty",
            "could not send the bundle: The manifest is empty",
            "",
        ),
    ],
)
def test_refusals_say_what_is_wrong_where_and_what_to_do(code, message, problem, hint):
    """And AWS's own words stay in the evidence."""
    text = told(code, message)
    assert problem in text
    assert hint in text
    assert code in text
    assert "where: bucket b in us-east-1" in text


@pytest.mark.parametrize(
    ("minutes", "words"), [(20.5, "20 min .* s behind AWS's"), (-16.5, "16 min .* s ahead of AWS's")]
)
def test_a_clock_that_is_off_is_told_by_how_much(minutes, words):
    """By the reply's own Date header."""
    assert re.search(words, told("RequestTimeTooSkewed", date=minutes_from_now(minutes)))


def test_a_refusal_without_words_is_told_from_a_wrong_clock():
    """To a HEAD there is no body: the time of the reply decides."""
    assert "clock" in told("403", "Forbidden", operation="HeadBucket", date=minutes_from_now(20))
    assert "do not permit s3:ListBucket" in told(
        "403", "Forbidden", operation="HeadBucket", date=minutes_from_now(1)
    )


def test_ec2s_permissions_are_called_like_its_operations():
    assert "do not permit ec2:RegisterImage" in told("UnauthorizedOperation", operation="RegisterImage")


def test_missing_credentials(credentials, tmp_path):
    """Nothing is guessed; the ways to give them are named."""
    credentials.delenv("AWS_ACCESS_KEY_ID")
    credentials.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(
        CloudFault, match=r"(?s)no credentials were found.*STS in us-east-1.*aws configure"
    ):
        connect(elsewhere("http://127.0.0.1:9"), tmp_path)


def test_a_profile_that_is_not_there(credentials, tmp_path):
    credentials.setenv("AWS_PROFILE", "nobodys")
    with pytest.raises(
        CloudFault, match=r"(?s)configuration is wrong.*nobodys.*config/clouds/aws.yaml.*AWS_PROFILE"
    ):
        connect(elsewhere("http://127.0.0.1:9"), tmp_path)


def test_an_endpoint_that_nobody_answers_at(credentials, tmp_path):
    """It is tried some times, and then called unreachable."""
    credentials.setattr(clients, "TRIES", 2)
    with pytest.raises(
        CloudFault, match=r"(?s)the endpoint cannot be reached.*127.0.0.1:9/.*check network"
    ):
        connect(elsewhere("http://127.0.0.1:9"), tmp_path)


def test_no_region(credentials, tmp_path):
    spec = elsewhere("http://127.0.0.1:9").model_copy(update={"region": None})
    with pytest.raises(CloudFault, match=r"(?s)no region is set.*AWS_REGION"):
        connect(spec, tmp_path)
    credentials.setenv("AWS_REGION", "eu-west-1")
    credentials.setattr(clients, "TRIES", 1)
    with pytest.raises(CloudFault, match="STS in eu-west-1"):
        connect(spec, tmp_path)


def test_an_endpoint_from_the_environment_is_encrypted_too(credentials, tmp_path):
    """AWS_ENDPOINT_URL passes by our configuration, but not by this."""
    credentials.setenv("AWS_ENDPOINT_URL", "http://example.net")
    spec = elsewhere("http://127.0.0.1:9").model_copy(update={"endpoint_url": None})
    with pytest.raises(CloudFault, match=r"http://example.net is not encrypted"):
        connect(spec, tmp_path)


@pytest.mark.usefixtures("credentials")
def test_the_account_is_asked_for_and_checked(fresh, tmp_path):
    """STS says whose the credentials are; another account than the configured one is refused."""
    cloud = connect(elsewhere(fresh.url), tmp_path)
    assert (cloud.account, cloud.region, cloud.id) == ("123456789012", "us-east-1", "")
    with pytest.raises(
        CloudFault, match=r"are for account 123456789012, but aws is account 210987654321"
    ):
        connect(elsewhere(fresh.url, account="210987654321"), tmp_path)


def test_the_local_cloud_heeds_nothing_that_is_meant_for_aws(fresh, home, credentials):
    """No profile, endpoint, proxy or credential of the user's reaches it."""
    credentials.setenv("AWS_PROFILE", "nobodys")
    credentials.setenv("AWS_CONFIG_FILE", "/nowhere/config")
    credentials.setenv("AWS_ENDPOINT_URL", "http://example.net")
    credentials.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    credentials.setenv("AWS_REGION", "eu-west-1")
    credentials.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    credentials.setenv("http_proxy", "http://127.0.0.1:9")
    credentials.delenv("AWS_ACCESS_KEY_ID")
    cloud = connect(clouds.LOCAL, home)
    assert cloud.id == fresh.id
    assert cloud.region == "us-east-1"
    assert cloud.s3().list_buckets()["Buckets"] == []
    assert cloud.ec2().describe_images(Owners=["self"])["Images"] == []


@pytest.mark.usefixtures("credentials")
def test_clients_say_who_they_are_and_try_again(fresh, tmp_path):
    """A throttle is answered with patience, five times at most."""
    with clouds.relaying(fresh.url) as relay:
        slow = iter([Reply(503, b"<Error><Code>SlowDown</Code></Error>")])
        relay.rule = lambda call: next(slow, None) if call.method == "GET" else None
        s3 = connect(elsewhere(relay.url), tmp_path).s3()
        assert s3.list_buckets()["Buckets"] == []
    assert [call.method for call in relay.seen] == ["POST", "GET", "GET"]
    assert all(clients.AGENT in call.headers["user-agent"] for call in relay.seen)
