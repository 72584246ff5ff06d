"""A bundle in S3 as RegisterImage looks at it: its manifest understood, its parts there, all of it open to EC2."""

from tasks.cloud.local.call import Call
from tasks.cloud.local.ec2.mappings import DEVICE
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.s3.objects import Stored, fetch
from tasks.kit.fault import ImageFault
from tasks.plan.manifest import LARGEST, LONGEST, Manifest, parse

MACHINE = "machine"  # what manifests of kernels and ramdisks are not


def judged(call: Call, location: str) -> Manifest:
    """The manifest at BUCKET/KEY. Raises Refusal; digests are not looked at."""
    bucket, _, key = location.partition("/")
    stored = _readable(call, bucket, key)
    if stored.size > LONGEST:
        raise _wrong(f"it is longer than {LONGEST} bytes")
    try:
        manifest = parse(stored.read())
    except ImageFault as fault:
        raise Refusal("InvalidManifest", fault.problem) from fault
    _judge(call, manifest)
    folder = key.rpartition("/")[0]
    found = (
        _readable(call, bucket, f"{folder}/{part.name}".lstrip("/")).size for part in manifest.parts
    )
    if (size := sum(found)) != manifest.bundled_size:
        raise _wrong(f"its parts have {size} bytes, and not {manifest.bundled_size}")
    return manifest


def _judge(call: Call, manifest: Manifest) -> None:
    if manifest.user != call.account:
        raise Refusal(
            "AuthFailure",
            f"The manifest is of the user {manifest.user}, and not of {call.account}",
            403,
        )
    if manifest.kind != MACHINE:
        raise _wrong(f"its image is a {manifest.kind}, and no machine")
    if manifest.size > LARGEST:
        raise _wrong(f"its image has {manifest.size} bytes, more than {LARGEST}")
    for _, device in manifest.block_devices:
        if not DEVICE.fullmatch(device):
            raise _wrong(f"Invalid block device mapping: Invalid device name '{device}'")


def _readable(call: Call, bucket: str, key: str) -> Stored:
    stored = fetch(call.store, bucket, key)
    if stored is None:
        raise Refusal(
            "InvalidManifest",
            f"{_said(404, 'Not Found', bucket, key)} check your manifest path is correct and in the correct region.",
        )
    if stored.region != call.region:
        raise Refusal(
            "InvalidManifest",
            f"{_said(301, 'Moved Permanently', bucket, key)} check your manifest path is correct and in the correct region.",
        )
    if not stored.readable:
        raise Refusal(
            "AuthFailure",
            f"{_said(403, 'Forbidden', bucket, key)} check your S3 ACLs are correct.",
            403,
        )
    return stored


def _said(status: int, reason: str, bucket: str, key: str) -> str:
    """EC2's own words."""
    return f"HTTP {status} ({reason}) response for URL http://s3.amazonaws.com:80/{bucket}/{key}:"


def _wrong(why: str) -> Refusal:
    return Refusal("InvalidManifest", f"The manifest is not valid: {why}")
