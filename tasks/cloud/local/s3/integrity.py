"""Whether a request's body is what its client says: digests and check sums, in headers or behind the body."""

import base64
import binascii
import re

from tasks.cloud.local.body import SUMS
from tasks.cloud.local.call import Call
from tasks.cloud.local.refusal import Refusal, unknown

PREFIX = "x-amz-checksum-"
NOT_OF_THE_BODY = {"algorithm", "mode", "type"}
NEITHER = {"x-amz-checksum-xxhash64", "x-amz-checksum-xxhash3", "x-amz-checksum-xxhash128"}
STORED = {"PutObject", "UploadPart"}
USUAL = "CRC64NVME"  # what S3 takes of what came without a sum
REQUIRED = {"DeleteObjects", "PutBucketOwnershipControls", "PutBucketTagging", "PutPublicAccessBlock",
            "PutObjectAcl", "PutObjectTagging"}  # fmt: skip


def verify(call: Call) -> None:
    """Before the change: it takes its time."""
    if call.operation == "CompleteMultipartUpload":  # its sum is the object's
        return
    wrapped = call.headers.get("x-amz-content-sha256", "").startswith("STREAMING-")
    size = call.headers.get("x-amz-decoded-content-length")
    if wrapped and size is None:
        raise Refusal("MissingContentLength", "You must provide the Content-Length HTTP header.", 411)
    if wrapped and size != str(call.body.size):
        raise Refusal(
            "IncompleteBody",
            "You did not provide the number of bytes specified by the Content-Length HTTP header",
        )
    told, stored = claimed(call), call.operation in STORED
    digest = call.headers.get("content-md5")
    if digest is not None and len(_decoded(digest)) != 16:  # noqa: PLR2004 - bytes of an MD5
        raise Refusal("InvalidDigest", "The Content-MD5 you specified was invalid.")
    if call.operation in REQUIRED and not told and digest is None:
        raise Refusal(
            "InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*"
        )
    wanted = {told[0]} if told else {USUAL} if call.operation == "PutObject" else set()
    sums = call.body.sums(*wanted | ({"MD5"} if stored or digest is not None else set()))
    if digest is not None and sums["MD5"] != digest:
        raise Refusal("BadDigest", "The Content-MD5 you specified did not match what we received.")
    if told and sums[told[0]] != told[1]:
        raise mismatch(told[0])
    if stored:
        call.body.settle()


def mismatch(name: str) -> Refusal:
    return Refusal("BadDigest", f"The {name} you specified did not match the calculated checksum.")


def claimed(call: Call) -> tuple[str, str] | None:
    """The check sum that the client tells of the body: (algorithm, value)."""
    told = {
        key.removeprefix(PREFIX): value
        for key, value in {**call.headers, **call.body.trailer}.items()
        if key.startswith(PREFIX) and key.removeprefix(PREFIX) not in NOT_OF_THE_BODY
    }
    _promised(call, told)
    if not told:
        return None
    if len(told) > 1:
        raise Refusal(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    [(name, value)] = told.items()
    if name.upper() not in SUMS:
        raise unknown(f"the check sum {name}", "s3")
    checked(name.upper(), value)
    return name.upper(), value


def checked(name: str, value: str) -> None:
    """Raises Refusal when it cannot be the sum of anything."""
    if len(_decoded(value)) != len(SUMS[name]().digest()):
        raise Refusal("InvalidRequest", f"Value for {PREFIX}{name.lower()} header is invalid.")


def _promised(call: Call, told: dict[str, str]) -> None:
    """An algorithm that is named must be the one that is used; a trailer that is announced must come."""
    trailer = call.headers.get("x-amz-trailer", "")
    if trailer and trailer not in call.body.trailer:
        raise Refusal(
            "MalformedTrailerError", "The request contained trailing data that was not well-formed."
        )
    if not set(call.body.trailer) <= {trailer}:
        raise Refusal(
            "MalformedTrailerError", "The request contained trailing data that was not announced."
        )
    name = call.headers.get("x-amz-sdk-checksum-algorithm", "").lower()
    if name and not told:
        raise Refusal(
            "InvalidRequest",
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer "
            "headers were found.",
        )
    if name and name not in told:
        raise Refusal("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True) if re.fullmatch(r"\S+", text) else b""
    except binascii.Error:
        return b""
