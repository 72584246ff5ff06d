"""What EC2 describes against what was asked for: every difference has a name."""

from typing import Any

import pytest

from tasks.cloud import described
from tasks.spec.cloud import Ebs

ROOT: Any = {
    "SnapshotId": "snap-1",
    "VolumeType": "gp3",
    "VolumeSize": 8,
    "Iops": 4000,
    "Throughput": 250,
    "DeleteOnTermination": True,
}
EMPTY: Any = {"VolumeType": "gp2", "VolumeSize": 10, "DeleteOnTermination": True, "Encrypted": True}
WISH: Any = {
    "Name": "n",
    "Architecture": "x86_64",
    "VirtualizationType": "hvm",
    "RootDeviceName": "/dev/xvda",
    "BootMode": "uefi",
    "TpmSupport": "v2.0",
    "ImdsSupport": "v2.0",
    "EnaSupport": True,
    "UefiData": "AAAA",
    "BlockDeviceMappings": [
        {"DeviceName": "/dev/xvda", "Ebs": ROOT},
        {"DeviceName": "/dev/sdf", "Ebs": EMPTY},
        {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
    ],
    "TagSpecifications": [{"ResourceType": "image", "Tags": [{"Key": "a", "Value": "b"}]}],
}
FOUND: Any = {
    **{key: value for key, value in WISH.items() if key not in ("TagSpecifications", "UefiData")},
    "Name": "of another day",
    "RootDeviceType": "ebs",
    "Tags": [{"Key": "a", "Value": "b"}],
    "BlockDeviceMappings": [
        {"DeviceName": "/dev/xvda", "Ebs": {**ROOT, "Encrypted": False}},
        {"DeviceName": "/dev/sdf", "Ebs": {**EMPTY, "Iops": 100}},
        {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
    ],
}


def test_what_is_as_it_was_asked_for_has_no_difference():
    """What EC2 adds of its own is none, nor is the order of the devices."""
    assert told() == told(BlockDeviceMappings=FOUND["BlockDeviceMappings"][::-1]) == []


def told(**change: Any) -> list[str]:
    found: Any = {**FOUND, **change}
    return described.differences(found, WISH)


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("RootDeviceType", "instance-store", "RootDeviceType: asked for ebs, is instance-store"),
        ("RootDeviceName", "/dev/sda1", "RootDeviceName: asked for /dev/xvda, is /dev/sda1"),
        ("BootMode", None, "BootMode: asked for uefi, is None"),
        ("TpmSupport", None, "TpmSupport: asked for v2.0, is None"),
        ("ImdsSupport", None, "ImdsSupport: asked for v2.0, is None"),
        ("EnaSupport", False, "EnaSupport: asked for True, is False"),
        ("VirtualizationType", "paravirtual", "VirtualizationType: asked for hvm, is paravirtual"),
        ("SriovNetSupport", "simple", "SriovNetSupport: asked for None, is simple"),
        ("KernelId", "aki-1", "KernelId: asked for None, is aki-1"),
        ("Tags", [], "tag a: asked for b, is None"),
    ],
)
def test_every_difference_is_named(key, value, line):
    assert told(**{key: value}) == [line]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SnapshotId", "snap-2"),
        ("VolumeType", "gp2"),
        ("VolumeSize", 9),
        ("Iops", 3000),
        ("Throughput", 125),
        ("DeleteOnTermination", False),
        ("Encrypted", True),
    ],
)
def test_every_difference_of_the_root_volume_is_named(key, value):
    found = {**FOUND["BlockDeviceMappings"][0]["Ebs"], key: value}
    devices = [{"DeviceName": "/dev/xvda", "Ebs": found}, *FOUND["BlockDeviceMappings"][1:]]
    (line,) = told(BlockDeviceMappings=devices)
    asked = {**ROOT, "Encrypted": False}[key]
    assert line == f"volume /dev/xvda: {key}: asked for {asked}, is {value}"


def test_a_volume_of_an_encrypted_snapshot_must_be_encrypted():
    """Though RegisterImage takes no word about it."""
    (line,) = described.differences(FOUND, WISH, encrypted=True)
    assert line == "volume /dev/xvda: Encrypted: asked for True, is False"


def test_devices_that_are_lacking_or_that_nobody_asked_for_are_named():
    """A second root, say, of a snapshot of somebody else's."""
    more = {"DeviceName": "/dev/sdg", "Ebs": {"SnapshotId": "snap-9"}}
    devices = [*FOUND["BlockDeviceMappings"][:2], more]
    assert told(BlockDeviceMappings=devices) == [
        "block device /dev/sdb: asked for ephemeral0, is None",
        "block device /dev/sdg: asked for None, is snap-9",
    ]


KEY = "arn:aws:kms:us-east-1:111111111111:key/1"
SNAPSHOT: Any = {
    "SnapshotId": "snap-1",
    "OwnerId": "1" * 12,
    "State": "completed",
    "Progress": "100%",
    "VolumeSize": 2,
    "Encrypted": False,
    "Tags": [{"Key": "doit-ami:image", "Value": "i"}, {"Key": "doit-ami:sha256", "Value": "s"}],
}


def troubles(found: Any, wanted: Ebs) -> list[str]:
    return described.troubles(found, wanted, "1" * 12, "i", "s", 2 << 30)


def test_a_snapshot_that_is_as_it_should_be_has_no_troubles():
    """One that is encrypted without our asking is none: an account may do that to whatever comes."""
    encrypted = {**SNAPSHOT, "Encrypted": True, "KmsKeyId": KEY}
    assert troubles(SNAPSHOT, Ebs()) == troubles(encrypted, Ebs()) == []
    assert troubles(encrypted, Ebs(encrypted=True)) == []
    assert troubles(encrypted, Ebs(encrypted=True, kms_key=KEY)) == []


@pytest.mark.parametrize(
    ("change", "wanted", "said"),
    [
        ({"OwnerId": "2" * 12}, {}, f"belongs to account {'2' * 12}"),
        ({"State": "pending", "Progress": "40%"}, {}, "is pending, 40% of it"),
        ({"State": "error", "StateMessage": "too late"}, {}, "failed: too late"),
        ({"State": "error"}, {}, "failed: AWS gives no reason"),
        ({"State": "recoverable"}, {}, "is recoverable, 100% of it"),
        ({"VolumeSize": 3}, {}, "has 3 GiB, and the disk image 2"),
        ({}, {"encrypted": True}, "is not encrypted, as `ebs.encrypted` wants it"),
        (
            {"Encrypted": True, "KmsKeyId": f"{KEY}2"},
            {"encrypted": True, "kms_key": KEY},
            f"is encrypted with {KEY}2, and not with `ebs.kms_key`",
        ),
    ],
)
def test_each_trouble_with_a_snapshot_is_told(change, wanted, said):
    assert troubles({**SNAPSHOT, **change}, Ebs(**wanted)) == [said]


def test_all_troubles_are_told_and_of_one_that_is_gone_only_that():
    assert len(troubles({**SNAPSHOT, "Tags": [], "State": "error"}, Ebs())) == 3
    assert troubles(None, Ebs(encrypted=True)) == ["is gone"]
