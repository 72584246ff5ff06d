"""RegisterImage: what EC2 takes, what it refuses, and what it says of the image afterwards."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from tests import localimages
from tests.localcloud import LocalCloud, refused
from tests.localimages import BUCKET, KEY, LOCATION, volume


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    """For all tests that register nothing: a client, and a snapshot of 2 GiB."""
    with localimages.standing(tmp_path_factory.mktemp("standing")) as cloud:
        yield cloud.client("ec2"), localimages.snapshot(cloud, 2)


def described(cloud: LocalCloud, identity: str) -> dict[str, Any]:
    [image] = cloud.client("ec2").describe_images(ImageIds=[identity])["Images"]
    return dict(image)


def test_an_image_of_a_snapshot_is_described_as_it_was_asked_for(localcloud):
    """Everything that was said is told again, before and after a restart."""
    snapshot = localimages.snapshot(localcloud, 8)
    identity = localcloud.client("ec2").register_image(
        Name="debian (12) [x]/a.b-c'd@e_f",
        Description="what it is",
        Architecture="x86_64",
        VirtualizationType="hvm",
        RootDeviceName="/dev/xvda",
        BlockDeviceMappings=[
            volume(snapshot, "/dev/xvda", VolumeType="gp3", VolumeSize=10, DeleteOnTermination=True),
            {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
        ],
        BootMode="uefi",
        TpmSupport="v2.0",
        ImdsSupport="v2.0",
        EnaSupport=True,
        SriovNetSupport="simple",
        TagSpecifications=[{"ResourceType": "image", "Tags": [{"Key": "a", "Value": "b"}]}],
    )["ImageId"]
    found = described(localcloud, identity)
    created = found.pop("CreationDate")
    assert len(created) == len("2026-11-23T00:00:00.000Z")
    assert created.endswith("Z")
    assert found == {
        "ImageId": identity,
        "ImageLocation": "123456789012/debian (12) [x]/a.b-c'd@e_f",
        "Name": "debian (12) [x]/a.b-c'd@e_f",
        "Description": "what it is",
        "OwnerId": "123456789012",
        "State": "available",
        "Public": False,
        "Architecture": "x86_64",
        "ImageType": "machine",
        "Hypervisor": "xen",
        "VirtualizationType": "hvm",
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "DeregistrationProtection": "disabled",
        "RootDeviceType": "ebs",
        "RootDeviceName": "/dev/xvda",
        "BootMode": "uefi",
        "TpmSupport": "v2.0",
        "ImdsSupport": "v2.0",
        "EnaSupport": True,
        "SriovNetSupport": "simple",
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {
                    "DeleteOnTermination": True,
                    "SnapshotId": snapshot,
                    "VolumeSize": 10,
                    "VolumeType": "gp3",
                    "Encrypted": False,
                    "Iops": 3000,
                    "Throughput": 125,
                },
            },
            {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
        ],
        "Tags": [{"Key": "a", "Value": "b"}],
    }
    localcloud.restart()
    assert described(localcloud, identity) == {**found, "CreationDate": created}


def test_what_is_not_said_is_as_in_2006(localcloud):
    """i386 and paravirtual are EC2's defaults; the volume is as large as its snapshot."""
    snapshot = localimages.snapshot(localcloud, 3)
    ec2 = localcloud.client("ec2")
    found = described(
        localcloud, ec2.register_image(Name="old", BlockDeviceMappings=[volume(snapshot)])["ImageId"]
    )
    assert found["Architecture"] == "i386"
    assert found["VirtualizationType"] == "paravirtual"
    assert found["RootDeviceName"] == "/dev/sda1"
    assert found["EnaSupport"] is False
    assert found["BlockDeviceMappings"][0]["Ebs"] == {
        "DeleteOnTermination": True,
        "SnapshotId": snapshot,
        "VolumeSize": 3,
        "VolumeType": "standard",
        "Encrypted": False,
    }


@pytest.mark.parametrize("name", ["a" * 129, "a+b", "a\nb", "für"])
def test_a_name_of_other_characters_or_length_is_refused(standing, name):
    """3 to 128 of those that RegisterImage documents."""
    ec2, snapshot = standing
    asked = {"Name": name, "BlockDeviceMappings": [volume(snapshot)]}
    assert refused(ec2.register_image, **asked) == "InvalidAMIName.Malformed"


def test_a_name_is_of_one_image_until_that_is_deregistered(localcloud):
    """Per account and region; a disabled image has its name still."""
    first = localimages.image(localcloud, "one name")
    ec2, other = localcloud.client("ec2"), localcloud.client("ec2", region="eu-west-1")
    again = {"Name": "one name", "BlockDeviceMappings": [volume(localimages.snapshot(localcloud))]}
    assert refused(ec2.register_image, **again) == "InvalidAMIName.Duplicate"
    ec2.disable_image(ImageId=first)
    assert refused(ec2.register_image, **again) == "InvalidAMIName.Duplicate"
    there = localimages.snapshot(localcloud, region="eu-west-1")
    other.register_image(Name="one name", BlockDeviceMappings=[volume(there)])
    ec2.deregister_image(ImageId=first)
    ec2.register_image(**again)


HVM: dict[str, Any] = {"VirtualizationType": "hvm", "Architecture": "x86_64"}
UEFI_DATA = base64.b64encode(b"AMZNUEFI....").decode()


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"Description": "d" * 256}, "InvalidParameterValue"),
        ({"Architecture": "x86_64_mac"}, "UnsupportedOperation"),
        ({"Architecture": "sparc"}, "InvalidParameterValue"),
        ({"Architecture": "arm64"}, "InvalidParameterCombination"),
        ({"VirtualizationType": "kvm"}, "InvalidParameterValue"),
        ({**HVM, "SriovNetSupport": "complex"}, "InvalidParameterValue"),
        ({"EnaSupport": True}, "InvalidParameterCombination"),
        ({"SriovNetSupport": "simple"}, "InvalidParameterCombination"),
        ({"BootMode": "uefi"}, "InvalidParameterCombination"),
        ({**HVM, "Architecture": "i386", "BootMode": "uefi"}, "InvalidParameterCombination"),
        ({**HVM, "Architecture": "arm64", "BootMode": "legacy-bios"}, "InvalidParameterCombination"),
        ({**HVM, "BootMode": "openfirmware"}, "InvalidParameterValue"),
        ({**HVM, "TpmSupport": "v2.0"}, "InvalidParameterCombination"),
        ({**HVM, "TpmSupport": "v2.0", "BootMode": "uefi-preferred"}, "InvalidParameterCombination"),
        ({**HVM, "TpmSupport": "v1.2", "BootMode": "uefi"}, "InvalidParameterValue"),
        ({**HVM, "ImdsSupport": "v1.0"}, "InvalidParameterValue"),
        ({**HVM, "KernelId": "aki-12345678"}, "InvalidParameterCombination"),
        ({"KernelId": "aki-1"}, "InvalidAMIID.Malformed"),
        ({"RamdiskId": "aki-12345678"}, "InvalidAMIID.Malformed"),
        ({**HVM, "UefiData": UEFI_DATA}, "InvalidParameterCombination"),
        ({**HVM, "BootMode": "uefi", "UefiData": "AAAA"}, "InvalidParameterValue"),
        ({**HVM, "BootMode": "uefi", "UefiData": "?"}, "InvalidParameterValue"),
        ({"BillingProducts": ["bp-1"]}, "UnsupportedOperation"),
        ({"RootDeviceName": "/dev/sdb"}, "InvalidBlockDeviceMapping"),
        ({"TagSpecifications": [{"ResourceType": "snapshot", "Tags": []}]}, "InvalidParameterValue"),
        ({"DryRun": True}, "DryRunOperation"),
    ],
)
def test_what_does_not_fit_together_is_refused_and_leaves_nothing(standing, asked, code):
    """And the name stays free."""
    ec2, snapshot = standing
    wish = {"Name": "a name", "BlockDeviceMappings": [volume(snapshot)], **asked}
    assert refused(ec2.register_image, **wish) == code
    assert ec2.describe_images(Owners=["self"])["Images"] == []


@pytest.mark.parametrize(
    ("ebs", "code"),
    [
        ({"VolumeSize": 1}, "InvalidBlockDeviceMapping"),
        ({"VolumeType": "standard", "VolumeSize": 1025}, "InvalidParameterValue"),
        ({"VolumeType": "gp2", "VolumeSize": 16385}, "InvalidParameterValue"),
        ({"VolumeType": "gp9"}, "InvalidParameterValue"),
        ({"VolumeType": "io1", "Iops": 100}, "InvalidParameterValue"),
        ({"VolumeType": "io1", "VolumeSize": 4}, "MissingParameter"),
        ({"VolumeType": "io1", "VolumeSize": 4, "Iops": 201}, "InvalidParameterValue"),
        ({"VolumeType": "io2", "VolumeSize": 4, "Iops": 99}, "InvalidParameterValue"),
        ({"VolumeType": "gp2", "Iops": 3000}, "InvalidParameterCombination"),
        ({"VolumeType": "gp3", "Iops": 2999}, "InvalidParameterValue"),
        ({"VolumeType": "gp3", "VolumeSize": 8, "Iops": 4001}, "InvalidParameterValue"),
        ({"VolumeType": "gp3", "Throughput": 124}, "InvalidParameterValue"),
        ({"VolumeType": "gp3", "Throughput": 751}, "InvalidParameterValue"),
        ({"VolumeType": "gp2", "Throughput": 125}, "InvalidParameterCombination"),
        ({"VolumeType": "st1", "VolumeSize": 125}, "InvalidBlockDeviceMapping"),
        ({"Encrypted": True}, "InvalidBlockDeviceMapping"),
        ({"Encrypted": False}, "InvalidBlockDeviceMapping"),
        ({"KmsKeyId": "alias/a"}, "UnsupportedOperation"),
        ({"VolumeInitializationRate": 100}, "UnsupportedOperation"),
    ],
)
def test_a_volume_that_ebs_could_not_make_is_refused(standing, ebs, code):
    """Sizes, speeds and types, as EbsBlockDevice documents them."""
    ec2, snapshot = standing
    wish = {"Name": "a name", "BlockDeviceMappings": [volume(snapshot, **ebs)]}
    assert refused(ec2.register_image, **wish) == code


ROOT = {"DeviceName": "/dev/sda1"}


@pytest.mark.parametrize(
    ("mappings", "code"),
    [
        ([], "MissingParameter"),
        ([{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8}}], "InvalidBlockDeviceMapping"),
        ([{"DeviceName": "/dev/sda1", "Ebs": {}}], "InvalidBlockDeviceMapping"),
        ([{"DeviceName": "/dev/sdb", "Ebs": {"VolumeType": "gp3"}}], "MissingParameter"),
        ([{"DeviceName": "/dev/sdb", "VirtualName": "ephemeral24"}], "InvalidBlockDeviceMapping"),
        ([{"DeviceName": "/dev/sdb", "VirtualName": "swap"}], "InvalidBlockDeviceMapping"),
        ([{"DeviceName": "xvdal", "VirtualName": "ephemeral0"}], "InvalidBlockDeviceMapping"),
        ([{"VirtualName": "ephemeral0"}], "MissingParameter"),
        (
            [{"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0", "NoDevice": ""}],
            "InvalidBlockDeviceMapping",
        ),
        ([{"DeviceName": "/dev/sdb", "NoDevice": ""}] * 2, "InvalidBlockDeviceMapping"),
    ],
)
def test_a_mapping_without_a_sense_is_refused(standing, mappings, code):
    """Each device once, with one thing; and one of them has a snapshot to boot."""
    ec2, _ = standing
    assert refused(ec2.register_image, Name="a name", BlockDeviceMappings=mappings) == code


def test_a_snapshot_is_there_complete_and_ones_own(localcloud):
    """Else it is not found, or not in a state to register."""
    ec2 = localcloud.client("ec2")

    def code(snapshot: str) -> str:
        return refused(ec2.register_image, Name="a name", BlockDeviceMappings=[volume(snapshot)])

    assert code("snap-0123456789abcdef0") == "InvalidSnapshot.NotFound"
    assert code("snap-x") == "InvalidSnapshotID.Malformed"
    assert code(localimages.snapshot(localcloud, sealed=False)) == "IncorrectState"
    assert code(localimages.snapshot(localcloud, account="210987654321")) == "InvalidSnapshot.NotFound"
    assert code(localimages.snapshot(localcloud, region="eu-west-1")) == "InvalidSnapshot.NotFound"


def test_a_bundle_is_registered_with_what_its_manifest_says(localcloud):
    """Its architecture and its kernel, unless other ones are asked for."""
    localimages.bundle(localcloud, localimages.manifest(kernel_id="aki-12345678"))
    ec2 = localcloud.client("ec2")
    found = described(localcloud, ec2.register_image(Name="a bundle", ImageLocation=LOCATION)["ImageId"])
    assert found["Architecture"] == "x86_64"
    assert found["KernelId"] == "aki-12345678"
    assert found["ImageLocation"] == LOCATION
    assert found["RootDeviceType"] == "instance-store"
    assert found["BlockDeviceMappings"] == []
    other = ec2.register_image(
        Name="another", ImageLocation=LOCATION, Architecture="i386", KernelId="aki-87654321"
    )
    found = described(localcloud, other["ImageId"])
    assert (found["Architecture"], found["KernelId"]) == ("i386", "aki-87654321")


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "kernel"},
        {"size": (10 << 30) + 1},
        {"bundled_size": 16},
        {"block_devices": (("ephemeral0", "xvdal"),)},
        {"parts": ()},
    ],
)
def test_a_manifest_that_ec2_could_not_use_is_refused(localcloud, changes):
    """An image for another machine, too large, with devices or parts that there are not."""
    localimages.bundle(localcloud, localimages.manifest(**changes))
    ec2 = localcloud.client("ec2")
    assert refused(ec2.register_image, Name="x y", ImageLocation=LOCATION) == "InvalidManifest"


def said(cloud: LocalCloud, location: str = LOCATION) -> str:
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as caught:
        cloud.client("ec2").register_image(Name="a bundle", ImageLocation=location)
    return str(caught.value)


def test_ec2_tells_what_s3_told_it(localcloud):
    """404 for what is not there, 403 for what it may not read, in EC2's own words."""
    localimages.bundle(localcloud)
    assert "InvalidManifest" in (text := said(localcloud, f"{BUCKET}/b/other.manifest.xml"))
    assert f"HTTP 404 (Not Found) response for URL http://s3.amazonaws.com:80/{BUCKET}/b/other" in text
    assert "HTTP 404" in said(localcloud, f"nobodys-bucket/{KEY}")
    assert "InvalidManifest" in said(localcloud, f"{BUCKET}/b/disk.img.part.0")
    s3 = localcloud.client("s3")
    s3.put_object_acl(Bucket=BUCKET, Key="b/disk.img.part.1", ACL="private")
    assert "AuthFailure" in (text := said(localcloud))
    assert (
        f"HTTP 403 (Forbidden) response for URL http://s3.amazonaws.com:80/{BUCKET}/b/disk.img.part.1"
        in text
    )
    s3.delete_object(Bucket=BUCKET, Key="b/disk.img.part.1")
    assert "disk.img.part.1: check your manifest path" in said(localcloud)


def test_a_bucket_of_another_region_is_refused(localcloud):
    """EC2 follows no redirections."""
    localimages.bundle(localcloud, region="eu-west-1")
    assert "InvalidManifest" in (text := said(localcloud))
    assert "HTTP 301" in text


def test_a_bundle_of_another_account_is_not_registered(localcloud):
    """The manifest says whose it is, whoever may read it."""
    localimages.bundle(localcloud, localimages.manifest(user="210987654321"))
    ec2 = localcloud.client("ec2")
    assert refused(ec2.register_image, Name="x y z", ImageLocation=LOCATION) == "AuthFailure"


def test_an_image_has_one_root(localcloud):
    """In S3 or on a volume, and not both."""
    localimages.bundle(localcloud)
    ec2, mapping = localcloud.client("ec2"), volume(localimages.snapshot(localcloud))
    asked = {"Name": "both", "ImageLocation": LOCATION, "BlockDeviceMappings": [mapping]}
    assert refused(ec2.register_image, **asked) == "InvalidParameterCombination"
    assert refused(ec2.register_image, Name="none") == "MissingParameter"


def test_a_bundle_has_ephemeral_volumes_as_asked(localcloud):
    """As the product registers it."""
    localimages.bundle(localcloud)
    mappings = [
        {"DeviceName": "sda2", "VirtualName": "ephemeral0"},
        {"DeviceName": "sdc", "NoDevice": ""},
    ]
    identity = localcloud.client("ec2").register_image(
        Name="a bundle", ImageLocation=LOCATION, BlockDeviceMappings=mappings
    )["ImageId"]
    assert described(localcloud, identity)["BlockDeviceMappings"] == mappings


def test_an_image_is_pending_for_as_long_as_is_set(localcloud):
    """Then it is available, without anything being done."""
    localcloud.settings(pending=3600)
    ec2 = localcloud.client("ec2")
    localimages.bundle(localcloud)
    identity = ec2.register_image(Name="a bundle", ImageLocation=LOCATION)["ImageId"]
    assert described(localcloud, identity)["State"] == "pending"
    assert refused(ec2.disable_image, ImageId=identity) == "InvalidAMIID.Unavailable"
    localcloud.settings(pending=0)
    assert described(localcloud, identity)["State"] == "available"


def test_uefi_variables_are_kept(localcloud):
    """They are an attribute, and no part of the description."""
    identity = localimages.image(localcloud, Architecture="arm64", BootMode="uefi", UefiData=UEFI_DATA)
    ec2 = localcloud.client("ec2")
    found = ec2.describe_image_attribute(ImageId=identity, Attribute="uefiData")
    assert found["UefiData"] == {"Value": UEFI_DATA}
