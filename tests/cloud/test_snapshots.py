"""Snapshots as EC2 and EBS tell of them: found, waited for, deleted; when they fail, when they take for ever, when they vanish."""

import pytest

from tasks.cloud import snapshots
from tasks.cloud.clients import connect
from tasks.cloud.crew import Spent
from tasks.cloud.snapshots import Orphaned, Taken, Wish
from tasks.kit.fault import CloudFault
from tasks.plan.delta import Delta
from tasks.spec import names
from tasks.spec.cloud import Ebs
from tests import clouds
from tests.blockdisks import SIZE, Noting
from tests.localsnapshots import made, started

TAGS = [{"Key": names.IMAGE_TAG, "Value": "i"}, {"Key": names.DIGEST_TAG, "Value": "d"}]


@pytest.fixture
def local(localcloud):
    localcloud.announce()
    return localcloud


@pytest.fixture
def cloud(local):
    return connect(clouds.LOCAL, local.home)


def wish(**other):
    known = {"size": 1, "token": "t", "description": "d", "labels": {"a": "b"}, "parent": "", "ebs": Ebs()}  # fmt: skip
    return Wish(**{**known, **other})


def test_only_the_completed_one_with_both_tags_is_found(local, cloud):
    """Not the pending, not another image's, not another content's; over more than a page of others."""
    ebs, ec2 = local.client("ebs"), cloud.ec2()
    assert snapshots.found(ec2, "i", "d") == ""
    started(ebs, Tags=TAGS)
    made(ebs, {0: "a"}, Tags=[TAGS[0], {"Key": names.DIGEST_TAG, "Value": "other"}])
    made(ebs, {0: "a"}, Tags=[TAGS[1], {"Key": names.IMAGE_TAG, "Value": "other"}])
    assert snapshots.found(ec2, "i", "d") == ""
    right = made(ebs, {0: "a"}, Tags=TAGS)
    assert snapshots.found(ec2, "i", "d") == right


def test_the_same_wish_starts_one_snapshot_and_another_wish_with_its_token_none(cloud):
    """Whoever lost the answer asks again."""
    ebs = cloud.ebs()
    first = snapshots.start(ebs, wish())
    assert snapshots.start(ebs, wish()) == first
    with pytest.raises(Taken):
        snapshots.start(ebs, wish(size=2))


def test_a_parent_that_is_no_more_is_told_apart(cloud):
    """From every other refusal: the upload goes on without it."""
    with pytest.raises(Orphaned):
        snapshots.start(cloud.ebs(), wish(parent="snap-00000000000000000"))


def test_a_child_is_not_told_how_to_be_encrypted(local, cloud):
    """EBS refuses that; it is as its parent is."""
    parent = made(local.client("ebs"), {0: "a"}, Encrypted=True)
    child = snapshots.start(cloud.ebs(), wish(parent=parent, ebs=Ebs(encrypted=True)))
    shown = snapshots.by_id(cloud.ec2(), child)
    assert shown
    assert shown["Encrypted"]


def test_it_is_completed_with_count_and_checksum(local, cloud):
    """A block that is missing, or another in its place, and EBS says no."""
    nothing = Delta("", SIZE, ())
    snapshot = started(local.client("ebs"), {0: "a"})
    with pytest.raises(CloudFault, match="could not complete the snapshot"):
        snapshots.complete(cloud.ebs(), snapshot, nothing)
    snapshots.delete(cloud.ec2(), snapshot)
    with pytest.raises(Spent):
        snapshots.complete(cloud.ebs(), snapshot, nothing)


def waited(cloud, snapshot, **more):
    pauses: list[float] = []
    try:
        snapshots.completed(cloud.ec2(), snapshot, Noting(), pause=pauses.append, **more)
    except CloudFault as fault:
        return fault, pauses
    return None, pauses


def test_it_is_waited_for(local, cloud):
    """Until EC2 says that it is completed, which takes a while after the last block."""
    local.settings(pending=2.0)
    snapshot = made(local.client("ebs"), {0: "a"})
    shown = snapshots.completed(cloud.ec2(), snapshot, report := Noting())
    assert shown["State"] == "completed"
    assert any("EBS stores them" in text for text in report.texts)


def test_one_that_never_completes_is_given_up_after_half_an_hour(local, cloud):
    """The next run goes on waiting. It is not asked for every moment."""
    local.settings(pending=10_000)
    fault, pauses = waited(cloud, made(local.client("ebs"), {0: "a"}))
    assert "not completed after 30 minutes" in fault.problem
    assert "goes on waiting" in fault.hint
    assert sum(pauses) >= 1800
    assert len(pauses) < 150


def test_one_that_fails_is_told_with_its_reason(local, cloud):
    """It was left alone for its whole timeout: what would take a day is written into the cloud's own books."""
    snapshot = started(local.client("ebs"))
    with local.server.store.change() as db:
        db.execute("UPDATE things SET body = json_set(body, '$.Touched', 0) WHERE id = ?", (snapshot,))
    fault, _ = waited(cloud, snapshot)
    assert f"{snapshot} came to error: No block was written" in fault.problem


def test_one_that_vanishes_is_told_after_a_minute(local, cloud):
    """Lists lag, so it is not gone at once; to delete it again is no fault."""
    snapshot = made(local.client("ebs"), {0: "a"})
    snapshots.delete(cloud.ec2(), snapshot)
    snapshots.delete(cloud.ec2(), snapshot)
    fault, pauses = waited(cloud, snapshot)
    assert "is gone" in fault.problem
    assert 60 <= sum(pauses) < 90


def test_one_that_an_image_is_made_of_is_not_deleted(local, cloud):
    """EC2's own word for it comes through."""
    snapshot = made(local.client("ebs"), {0: "a"})
    mapping = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}]
    cloud.ec2().register_image(
        Name="one", Architecture="x86_64", RootDeviceName="/dev/xvda", BlockDeviceMappings=mapping, VirtualizationType="hvm"
    )  # fmt: skip
    with pytest.raises(CloudFault, match=f"could not delete {snapshot}"):
        snapshots.delete(cloud.ec2(), snapshot)
