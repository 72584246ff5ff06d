"""The product's own client code at work on the local cloud's EC2."""

from typing import TYPE_CHECKING

import pytest

from tasks.cloud import described, ec2, groups, keypairs
from tasks.cloud.fits import type_faults
from tasks.kit.fault import CloudFault
from tasks.spec.cloud import Rule
from tests import localimages
from tests.localimages import BUCKET, LOCATION

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import RegisterImageRequestTypeDef

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGOuQh7OcD1JSoWlCM2Idlde6QLTvZFGmCFcp02Bs46N me@home"


def test_an_image_is_registered_found_and_waited_for(localcloud):
    """As the stage `ami` does it; a second registration says that the name is taken."""
    localimages.bundle(localcloud)
    client = localcloud.client("ec2")
    wish: RegisterImageRequestTypeDef = {
        "Name": "debian-12 2026-11-23",
        "ImageLocation": LOCATION,
        "Architecture": "x86_64",
        "VirtualizationType": "paravirtual",
        "KernelId": "aki-919dcaf8",
        "RootDeviceName": "/dev/sda1",
        "BlockDeviceMappings": [{"DeviceName": "sda2", "VirtualName": "ephemeral0"}],
        "ImdsSupport": "v2.0",
        "TagSpecifications": [
            {"ResourceType": "image", "Tags": [{"Key": "doit-ami:digest", "Value": "d"}]}
        ],
    }
    identity = ec2.register(client, wish)
    assert identity
    assert ec2.register(client, wish) is None
    localcloud.settings(lag=3600)
    assert ec2.by_id(client, identity) is None
    localcloud.settings(lag=0)
    found = ec2.available(client, identity)
    assert described.differences(found, wish) == []
    assert [image["ImageId"] for image in ec2.with_name(client, wish["Name"])] == [identity]
    client.deregister_image(ImageId=identity)
    assert ec2.by_id(client, identity) is None


def test_a_bundle_that_ec2_may_not_read_is_told_as_that(localcloud):
    """The client knows EC2's words for it."""
    localimages.bundle(localcloud, acl="private")
    wish: RegisterImageRequestTypeDef = {"Name": "x y z", "ImageLocation": LOCATION}
    with pytest.raises(CloudFault, match="may not read the bundle") as caught:
        ec2.register(localcloud.client("ec2"), wish)
    assert f"s3.amazonaws.com:80/{BUCKET}" in caught.value.evidence[0]


def test_a_port_is_opened_once(localcloud):
    """And is found open afterwards."""
    client = localcloud.client("ec2")
    rule = Rule.model_validate({"group": "default", "ports": 22, "cidr": "192.0.2.0/24"})
    assert list(groups.opened(client, [rule])) == [(rule, True)]
    assert list(groups.opened(client, [rule])) == [(rule, False)]
    assert groups.opens(groups.found(client, ["default"])["default"], 22)
    for name in ("web", "sg-web", "sg-0123456789abcdef0"):
        with pytest.raises(CloudFault, match="there is no security group"):
            groups.found(client, [name])


def test_a_key_is_imported_once(localcloud):
    """Its fingerprint is the one that the client reckons."""
    client = localcloud.client("ec2")
    name = keypairs.imported(client, "debian-12", ED25519)
    assert keypairs.imported(client, "debian-12", ED25519) == name
    assert keypairs.checked(client, "debian-12", ED25519) == (name, True)


def test_a_type_is_judged_by_what_the_cloud_says_of_it(localcloud):
    """Nitro boots nothing from S3."""
    localimages.bundle(localcloud)
    client = localcloud.client("ec2")
    identity = client.register_image(Name="x y z", ImageLocation=LOCATION)["ImageId"]
    image = ec2.available(client, identity)
    small, nitro = client.describe_instance_types(InstanceTypes=["m1.small", "t3.micro"])[
        "InstanceTypes"
    ]
    assert list(type_faults(image, small, "m1.small")) == []
    assert any("instance-store" in fault.problem for fault in type_faults(image, nitro, "t3.micro"))
