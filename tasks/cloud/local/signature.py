"""Who asks, and whether it is they: AWS's Signature Version 4, made again by botocore's own signer and compared.

The local cloud's keys need no list: `local` is its account's, `local-<12 digits>` is another account's, and the secret of
each is `local`.
"""

import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.utils import normalize_url_path

from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.wire import SERVICES
from tasks.cloud.local.wire.request import Request
from tasks.spec.cloud import LOCAL_ACCOUNT

SECRET = "local"  # noqa: S105 - it keeps nobody out: the cloud listens on the loopback alone
KEY = re.compile(r"local(?:-([0-9]{12}))?")
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(\S+?), ?SignedHeaders=(\S+?), ?Signature=([0-9a-f]{64})"
)
TOLERANCE = {"s3": timedelta(minutes=15)}  # a clock may be off by so much
USUAL = timedelta(minutes=5)
UNSIGNED = "UNSIGNED-PAYLOAD"
LONGEST = 604800  # seconds that a presigned address may live: a week

# The regions of an account that never asked for more (docs.aws.amazon.com, "Regions and Availability Zones")
ON = (
    "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-southeast-1", "ap-southeast-2",
    "ca-central-1", "eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3", "sa-east-1",
    "us-east-1", "us-east-2", "us-west-1", "us-west-2",
)  # fmt: skip

# What a service says to a clock that is off, to a wrong signature, to a key that nobody has
SKEWED = {
    "s3": ("RequestTimeTooSkewed", 403),
    "ec2": ("RequestExpired", 400),
    "ebs": ("InvalidSignatureException", 403),
    "iam": ("SignatureDoesNotMatch", 403),
    "kms": ("InvalidSignatureException", 400),
    "ssm": ("InvalidSignatureException", 400),
    "sts": ("SignatureDoesNotMatch", 403),
}
WRONG = {
    "s3": ("SignatureDoesNotMatch", 403),
    "ec2": ("AuthFailure", 401),
    "ebs": ("InvalidSignatureException", 403),
    "iam": ("SignatureDoesNotMatch", 403),
    "kms": ("InvalidSignatureException", 400),
    "ssm": ("InvalidSignatureException", 400),
    "sts": ("SignatureDoesNotMatch", 403),
}
STRANGER = {
    "s3": ("InvalidAccessKeyId", 403),
    "ec2": ("AuthFailure", 401),
    "ebs": ("UnrecognizedClientException", 403),
    "iam": ("InvalidClientTokenId", 403),
    "kms": ("UnrecognizedClientException", 400),
    "ssm": ("UnrecognizedClientException", 400),
    "sts": ("InvalidClientTokenId", 403),
}


@dataclass(frozen=True)
class Caller:
    account: str
    region: str
    service: str


@dataclass(frozen=True)
class Signature:
    """What a request says of itself, in its header or in its address."""

    key: str
    scope: str
    service: str
    region: str
    headers: tuple[str, ...]
    signature: str
    date: str
    lifetime: int | None  # seconds; None when it is no presigned address


def service_of(request: Request) -> str:
    """Before anything is believed: in whose words to answer."""
    said = request.headers.get("authorization", "") + request.query.replace("%2F", "/")
    found = re.search(r"/([a-z0-9]+)/aws4_request", said)
    return found[1] if found and found[1] in SERVICES else "s3"


def caller(request: Request, *, now: datetime | None = None) -> Caller:
    """Raises Refusal unless the request is signed, by somebody we know, and was a moment ago."""
    told = _told(request)
    if told.service not in SERVICES:
        raise Refusal("InvalidAction", f"The local cloud has no service {told.service}")
    known = KEY.fullmatch(told.key)
    if not known:
        raise _refusal(
            STRANGER, told.service, "The AWS Access Key Id you provided does not exist in our records."
        )
    _timely(told, now or datetime.now(UTC))
    if not hmac.compare_digest(signed(request, told), told.signature):
        raise _refusal(
            WRONG,
            told.service,
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method.",
        )
    if told.region not in ON:
        raise _refusal(
            STRANGER, told.service, "AWS was not able to validate the provided access credentials"
        )
    digest = _digest(request, told)
    if re.fullmatch(r"[0-9a-f]{64}", digest) and digest != request.body.sha256:
        raise Refusal(
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )
    return Caller(known[1] or LOCAL_ACCOUNT, told.region, told.service)


def _refusal(table: dict[str, tuple[str, int]], service: str, message: str) -> Refusal:
    code, status = table[service]
    return Refusal(code, message, status)


def _told(request: Request) -> Signature:
    query = dict(parse_qsl(request.query, keep_blank_values=True))
    if "X-Amz-Signature" in query:
        credential, headers = query.get("X-Amz-Credential", ""), query.get("X-Amz-SignedHeaders", "")
        signature, date = query["X-Amz-Signature"], query.get("X-Amz-Date", "")
        lifetime = _number(query.get("X-Amz-Expires", ""))
    else:
        header = AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
        if header is None:
            raise _unsigned(request)
        credential, headers, signature = header.groups()
        date, lifetime = request.headers.get("x-amz-date", ""), None
    key, _, scope = credential.partition("/")
    parts = scope.split("/")
    if len(parts) != 4 or not re.fullmatch(r"\d{8}T\d{6}Z", date) or parts[0] != date[:8]:  # noqa: PLR2004 - date/region/service/aws4_request
        raise Refusal("IncompleteSignature", f"Credential {credential!r} does not fit the date {date!r}")
    return Signature(
        key, scope, parts[2], parts[1], tuple(headers.split(";")), signature, date, lifetime
    )


def _number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= LONGEST:
        raise Refusal("AuthorizationQueryParametersError", f"X-Amz-Expires is 1 to {LONGEST} seconds")
    return int(text)


def _unsigned(request: Request) -> Refusal:
    if request.headers.get("authorization"):
        return Refusal(
            "InvalidRequest", "The authorization mechanism you have provided is not supported."
        )
    if request.form or request.body.size or "x-amz-target" in request.headers:
        return Refusal("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
    return Refusal("AccessDenied", "Access Denied", 403)


def _timely(told: Signature, now: datetime) -> None:
    at = datetime.strptime(told.date, SIGV4_TIMESTAMP).replace(tzinfo=UTC)
    off = TOLERANCE.get(told.service, USUAL)
    if told.lifetime is not None:
        if at - off > now or now > at + timedelta(seconds=told.lifetime):
            raise Refusal("AccessDenied", "Request has expired", 403)
    elif abs(now - at) > off:
        words = {
            "s3": "The difference between the request time and the current time is too large.",
            "ec2": "Request has expired.",
        }
        late = f"Signature {'expired' if at < now else 'not yet current'}: {told.date}"
        raise _refusal(SKEWED, told.service, words.get(told.service, late))


def signed(request: Request, told: Signature) -> str:
    """The signature that the request ought to bear."""
    missing = [name for name in told.headers if name not in request.headers]
    if missing or "host" not in told.headers:
        raise Refusal(
            "AccessDenied", f"There were headers missing which were signed: {missing or 'host'}", 403
        )
    canonical = "\n".join(
        (
            request.method,
            _path(request, told),
            _query(request),
            "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in told.headers),
            ";".join(told.headers),
            _digest(request, told),
        )
    )
    auth = SigV4Auth(Credentials(told.key, SECRET), told.service, told.region)
    dated = AWSRequest()
    dated.context["timestamp"] = told.date
    return str(auth.signature(auth.string_to_sign(dated, canonical), dated))


def _path(request: Request, told: Signature) -> str:
    """S3's is signed as it was sent; the others' once more encoded."""
    return request.path if told.service == "s3" else quote(normalize_url_path(request.path), safe="/~")


def _query(request: Request) -> str:
    pairs = [pair.partition("=") for pair in request.query.split("&") if pair]
    return "&".join(f"{key}={value}" for key, _, value in sorted(pairs) if key != "X-Amz-Signature")


def _digest(request: Request, told: Signature) -> str:
    """Of the body, as it was signed: in hex, or one of AWS's words for what is not."""
    if told.lifetime is not None:
        return UNSIGNED
    return request.headers.get("x-amz-content-sha256", request.body.sha256)
