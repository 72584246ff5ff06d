"""What a cloud, or the way to it, says against us, as a person can use it. The one place where their errors become faults."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tasks.kit.fault import CloudFault, Fault

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

TOLERANCE = 300  # seconds a clock may be off: AWS's own limit for EC2 and STS; S3 allows 900
WORDS = 400  # characters of AWS's own words that a fault quotes: what is longer is encoded for machines

EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
STRANGER = {
    "AuthFailure",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "UnrecognizedClientException",
}
UNSIGNED = {"IncompleteSignature", "InvalidSignatureException", "SignatureDoesNotMatch"}
SKEWED = {"RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed"}
DENIED = {
    "403",
    "AccessDenied",
    "AccessDeniedException",
    "AllAccessDisabled",
    "Forbidden",
    "UnauthorizedOperation",
}
THROTTLED = {
    "503", "BandwidthLimitExceeded", "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException",
    "ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException", "TooManyRequestsException",
}  # fmt: skip
QUOTA = {
    "InstanceLimitExceeded",
    "RulesPerSecurityGroupLimitExceeded",
    "VcpuLimitExceeded",
}
CAPACITY = {"InsufficientHostCapacity", "InsufficientInstanceCapacity", "Unsupported"}
OFF = {"OptInRequired", "PendingVerification"}

# Codes, what they mean, and what to do; {permission} is what was lacking.
MEANINGS = (
    (
        EXPIRED,
        "the credentials have expired",
        "renew them (`aws sso login`, or export new ones) and run doit again: it goes on where it stopped",
    ),
    (
        STRANGER,
        "AWS does not know the access key",
        (
            "check what `aws sts get-caller-identity` says, and AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN;"
            " AWS says the same in a region that is off for the account: `aws account list-regions` shows which are on"
        ),
    ),
    (
        UNSIGNED,
        "the secret key does not belong to the access key",
        "enter AWS_SECRET_ACCESS_KEY again, or choose other credentials with AWS_PROFILE",
    ),
    (
        DENIED,
        "the credentials do not permit {permission}",
        "have {permission} permitted to them, or choose others with AWS_PROFILE",
    ),
    (
        THROTTLED,
        "AWS asks to slow down, however often it is tried",
        "run doit again in some minutes: it goes on where it stopped",
    ),
    (
        QUOTA,
        "the account's quota does not allow it",
        (
            "ask for less (`launch.count`, `launch.type`), end what is not needed (`doit instances` shows ours),"
            " or ask AWS for more: Service Quotas, Amazon EC2"
        ),
    ),
    (
        CAPACITY,
        "AWS has none of that instance type left there, or does not have it there at all",
        "run doit again later, or write another `launch.type` or `launch.subnet`",
    ),
    (
        OFF,
        "the account may not use this region, or not yet",
        "`aws account enable-region --region-name ...` switches one on, which takes minutes to hours; or set AWS_REGION",
    ),
)

# Where the permission is not called like the operation (Service Authorization Reference, S3 and STS)
PERMISSIONS = {
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "CompleteMultipartUpload": "s3:PutObject",
    "CompleteSnapshot": "ebs:CompleteSnapshot",
    "CreateBucket": "s3:CreateBucket",
    "CreateMultipartUpload": "s3:PutObject",
    "DeleteBucket": "s3:DeleteBucket",
    "DeleteObjects": "s3:DeleteObject",
    "GetBucketOwnershipControls": "s3:GetBucketOwnershipControls",
    "GetBucketTagging": "s3:GetBucketTagging",
    "GetBucketVersioning": "s3:GetBucketVersioning",
    "GetCallerIdentity": "sts:GetCallerIdentity",
    "GetObject": "s3:GetObject",
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectsV2": "s3:ListBucket",
    "PutBucketTagging": "s3:PutBucketTagging",
    "PutObject": "s3:PutObject and s3:PutObjectAcl",
    "PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "PutSnapshotBlock": "ebs:PutSnapshotBlock",
    "StartSnapshot": "ebs:StartSnapshot",
    "UploadPart": "s3:PutObject",
}


@contextmanager
def asking(purpose: str, *, where: str) -> Iterator[None]:
    """What the cloud, or the way to it, says against the block becomes "could not <purpose>: ..."."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise refusal(error, purpose, where) from error
    except BotoCoreError as error:
        fault = obstacle(error, purpose, where)
        if fault is None:
            raise
        raise fault from error


def code_of(error: "ClientError") -> str:
    return error.response.get("Error", {}).get("Code", "")


def message_of(error: "ClientError") -> str:
    return error.response.get("Error", {}).get("Message", "")


def refusal(error: "ClientError", purpose: str, where: str) -> Fault:
    """What the cloud answered, as a person can use it."""
    code, message = code_of(error), message_of(error)
    if skewed(error):
        what, hint = f"this machine's clock is {skew(error)}", "set the clock: timedatectl set-ntp true"
    else:
        known = ((what, hint) for codes, what, hint in MEANINGS if code in codes)
        what, hint = next(known, (message or code, ""))
    may = permission(error)
    return CloudFault(
        f"could not {purpose}: {what.replace('{permission}', may)}",
        evidence=(f"{error.operation_name}: {code}: {message}"[:WORDS],),
        where=where,
        hint=hint.replace("{permission}", may),
    )


def permission(error: "ClientError") -> str:
    named = re.search(r"perform: ([a-z0-9]+:[A-Za-z]+)", message_of(error))
    return named[1] if named else PERMISSIONS.get(error.operation_name, f"ec2:{error.operation_name}")


def skewed(error: "ClientError") -> bool:
    """Whether it is the clock. To a HEAD nobody says why, but the reply tells the time."""
    code, message = code_of(error), message_of(error)
    says_so = code in SKEWED or re.search("Signature (expired|not yet current)", message) is not None
    return says_so or (code == "403" and abs(ahead(error) or 0) > TOLERANCE)


def ahead(error: "ClientError") -> int | None:
    """Seconds by which this machine's clock is ahead of the reply's."""
    from email.utils import parsedate_to_datetime

    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        theirs = parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return None
    return round(datetime.now(UTC).timestamp() - theirs.timestamp())


def skew(error: "ClientError") -> str:
    seconds = ahead(error)
    if seconds is None:
        return "off"
    minutes, rest = divmod(abs(seconds), 60)
    return f"{minutes} min {rest} s {'ahead of' if seconds > 0 else 'behind'} AWS's"


def obstacle(error: "BotoCoreError", purpose: str, where: str) -> Fault | None:
    """What stands between us and the cloud; None when the mistake is our own."""
    for kinds, problem, hint in obstacles():
        if isinstance(error, kinds):
            said = " ".join(str(error).split())[:WORDS]
            return CloudFault(
                f"could not {purpose}: {problem}", evidence=(said,), where=where, hint=hint
            )
    return None


def obstacles() -> tuple[tuple[tuple[type[Exception], ...], str, str], ...]:
    """The narrower before the wider."""
    from botocore import exceptions as known

    return (
        (
            (known.NoCredentialsError, known.PartialCredentialsError),
            "no credentials were found",
            "`aws configure`, `aws sso login`, or set AWS_PROFILE",
        ),
        (
            (known.ProfileNotFound, known.ConfigParseError, known.InvalidConfigError),
            "AWS's own configuration is wrong",
            "check `profile:`, AWS_PROFILE and ~/.aws/config",
        ),
        (
            (
                known.CredentialRetrievalError,
                known.LoginError,
                known.SSOError,
                known.TokenRetrievalError,
            ),
            "the credentials could not be fetched",
            "`aws sso login`, then run doit again",
        ),
        ((known.NoRegionError,), "no region is set", "set AWS_REGION"),
        (
            (known.SSLError,),
            "the endpoint's certificate was not believed",
            "check AWS_CA_BUNDLE, the proxy and the clock",
        ),
        (
            (known.ConnectionError, known.HTTPClientError),
            "the endpoint cannot be reached",
            "check network, proxy and region, then run doit again: it goes on where it stopped",
        ),
    )
