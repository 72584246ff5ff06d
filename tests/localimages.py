"""What images on the local cloud are made of: snapshots without a block, bundles of a few bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.plan.envelope import Sealed
from tasks.plan.manifest import Manifest, Piece, document
from tests.localcloud import LocalCloud

BUCKET, KEY = "images", "b/disk.img.manifest.xml"
LOCATION = f"{BUCKET}/{KEY}"
PARTS = {"disk.img.part.0": b"part", "disk.img.part.1": b"and another"}


@contextmanager
def standing(home: Path) -> Iterator[LocalCloud]:
    """For many tests that leave it as it is."""
    cloud = LocalCloud(home)
    yield cloud
    cloud.stop()


def snapshot(cloud: LocalCloud, gib: int = 1, *, sealed: bool = True, **more: str) -> str:
    """Complete, unless not `sealed`; `more` is for the client."""
    ebs = cloud.client("ebs", **more)
    identity = str(ebs.start_snapshot(VolumeSize=gib)["SnapshotId"])
    if sealed:
        ebs.complete_snapshot(SnapshotId=identity, ChangedBlocksCount=0)
    return identity


def volume(snapshot: str, device: str = "/dev/sda1", **ebs: Any) -> dict[str, Any]:
    return {"DeviceName": device, "Ebs": {"SnapshotId": snapshot, **ebs}}


def image(cloud: LocalCloud, name: str = "an image", **more: Any) -> str:
    """Registered of a snapshot that it has for itself."""
    wish = {"BlockDeviceMappings": [volume(snapshot(cloud))], "VirtualizationType": "hvm", **more}
    return str(cloud.client("ec2").register_image(Name=name, **wish)["ImageId"])


def manifest(**changes: Any) -> bytes:
    sealed = Sealed("00", "00")
    said: dict[str, Any] = {
        "architecture": "x86_64",
        "name": "disk.img",
        "user": "123456789012",
        "digest": "0" * 40,
        "size": 1 << 20,
        "bundled_size": sum(map(len, PARTS.values())),
        "for_ec2": sealed,
        "for_user": sealed,
        "parts": tuple(Piece(name, "0" * 40) for name in PARTS),
        "signature": "00",
    }
    return document(Manifest(**said | changes))


def bundle(
    cloud: LocalCloud,
    text: bytes | None = None,
    *,
    acl: str = "aws-exec-read",
    region: str = "us-east-1",
) -> None:
    """In a bucket of its own, as the product makes one."""
    s3 = cloud.client("s3", region=region)
    place = (
        {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    )
    s3.create_bucket(Bucket=BUCKET, ObjectOwnership="ObjectWriter", **place)
    for name, data in {**PARTS, "disk.img.manifest.xml": text or manifest()}.items():
        s3.put_object(Bucket=BUCKET, Key=f"b/{name}", Body=data, ACL=acl)
