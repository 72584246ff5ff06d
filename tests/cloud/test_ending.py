"""EC2 that ends things: all pages, EC2's lag, and its exact words; on stubs, since no server at hand says them."""

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from tasks.cloud import ending
from tasks.kit.fault import CloudFault

AT = datetime(2026, 11, 23, tzinfo=UTC)
OURS = [{"Key": "doit-ami:image", "Value": "debian-12"}]


@pytest.fixture
def client(credentials):
    del credentials
    return boto3.client("ec2", region_name="us-east-1")


@pytest.fixture
def stub(client):
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.mark.parametrize("code", ["InvalidAMIID.Unavailable", "InvalidAMIID.NotFound"])
def test_an_image_that_is_gone_already_is_no_fault(client, stub, code):
    """A list may show it for a while after it was deregistered."""
    stub.add_client_error("deregister_image", code)
    ending.deregister(client, "ami-1")


def test_a_refusal_to_deregister_is_a_fault(client, stub):
    stub.add_client_error("deregister_image", "OperationNotPermitted", "deregistration protection is on")
    with pytest.raises(CloudFault, match="could not deregister ami-1: deregistration protection is on"):
        ending.deregister(client, "ami-1")


def test_a_snapshot_is_in_use_for_a_while_after_its_image_is_gone(client, stub):
    """Two refusals, then it goes; what is gone already is no fault."""
    waited: list[float] = []
    for _ in range(2):
        stub.add_client_error("delete_snapshot", "InvalidSnapshot.InUse", "in use by ami-1")
    stub.add_response("delete_snapshot", {})
    ending.delete_snapshot(client, "snap-1", pause=waited.append)
    assert waited == [ending.PAUSE] * 2
    stub.add_client_error("delete_snapshot", "InvalidSnapshot.NotFound")
    ending.delete_snapshot(client, "snap-1", pause=waited.append)


def test_that_does_not_go_on_for_ever(client, stub):
    waited: list[float] = []
    for _ in range(int(ending.RELEASE / ending.PAUSE) + 1):
        stub.add_client_error("delete_snapshot", "InvalidSnapshot.InUse", "in use by ami-1")
    with pytest.raises(CloudFault, match="could not delete snap-1: in use by ami-1"):
        ending.delete_snapshot(client, "snap-1", pause=waited.append)
    assert sum(waited) == ending.RELEASE


def test_an_image_is_made_of_its_manifest_or_its_snapshots():
    """Of an EBS-backed one EC2 puts account and name where the manifest would be."""
    volumes = [
        {"Ebs": {"SnapshotId": "snap-1"}},
        {"VirtualName": "ephemeral0"},
        {"Ebs": {"VolumeSize": 1}},
    ]
    ebs: Any = {"RootDeviceType": "ebs", "ImageLocation": "1/n", "BlockDeviceMappings": volumes}
    s3: Any = {
        "RootDeviceType": "instance-store",
        "ImageLocation": "b/k",
        "BlockDeviceMappings": volumes[1:],
    }
    assert ending.made_of(ebs) == ("snap-1",)
    assert ending.made_of(s3) == ("b/k",)


@pytest.mark.parametrize(
    ("said", "is_so"),
    [("enabled-with-cooldown", True), ("enabled-without-cooldown", True), ("disabled", False)],
)
def test_deregistration_protection_is_seen_beforehand(said, is_so):
    assert ending.held_image({"ImageId": "ami-1", "DeregistrationProtection": said}).protected is is_so


def test_images_are_asked_after_by_id_when_they_are_not_the_accounts(client, stub):
    """And one that lists still show although it was deregistered is not there."""
    own = [
        {"ImageId": "ami-1", "OwnerId": "1", "Tags": OURS},
        {"ImageId": "ami-2", "State": "deregistered", "Tags": OURS},
    ]
    stub.add_response("describe_images", {"Images": own})
    stub.add_response("describe_images", {"Images": [{"ImageId": "ami-9", "OwnerId": "9"}]})
    stub.add_client_error("describe_images", "InvalidAMIID.NotFound")
    stub.add_response("describe_instances", {"Reservations": []})
    held = ending.held_images(client, ["ami-9", "ami-8"], "debian-12")
    assert [(each.id, each.owner, each.of) for each in held] == [
        ("ami-1", "1", "debian-12"),
        ("ami-9", "9", ""),
    ]


def test_who_uses_images_is_asked_in_batches_and_with_all_pages(client, stub):
    """Of more images than one filter takes."""
    ids = [f"ami-{number}" for number in range(ending.VALUES + 1)]

    def reply(*of: str, more: str = "") -> dict[str, object]:
        made = [
            {"InstanceId": f"i-{image}", "ImageId": image, "State": {"Name": "stopped"}} for image in of
        ]
        return {"Reservations": [{"Instances": made}], **({"NextToken": more} if more else {})}

    stub.add_response("describe_instances", reply("ami-0", more="t"))
    stub.add_response("describe_instances", reply("ami-1"))
    stub.add_response("describe_instances", reply(ids[-1]))
    using = ending.users(client, ids)
    assert using == {id_: [f"i-{id_} (stopped)"] for id_ in ("ami-0", "ami-1", ids[-1])}


def test_snapshots_are_found_by_tag_and_by_id_once(client, stub):
    one = {"SnapshotId": "snap-1", "State": "pending", "VolumeSize": 8, "StartTime": AT, "Tags": OURS}
    two = {**one, "SnapshotId": "snap-2", "State": "completed", "Tags": []}
    stub.add_response("describe_snapshots", {"Snapshots": [], "NextToken": "t"})
    stub.add_response("describe_snapshots", {"Snapshots": [one]})
    stub.add_response("describe_snapshots", {"Snapshots": [two, one]})
    held = ending.held_snapshots(client, "debian-12", ["snap-1", "snap-2"])
    assert [(each.id, each.of, each.state) for each in held] == [
        ("snap-1", "debian-12", "pending"),
        ("snap-2", "", "completed"),
    ]


def test_a_key_pair_that_is_gone_is_no_fault(client, stub):
    stub.add_client_error("delete_key_pair", "InvalidKeyPair.NotFound")
    ending.delete_key_pair(client, "k")


def test_what_may_not_be_done_is_told_with_its_permission(client, stub):
    stub.add_client_error("describe_instance_attribute", "UnauthorizedOperation", "no", 403)
    with pytest.raises(CloudFault, match="do not permit ec2:DescribeInstanceAttribute"):
        ending.is_protected(client, "i-1")
