"""A client that is not ours: Amazon's own command line, as a user types it."""

import base64
import hashlib
import json
import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

AWS = Path(sysconfig.get_path("scripts")) / "aws"
BUCKET = "doit-ami-cli"
BLOCK = 524288
NOTHING: dict[str, str] = {}


class Cli:
    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url,
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_PAGER": "",
        }

    def __call__(self, *words: str) -> Any:
        """What it prints: JSON as a value, anything else as text."""
        found = self.run(*words)
        assert found.returncode == 0, found.stderr
        text = found.stdout.strip()
        return json.loads(text) if text.startswith("{") else text

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [AWS, *words],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


@pytest.fixture
def aws(localcloud, tmp_path):
    return Cli(localcloud.url, tmp_path)


def test_s3_as_a_user_types_it(aws, tmp_path):
    """A bucket, a file in five parts, the same bytes back, a list, an end."""
    (tmp_path / "there").write_bytes(os.urandom(36 << 20))
    aws("s3", "mb", f"s3://{BUCKET}")
    aws("s3", "cp", "--quiet", "there", f"s3://{BUCKET}/folder/file")
    aws("s3", "cp", "--quiet", f"s3://{BUCKET}/folder/file", "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "there").read_bytes()
    assert aws("s3", "ls", f"s3://{BUCKET}/").split() == ["PRE", "folder/"]
    assert aws("s3api", "list-multipart-uploads", "--bucket", BUCKET).get("Uploads", []) == []
    assert "BucketNotEmpty" in aws.run("s3", "rb", f"s3://{BUCKET}").stderr
    aws("s3", "rm", "--quiet", "--recursive", f"s3://{BUCKET}")
    aws("s3", "rb", f"s3://{BUCKET}")
    assert aws("s3", "ls") == ""


def test_a_volume_block_by_block(aws, tmp_path):
    """EBS direct, the snapshot that comes of it, and an image made of that."""
    data = os.urandom(BLOCK)
    digest = hashlib.sha256(data).digest()
    (tmp_path / "block").write_bytes(data)
    snapshot = aws("ebs", "start-snapshot", "--volume-size", "1", "--description", "ours")["SnapshotId"]
    sums = ("--checksum-algorithm", "SHA256", "--checksum", base64.b64encode(digest).decode())
    put = ("--block-index", "3", "--data-length", str(BLOCK), "--block-data", "block", *sums)
    aws("ebs", "put-snapshot-block", "--snapshot-id", snapshot, *put)
    total = base64.b64encode(hashlib.sha256(digest).digest()).decode()
    proof = (
        "--checksum",
        total,
        "--checksum-algorithm",
        "SHA256",
        "--checksum-aggregation-method",
        "LINEAR",
    )
    aws("ebs", "complete-snapshot", "--snapshot-id", snapshot, "--changed-blocks-count", "1", *proof)
    aws("ec2", "wait", "snapshot-completed", "--snapshot-ids", snapshot)
    (block,) = aws("ebs", "list-snapshot-blocks", "--snapshot-id", snapshot)["Blocks"]
    where = ("--block-index", "3", "--block-token", block["BlockToken"])
    aws("ebs", "get-snapshot-block", "--snapshot-id", snapshot, *where, "back")
    assert (tmp_path / "back").read_bytes() == data
    device = f"DeviceName=/dev/xvda,Ebs={{SnapshotId={snapshot},VolumeType=gp3}}"
    asked = (
        "--root-device-name",
        "/dev/xvda",
        "--architecture",
        "x86_64",
        "--virtualization-type",
        "hvm",
        "--ena-support",
    )
    image = aws("ec2", "register-image", "--name", "ours", *asked, "--block-device-mappings", device)[
        "ImageId"
    ]
    aws("ec2", "wait", "image-available", "--image-ids", image)
    assert "InvalidSnapshot.InUse" in aws.run("ec2", "delete-snapshot", "--snapshot-id", snapshot).stderr
    aws("ec2", "deregister-image", "--image-id", image)
    aws("ec2", "delete-snapshot", "--snapshot-id", snapshot)
    assert aws("ec2", "describe-snapshots", "--owner-ids", "self")["Snapshots"] == []


def test_what_stands_around_an_instance(aws, tmp_path):
    """Keys, groups, types, regions; a parameter; whose the credentials are."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    told = subprocess.run(
        ["ssh-keygen", "-lf", tmp_path / "key"], check=True, capture_output=True, text=True
    )
    pair = aws(
        "ec2", "import-key-pair", "--key-name", "mine", "--public-key-material", "fileb://key.pub"
    )
    assert pair["KeyFingerprint"].rstrip("=") == told.stdout.split()[1].removeprefix("SHA256:")
    rule = ("--group-name", "default", "--protocol", "tcp", "--port", "22", "--cidr", "127.0.0.1/32")
    assert aws("ec2", "authorize-security-group-ingress", *rule)["Return"] is True
    assert (
        "InvalidPermission.Duplicate" in aws.run("ec2", "authorize-security-group-ingress", *rule).stderr
    )
    (kind,) = aws("ec2", "describe-instance-types", "--instance-types", "m1.small")["InstanceTypes"]
    assert "instance-store" in kind["SupportedRootDeviceTypes"]
    assert len(aws("ec2", "describe-regions")["Regions"]) == 17
    aws("ssm", "put-parameter", "--name", "/images/debian", "--type", "String", "--value", "x")
    assert aws("ssm", "get-parameter", "--name", "/images/debian")["Parameter"]["Value"] == "x"
    assert aws("sts", "get-caller-identity")["Account"] == "123456789012"
    assert "does not know the operation" in aws.run("ec2", "describe-hosts").stderr
