"""EC2's snapshots on the local cloud: listed as AWS lists them, deleted only when nobody needs them."""

import time

import pytest
from botocore.exceptions import ClientError

from tests.localcloud import refused
from tests.localsnapshots import files, held, made, put, reason, started

OTHER = "210987654321"
NOWHERE = "snap-0123456789abcdef0"
BOTH = {"Add": [{"UserId": OTHER}], "Remove": [{"UserId": OTHER}]}


@pytest.fixture
def ebs(localcloud):
    return localcloud.client("ebs")


@pytest.fixture
def ec2(localcloud):
    return localcloud.client("ec2")


def ids(ec2, **asked) -> list[str]:
    return [each["SnapshotId"] for each in ec2.describe_snapshots(**asked)["Snapshots"]]


def image(ec2, snapshot: str, name: str):
    return ec2.register_image(
        Name=name, Architecture="x86_64", VirtualizationType="hvm", RootDeviceName="/dev/xvda",
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}],
    )["ImageId"]  # fmt: skip


def test_a_snapshot_is_shown_as_it_is(ebs, ec2):
    """From pending to completed, with all that was said of it."""
    tags = [{"Key": "Name", "Value": "root"}]
    snapshot = started(ebs, VolumeSize=3, Description="of disk.raw", Tags=tags)
    put(ebs, snapshot, 0, "a", Progress=40)
    (shown,) = ec2.describe_snapshots()["Snapshots"]
    assert abs(shown.pop("StartTime").timestamp() - time.time()) < 60
    assert shown == {
        "SnapshotId": snapshot, "OwnerId": "123456789012", "VolumeId": "vol-ffffffff", "VolumeSize": 3,
        "Description": "of disk.raw", "Encrypted": False, "State": "pending", "Progress": "40%",
        "StorageTier": "standard", "Tags": tags,
    }  # fmt: skip
    ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=1)
    (shown,) = ec2.describe_snapshots()["Snapshots"]
    assert (shown["State"], shown["Progress"]) == ("completed", "100%")
    assert shown["CompletionTime"] >= shown["StartTime"]
    ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot])


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("description", "of *", "a"),
        ("status", "pending", "b"),
        ("status", "completed", "a"),
        ("volume-size", "2", "b"),
        ("encrypted", "true", "b"),
        ("encrypted", "false", "a"),
        ("progress", "100%", "a"),
        ("owner-id", "123456789012", "ab"),
        ("owner-id", OTHER, ""),
        ("owner-alias", "amazon", ""),
        ("tag:Name", "ro?t", "a"),
        ("tag-key", "Name", "a"),
        ("volume-id", "vol-ffffffff", "ab"),
        ("storage-tier", "archive", ""),
        ("start-time", "20*", "ab"),
        ("snapshot-id", "snap-*", "ab"),
    ],
)
def test_filters_choose(ebs, ec2, name, value, found):
    """Each that the reference names and that means something here."""
    known = {
        made(ebs, {}, Description="of disk.raw", Tags=[{"Key": "Name", "Value": "root"}]): "a",
        started(ebs, VolumeSize=2, Encrypted=True): "b",
    }
    chosen = ids(ec2, Filters=[{"Name": name, "Values": [value]}])
    assert "".join(sorted(known[each] for each in chosen)) == found


def test_what_it_does_not_know_it_refuses(ec2):
    """A filter, a parameter, an operation."""
    assert (
        refused(ec2.describe_snapshots, Filters=[{"Name": "colour", "Values": ["red"]}])
        == "InvalidParameterValue"
    )
    assert refused(ec2.describe_snapshots, RestorableByUserIds=["self"]) == "UnsupportedOperation"
    assert (
        refused(ec2.copy_snapshot, SourceRegion="us-east-1", SourceSnapshotId=NOWHERE)
        == "UnsupportedOperation"
    )


def test_lists_come_in_pages(ebs, ec2):
    """Every one, once."""
    all_of_them = [started(ebs) for _ in range(12)]
    pages = list(ec2.get_paginator("describe_snapshots").paginate(PaginationConfig={"PageSize": 5}))
    assert [len(each["Snapshots"]) for each in pages] == [5, 5, 2]
    assert [each["SnapshotId"] for page in pages for each in page["Snapshots"]] == all_of_them
    assert refused(ec2.describe_snapshots, MaxResults=4) == "InvalidParameterValue"


def test_ids_that_are_not_there_are_told(ebs, ec2, localcloud):
    """And those that are none."""
    snapshot = started(ebs)
    assert ids(ec2, SnapshotIds=[snapshot]) == [snapshot]
    asked = {"SnapshotIds": [snapshot, NOWHERE]}
    assert refused(ec2.describe_snapshots, **asked) == "InvalidSnapshot.NotFound"
    assert refused(ec2.describe_snapshots, SnapshotIds=["ami-1"]) == "InvalidSnapshotID.Malformed"
    elsewhere = localcloud.client("ec2", region="eu-west-1")
    assert refused(elsewhere.describe_snapshots, SnapshotIds=[snapshot]) == "InvalidSnapshot.NotFound"
    assert ids(elsewhere) == []


def test_lists_lag_behind_when_told_to(ebs, ec2, localcloud):
    """As a new snapshot at AWS is not seen at once; to write to it works."""
    localcloud.settings(lag=60)
    snapshot = started(ebs, {0: "a"})
    assert ids(ec2) == []
    assert refused(ec2.describe_snapshots, SnapshotIds=[snapshot]) == "InvalidSnapshot.NotFound"
    localcloud.settings(lag=0)
    assert ids(ec2) == [snapshot]


def test_deleting_takes_everything_away(ebs, ec2, localcloud):
    """Pending or completed: the row and the file."""
    for make in (started, made):
        snapshot = make(ebs, {0: "a"})
        assert refused(ec2.delete_snapshot, SnapshotId=snapshot, DryRun=True) == "DryRunOperation"
        assert ids(ec2) == [snapshot]
        ec2.delete_snapshot(SnapshotId=snapshot)
        assert ids(ec2) == []
        assert files(localcloud) == set()
        assert refused(ec2.delete_snapshot, SnapshotId=snapshot) == "InvalidSnapshot.NotFound"
    assert refused(ec2.delete_snapshot, SnapshotId="x") == "InvalidSnapshotID.Malformed"
    assert reason(ebs.list_snapshot_blocks, SnapshotId=NOWHERE) == "SNAPSHOT_NOT_FOUND"


def test_a_parent_may_go_and_its_children_keep_their_blocks(ebs, ec2, localcloud):
    """Its file stays for as long as one of them needs it, over a restart."""
    parent = made(ebs, {0: "a", 1: "b"})
    pending = started(ebs, {1: "c"}, ParentSnapshotId=parent)
    child = made(ebs, {0: "d"}, ParentSnapshotId=parent)
    ec2.delete_snapshot(SnapshotId=parent)
    localcloud.restart()
    ebs, ec2 = localcloud.client("ebs"), localcloud.client("ec2")
    ebs.complete_snapshot(SnapshotId=pending, ChangedBlocksCount=1)
    assert held(ebs, pending) == {0: "a", 1: "c"}
    assert held(ebs, child) == {0: "d", 1: "b"}
    ec2.delete_snapshot(SnapshotId=child)
    assert files(localcloud) == {parent, pending}
    ec2.delete_snapshot(SnapshotId=pending)
    assert files(localcloud) == set()


def test_a_snapshot_that_an_image_is_made_of_stays(ebs, ec2):
    """AWS names the image; once that is deregistered, it may go."""
    snapshot = made(ebs, {0: "a"})
    ami = image(ec2, snapshot, "one")
    with pytest.raises(
        ClientError, match=f"The snapshot {snapshot} is currently in use by {ami}"
    ) as caught:
        ec2.delete_snapshot(SnapshotId=snapshot)
    assert caught.value.response["Error"]["Code"] == "InvalidSnapshot.InUse"
    ec2.deregister_image(ImageId=ami)
    ec2.delete_snapshot(SnapshotId=snapshot)


def test_a_snapshot_goes_with_its_last_image(ebs, ec2):
    """DeregisterImage takes it along when it is told to, but not from another image."""
    snapshot = made(ebs, {0: "a"})
    codes = [
        ec2.deregister_image(ImageId=each, DeleteAssociatedSnapshots=True)["DeleteSnapshotResults"]
        for each in (image(ec2, snapshot, "one"), image(ec2, snapshot, "two"))[:2]
    ]
    assert [each[0]["ReturnCode"] for each in codes] == ["skipped", "success"]
    assert ids(ec2) == []


def test_an_image_needs_a_completed_snapshot_that_its_owner_may_use(ebs, ec2, localcloud):
    """Pending, given up, missing, or another's: no image."""
    snapshot = started(ebs)
    assert refused(image, ec2=ec2, snapshot=snapshot, name="one") == "IncorrectState"
    assert refused(image, ec2=ec2, snapshot=NOWHERE, name="one") == "InvalidSnapshot.NotFound"
    ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=0)
    theirs = localcloud.client("ec2", account=OTHER)
    assert refused(image, ec2=theirs, snapshot=snapshot, name="one") == "InvalidSnapshot.NotFound"
    image(ec2, snapshot, "one")


def test_others_see_what_they_may_use(ebs, ec2, localcloud):
    """By name, or because everybody may; in both of the ways in which that can be said."""
    snapshot, theirs = made(ebs, {}), localcloud.client("ec2", account=OTHER)
    asked = {"SnapshotId": snapshot, "Attribute": "createVolumePermission"}
    assert ids(theirs) == ids(theirs, SnapshotIds=[snapshot]) == []
    ec2.modify_snapshot_attribute(**asked, OperationType="add", UserIds=[OTHER])
    assert ids(theirs) == [snapshot]
    assert ids(theirs, OwnerIds=["self"]) == []
    assert ids(theirs, OwnerIds=["123456789012"]) == [snapshot]
    told = ec2.describe_snapshot_attribute(**asked)["CreateVolumePermissions"]
    assert told == [{"UserId": OTHER}]
    ec2.modify_snapshot_attribute(**asked, OperationType="remove", UserIds=[OTHER])
    assert ids(theirs) == []
    ec2.modify_snapshot_attribute(
        SnapshotId=snapshot, CreateVolumePermission={"Add": [{"Group": "all"}]}
    )
    assert ids(theirs, OwnerIds=["123456789012"]) == [snapshot]
    assert refused(theirs.delete_snapshot, SnapshotId=snapshot) == "InvalidSnapshot.NotFound"
    codes = ec2.describe_snapshot_attribute(SnapshotId=snapshot, Attribute="productCodes")
    assert codes["ProductCodes"] == []


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"OperationType": "add", "UserIds": ["me"]}, "InvalidUserID.Malformed"),
        ({"OperationType": "add", "GroupNames": ["friends"]}, "InvalidParameterValue"),
        ({"OperationType": "add", "GroupNames": ["all"]}, "OperationNotPermitted"),
        ({"OperationType": "add", "UserIds": [OTHER]}, "InvalidParameter"),
        ({"Attribute": "productCodes", "OperationType": "add"}, "InvalidParameterValue"),
        ({"CreateVolumePermission": BOTH}, "InvalidParameterCombination"),
        ({}, "MissingParameter"),
        ({"OperationType": "add", "UserIds": ["0" * 12] * 501}, "InvalidParameterValue"),
    ],
)
def test_sharing_refuses(ebs, ec2, asked, code):
    """Also what AWS does not share: what is encrypted with its own key."""
    snapshot = made(ebs, {}, Encrypted=True)
    assert refused(ec2.modify_snapshot_attribute, SnapshotId=snapshot, **asked) == code


def test_tags_are_changed_later(ebs, ec2):
    """By EC2, as those of everything else."""
    snapshot = made(ebs, {}, Tags=[{"Key": "a", "Value": "b"}])
    ec2.create_tags(Resources=[snapshot], Tags=[{"Key": "c", "Value": "d"}])
    (shown,) = ec2.describe_snapshots(Filters=[{"Name": "tag:c", "Values": ["d"]}])["Snapshots"]
    assert {each["Key"]: each["Value"] for each in shown["Tags"]} == {"a": "b", "c": "d"}
