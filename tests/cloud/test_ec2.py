"""Images in EC2: listed with all pages, waited for with a limit, compared with what was asked."""

from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from botocore.stub import Stubber

from tasks.cloud import described, ec2, s3
from tasks.kit import files
from tasks.kit.fault import CloudFault
from tasks.spec.cloud import LOCAL_ACCOUNT
from tests import clouds

WISH: Any = {
    "Name": "debian-12-20261123-abc",
    "ImageLocation": f"doit-ami-test/b/{clouds.MANIFEST}",
    "Architecture": "x86_64",
    "VirtualizationType": "hvm",
    "RootDeviceName": "/dev/sda1",
    "EnaSupport": True,
    "ImdsSupport": "v2.0",
    "Description": "one",
    "BlockDeviceMappings": [{"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}],
    "TagSpecifications": [{"ResourceType": "image", "Tags": [{"Key": "doit-ami:digest", "Value": "d"}]}],
}


@pytest.fixture
def client(fresh, cloud, tmp_path):
    """EC2, with a bundle to register."""
    assert fresh
    bucket = s3.Bucket(cloud.s3(), "doit-ami-test", LOCAL_ACCOUNT, "us-east-1")
    s3.make(bucket)
    manifest, _ = clouds.bundle(tmp_path / "b")
    for each in manifest.parent.iterdir():
        s3.put(bucket, f"b/{each.name}", each.read_bytes(), files.sha256(each))
    return cloud.ec2()


def registered(client: Any, wish: Any) -> Any:
    """What EC2 says of an image right after it was registered."""
    image = ec2.register(client, wish)
    assert image is not None
    return ec2.by_id(client, image)


@pytest.fixture
def stub(client):
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def test_what_was_registered_is_described_as_it_was_asked(client):
    """Every attribute, and the tags from the first moment."""
    image = registered(client, WISH)
    assert described.differences(image, WISH) == []
    assert image["RootDeviceType"] == "instance-store"
    assert image["State"] == "available"
    assert image["OwnerId"] == LOCAL_ACCOUNT
    assert "BootMode" not in image
    assert [found["ImageId"] for found in ec2.with_digest(client, "d")] == [image["ImageId"]]
    assert [found["ImageId"] for found in ec2.with_name(client, WISH["Name"])] == [image["ImageId"]]
    assert ec2.with_digest(client, "e") == ec2.with_name(client, "other") == []


def test_a_paravirtual_image_keeps_its_kernel(client):
    wish: Any = {
        **WISH,
        "VirtualizationType": "paravirtual",
        "KernelId": "aki-919dcaf8",
        "RamdiskId": "ari-12345678",
        "EnaSupport": False,
    }
    image = registered(client, wish)
    assert described.differences(image, wish) == []


def test_a_name_is_taken_once(client):
    """A second registration of one name is no second image."""
    assert ec2.register(client, WISH) is not None
    assert ec2.register(client, WISH) is None
    assert len(ec2.with_name(client, WISH["Name"])) == 1


def test_lists_have_all_their_pages(client, stub):
    """AWS gives as many as it likes."""
    stub.add_response("describe_images", {"Images": [{"ImageId": "ami-1"}], "NextToken": "more"})
    stub.add_response("describe_images", {"Images": [{"ImageId": "ami-2"}]})
    assert [image["ImageId"] for image in ec2.ours(client)] == ["ami-1", "ami-2"]


def test_disabled_images_are_listed_too(client, stub):
    """Their names are taken all the same."""
    wanted = {"Owners": ["self"], "Filters": [], "IncludeDisabled": True, "MaxResults": ec2.PAGE}
    stub.add_response("describe_images", {"Images": []}, wanted)
    assert ec2.images(client) == []


def test_an_image_is_waited_for(client, stub):
    """Lists lag behind the deed, then it is pending, then available."""
    stub.add_client_error("describe_images", "InvalidAMIID.NotFound")
    stub.add_response("describe_images", {"Images": []})
    stub.add_response("describe_images", {"Images": [{"ImageId": "ami-1", "State": "pending"}]})
    stub.add_response("describe_images", {"Images": [{"ImageId": "ami-1", "State": "available"}]})
    pauses: list[float] = []
    assert ec2.available(client, "ami-1", pause=pauses.append)["State"] == "available"
    assert pauses == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            {"State": "failed", "StateReason": {"Code": "x", "Message": "Client.InvalidManifest"}},
            "failed: Client.InvalidManifest",
        ),
        ({"State": "invalid"}, "invalid: AWS gives no reason"),
        ({"State": "disabled"}, "is disabled.*enable-image"),
        ({"State": "pending"}, "is pending after 3 s.*run doit again"),
    ],
)
def test_an_image_that_will_not_come_is_a_fault(client, stub, image, message):
    for _ in range(4 if image["State"] == "pending" else 1):  # pauses of 0.5, 1 and 2 s between them
        stub.add_response("describe_images", {"Images": [{"ImageId": "ami-1", **image}]})
    with pytest.raises(CloudFault, match=f"(?s)ami-1 {message}"):
        ec2.available(client, "ami-1", limit=3, pause=lambda _: None)


@pytest.mark.parametrize("error", [ConnectionClosedError, ReadTimeoutError])
def test_an_answer_that_was_lost_is_no_failure_yet(client, monkeypatch, error):
    """The image may be there: whoever asked must look."""

    def lost(**_):
        raise error(endpoint_url="https://ec2")

    monkeypatch.setattr(client, "register_image", lost)
    assert ec2.register(client, WISH) is None


def test_ec2_that_may_not_read_the_bundle_is_told_from_a_wrong_key(client, stub):
    """AWS says AuthFailure to both."""
    said = "HTTP 403 (Forbidden) response for URL http://s3.amazonaws.com:80/b/x: check your S3 ACLs are correct."
    stub.add_client_error("register_image", "AuthFailure", said)
    with pytest.raises(CloudFault, match=r"(?s)EC2 may not read the bundle.*ACL aws-exec-read"):
        ec2.register(client, WISH)


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("Architecture", "i386", "Architecture: asked for x86_64, is i386"),
        ("ImdsSupport", None, "ImdsSupport: asked for v2.0, is None"),
        ("KernelId", "aki-1", "KernelId: asked for None, is aki-1"),
        ("BlockDeviceMappings", [], "block device /dev/sdb: asked for ephemeral0, is None"),
        ("Tags", [], "tag doit-ami:digest: asked for d, is None"),
        ("RootDeviceType", "ebs", "RootDeviceType: asked for instance-store, is ebs"),
    ],
)
def test_every_difference_is_named(key, value, line):
    found: Any = {
        **WISH,
        "RootDeviceType": "instance-store",
        "Tags": [{"Key": "doit-ami:digest", "Value": "d"}],
        key: value,
    }
    assert described.differences(found, WISH) == [line]
