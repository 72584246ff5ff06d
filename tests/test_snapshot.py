"""The stage `upload` of an EBS-backed image: whole, once, only what changed, and never the wrong one."""

import dataclasses
import json
import os
import random

import pytest

from tasks import snapshot as stage
from tasks.cloud import sending, snapshots
from tasks.cloud.clients import connect
from tasks.cloud.journal import Head, Journal
from tasks.cloud.puts import road
from tasks.kit.fault import CloudFault, ConfigFault, ImageFault
from tasks.plan import delta as plan
from tasks.plan.delta import Ledger
from tasks.spec import names
from tasks.spec.cloud import LOCAL_ACCOUNT, Ebs
from tests import clouds, roles
from tests.blockdisks import IMAGE, SIZE, Disk, Noting, block, held
from tests.clouds import Reply, elsewhere, relaying
from tests.localcloud import LocalCloud
from tests.localsnapshots import made, started

KEY = "arn:aws:kms:{}:123456789012:key/11111111-2222-3333-4444-555555555555"


@pytest.fixture
def cloud(localcloud):
    localcloud.announce()
    return localcloud


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "disk", {0: 1, 7: 2, 8: 0, 2047: 3})


def shown(cloud: LocalCloud) -> dict[str, str]:
    """The state of every snapshot, by id."""
    found = cloud.client("ec2").describe_snapshots(OwnerIds=["self"])["Snapshots"]
    return {each["SnapshotId"]: each["State"] for each in found}


def puts(cloud: LocalCloud, snapshot: str) -> int:
    """How many blocks came: each is put at the end of the snapshot's file, the same one again too."""
    return (cloud.home / "snapshots" / snapshot).stat().st_size // SIZE


def whole(disk: Disk, cloud: LocalCloud, snapshot: str) -> bool:
    """Whether every block that somebody reads is in the snapshot as in the image."""
    found = held(cloud.client("ebs"), snapshot)
    return {index: found.get(index) for index, _ in disk.blocks.blocks} == dict(disk.blocks.blocks)


def job_of(disk: Disk, cloud: LocalCloud) -> sending.Job:
    client = connect(clouds.LOCAL, cloud.home)
    return sending.Job(
        IMAGE, clouds.LOCAL, Noting(), client, client.ec2(), client.ebs(), disk.blocks,
        disk.path("one.img"), disk.path("ledger"), disk.path("journal"),
    )  # fmt: skip


def head_of(disk: Disk, cloud: LocalCloud, **other) -> Head:
    """What the stage would write into a journal for this disk, and what differs from that."""
    job = job_of(disk, cloud)
    return job.head(job.delta(None)).model_copy(update=other)


def tagged(disk: Disk, cloud: LocalCloud, image: str = IMAGE) -> list[dict[str, str]]:
    return [
        {"Key": names.IMAGE_TAG, "Value": image},
        {"Key": names.DIGEST_TAG, "Value": head_of(disk, cloud).digest},
    ]


def change(cloud: LocalCloud, snapshot: str, field: str, value: object) -> None:
    """What the cloud knows of a snapshot, otherwise: what would take it a day."""
    with cloud.server.store.change() as db:
        db.execute(
            f"UPDATE things SET body = json_set(body, '$.{field}', json(?)) WHERE id = ?",  # noqa: S608 - our own field's name
            (json.dumps(value), snapshot),
        )


def test_an_image_is_in_the_snapshot_block_by_block(disk, cloud):
    """Every block of the list, no other; tags that find it again; progress in bytes; no journal left."""
    report = Noting()
    snapshot = disk.send(cloud.home, report=report)
    assert held(cloud.client("ebs"), snapshot) == dict(disk.blocks.blocks)
    (found,) = cloud.client("ec2").describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert (found["SnapshotId"], found["State"], found["VolumeSize"]) == (snapshot, "completed", 1)
    tags = {tag["Key"]: tag["Value"] for tag in found["Tags"]}
    assert tags[names.IMAGE_TAG] == IMAGE
    assert tags[names.SHA256_TAG] == disk.blocks.sha256
    assert tags[names.NAME_TAG].startswith(IMAGE)
    assert report.steps[-1] == (4 * SIZE, 4 * SIZE)
    assert not disk.path("journal").exists()


def test_what_is_there_is_not_sent_again(disk, cloud):
    """Not in a second run, and not when everything that was kept here is lost; the receipt stays the same."""
    snapshot = disk.send(cloud.home)
    receipt = disk.path("receipt").read_bytes()
    assert disk.send(cloud.home) == snapshot
    assert disk.path("receipt").read_bytes() == receipt
    for name in ("receipt", "ledger"):
        disk.path(name).unlink()
    assert disk.send(cloud.home) == snapshot
    assert (list(shown(cloud)), puts(cloud, snapshot)) == ([snapshot], 4)
    assert Ledger.read(disk.path("ledger")).snapshot == snapshot


def test_an_encrypted_one_and_a_plain_one_are_not_the_same(disk, cloud):
    """Though every block is: each wish has a snapshot of its own, and the plain one is no parent of the other."""
    report = Noting()
    plain, encrypted = disk.send(cloud.home), disk.send(cloud.home, encrypted=True, report=report)
    assert plain != encrypted
    found = {each["SnapshotId"]: each["Encrypted"] for each in cloud.client("ec2").describe_snapshots()["Snapshots"]}  # fmt: skip
    assert found == {plain: False, encrypted: True}
    assert "not encrypted as it is wanted now" in report.notes[0]
    assert puts(cloud, encrypted) == 4
    disk.write({**disk.content, 7: 9})
    child = disk.send(cloud.home, encrypted=True)
    assert puts(cloud, child) == 1
    (found,) = cloud.client("ec2").describe_snapshots(SnapshotIds=[child])["Snapshots"]
    assert found["Encrypted"]


def test_several_with_the_same_content_are_a_fault(disk, cloud):
    """Nobody says which one counts: both are named."""
    ids = [made(cloud.client("ebs"), {0: "a"}, Tags=tagged(disk, cloud)) for _ in range(2)]
    with pytest.raises(CloudFault, match="2 snapshots of debian-12 have the same content") as caught:
        disk.send(cloud.home)
    assert set(caught.value.evidence) == set(ids)


def test_a_child_is_sent_what_differs_and_zeros_for_what_nobody_reads_any_more(disk, cloud):
    """One block changed, one came, one went: three puts, and the old data is nowhere in the child."""
    parent = disk.send(cloud.home)
    disk.write({0: 1, 7: 5, 8: 0, 100: 6})
    child = disk.send(cloud.home)
    assert puts(cloud, child) == 3
    found = held(cloud.client("ebs"), child)
    old = dict(Ledger.read(disk.path("ledger")).blocks)
    assert whole(disk, cloud, child)
    assert found == old
    assert found[2047] == found[8]
    assert shown(cloud) == {parent: "completed", child: "completed"}


def test_ten_edits_as_children_are_each_the_image(disk, cloud):
    """Random blocks written, freed, zeroed and used again, the volume grown once: what is read back is the image of that day."""
    luck = random.Random(5)
    disk.send(cloud.home)
    for day in range(10):
        content = dict(disk.content)
        for index in luck.sample(range(40), 6):
            if luck.random() < 0.3:
                content.pop(index, None)
            else:
                content[index] = luck.choice([0, luck.randrange(1, 1000)])
        disk.write(content, gib=2 if day > 4 else 1)
        snapshot = disk.send(cloud.home)
        assert whole(disk, cloud, snapshot)
        found = held(cloud.client("ebs"), snapshot)
        assert found == dict(Ledger.read(disk.path("ledger")).blocks)
        assert {found[index] for index in set(found) - set(content)} <= {plan.zeros(SIZE)}
    assert set(shown(cloud).values()) == {"completed"}


def gone(disk, cloud, parent):
    cloud.client("ec2").delete_snapshot(SnapshotId=parent)


def of_another_image(disk, cloud, parent):
    cloud.client("ec2").create_tags(Resources=[parent], Tags=[{"Key": names.IMAGE_TAG, "Value": "x"}])


def of_another_account(disk, cloud, parent):
    """Shared with us, so that it is seen."""
    theirs = cloud.client("ec2", account="999999999999")
    foreign = made(cloud.client("ebs", account="999999999999"), {0: "a"})
    theirs.modify_snapshot_attribute(
        SnapshotId=foreign, Attribute="createVolumePermission", OperationType="add", UserIds=[LOCAL_ACCOUNT]
    )  # fmt: skip
    ledger = Ledger.read(disk.path("ledger"))
    ledger.model_copy(update={"snapshot": foreign}).write(disk.path("ledger"))


def not_completed(disk, cloud, parent):
    ledger = Ledger.read(disk.path("ledger"))
    pending = started(cloud.client("ebs"), Tags=[{"Key": names.IMAGE_TAG, "Value": IMAGE}])
    ledger.model_copy(update={"snapshot": pending}).write(disk.path("ledger"))


def damaged(disk, cloud, parent):
    disk.path("ledger").write_text(disk.path("ledger").read_text().replace('"version": 1', '"version": 2'))  # fmt: skip


def of_another_cloud(disk, cloud, parent):
    ledger = Ledger.read(disk.path("ledger"))
    ledger.model_copy(update={"cloud_id": "x"}).write(disk.path("ledger"))


def all_changed(disk, cloud, parent):
    disk.write({index: seed + 50 for index, seed in disk.content.items()})


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (gone, "it is gone"),
        (of_another_image, "it is of another image"),
        (of_another_account, "it belongs to account 999999999999"),
        (not_completed, "it is in state pending"),
        (damaged, "was changed after it was written"),
        (of_another_cloud, "it is in account 123456789012, us-east-1"),
        (all_changed, "nothing in it is as in this image"),
    ],
)
def test_what_can_be_no_parent_is_said_and_all_is_sent(disk, cloud, harm, said):
    """The image comes to be there whole all the same."""
    parent = disk.send(cloud.home)
    disk.write({**disk.content, 7: 9})
    harm(disk, cloud, parent)
    report = Noting()
    snapshot = disk.send(cloud.home, report=report)
    assert said in report.notes[0]
    assert "every block is sent" in report.notes[0]
    assert puts(cloud, snapshot) == 4
    assert held(cloud.client("ebs"), snapshot) == dict(disk.blocks.blocks)


def test_a_smaller_volume_is_no_child_of_a_larger(tmp_path, cloud):
    """EBS would refuse it."""
    disk = Disk(tmp_path / "disk", {0: 1, 5: 2, 6: 3}, gib=2)
    disk.send(cloud.home)
    disk.write({0: 1, 5: 2, 6: 4}, gib=1)
    report = Noting()
    assert puts(cloud, disk.send(cloud.home, report=report)) == 3
    assert "a volume does not shrink" in report.notes[0]


def test_a_parent_that_goes_at_the_last_moment_is_done_without(disk, cloud, monkeypatch):
    """It was there when it was looked at; EBS refuses it; all is sent."""
    parent = disk.send(cloud.home)
    disk.write({**disk.content, 7: 9})
    gone(disk, cloud, parent)
    monkeypatch.setattr(sending, "unfit", lambda job, held: "")
    report = Noting()
    snapshot = disk.send(cloud.home, report=report)
    assert "taken for no parent" in report.notes[0]
    assert (list(shown(cloud)), puts(cloud, snapshot)) == ([snapshot], 4)


# What a killed run left


def begun(disk: Disk, cloud: LocalCloud, done: int = 2, **other) -> str:
    """A run that was killed after some blocks; its snapshot."""
    job, head = job_of(disk, cloud), head_of(disk, cloud, **other)
    wish = sending.wished(job, plan.whole(disk.blocks), Journal(disk.path("journal"), head))
    labels = {**wish.labels, names.IMAGE_TAG: head.image}
    snapshot = snapshots.start(job.ebs, dataclasses.replace(wish, labels=labels))
    journal = Journal.begun(disk.path("journal"), head).opened()
    journal.started(snapshot)
    line = road(job.cloud, 1).line()
    for write in plan.whole(disk.blocks).writes[:done]:
        line.put(snapshot, write, memoryview(block(disk.content[write.index])))
        journal.acknowledge(write.index, write.sha256)
    line.close()
    journal.close()
    return snapshot


def test_a_killed_upload_goes_on_where_it_was(disk, cloud):
    """In the same snapshot, with the blocks that were not acknowledged; the bar begins where it stopped."""
    snapshot = begun(disk, cloud, done=3)
    report = Noting()
    assert disk.send(cloud.home, report=report) == snapshot
    assert (list(shown(cloud)), puts(cloud, snapshot)) == ([snapshot], 4)
    assert report.steps[0] == (3 * SIZE, 4 * SIZE)


def test_killed_after_the_last_block_it_only_completes(disk, cloud):
    """And killed after that, it only waits."""
    snapshot = begun(disk, cloud, done=4)
    journal = Journal.read(disk.path("journal"))
    assert journal
    journal.opened().complete()
    journal.close()
    kept = disk.path("journal").read_bytes()
    assert disk.send(cloud.home) == snapshot
    disk.path("journal").write_bytes(kept)
    disk.path("receipt").unlink()
    assert disk.send(cloud.home) == snapshot
    assert (list(shown(cloud)), puts(cloud, snapshot)) == ([snapshot], 4)
    assert not disk.path("journal").exists()


def test_killed_before_it_knew_the_snapshot_it_gets_the_same_one(disk, cloud):
    """The head is on the disk before EBS is asked, and the token follows from it: no orphan. So it does from a lost journal."""
    snapshot = begun(disk, cloud)
    Journal.begun(disk.path("journal"), head_of(disk, cloud))
    cloud.faults({"operation": "ebs:StartSnapshot", "kind": "drop-after"})
    assert disk.send(cloud.home) == snapshot
    assert list(shown(cloud)) == [snapshot]


@pytest.mark.parametrize("lost", [False, True])
def test_an_answer_to_start_that_nobody_heard_leaves_no_orphan(disk, cloud, lost):
    """The run fails with the snapshot started; the next one, with its journal or without, goes on with that."""
    cloud.faults({"operation": "ebs:PutSnapshotBlock", "kind": "deny"})
    with pytest.raises(CloudFault):
        disk.send(cloud.home)
    (snapshot,) = shown(cloud)
    if lost:
        disk.path("journal").unlink()
    cloud.faults()
    assert disk.send(cloud.home) == snapshot
    assert shown(cloud) == {snapshot: "completed"}


@pytest.mark.parametrize("known", [True, False], ids=["its snapshot is known", "its snapshot is not"])
def test_a_journal_of_another_content_is_given_up_with_its_snapshot(disk, cloud, known):
    """The image was built anew since: what was pending for the old one is deleted."""
    old = begun(disk, cloud)
    if not known:
        Journal.begun(disk.path("journal"), head_of(disk, cloud))
    disk.write({**disk.content, 7: 9})
    report = Noting()
    snapshot = disk.send(cloud.home, report=report)
    assert "another image, another content" in report.notes[0]
    assert snapshot != old
    assert shown(cloud) == {snapshot: "completed"}


def test_a_journal_of_another_image_is_given_up_with_its_snapshot(disk, cloud):
    """Whoever put it there: its snapshot is of ours, pending, and of no use."""
    old = begun(disk, cloud, image="other")
    snapshot = disk.send(cloud.home)
    assert snapshot != old
    assert shown(cloud) == {snapshot: "completed"}


def test_a_journal_of_another_account_is_given_up_and_its_snapshot_left(disk, cloud):
    """Nobody here may delete that; it is said where it is."""
    Journal.begun(disk.path("journal"), head_of(disk, cloud, account="999999999999")).opened().started("snap-9")  # fmt: skip
    report = Noting()
    disk.send(cloud.home, report=report)
    assert "its snapshot snap-9 in account 999999999999" in report.notes[1]


@pytest.mark.parametrize("ours", [True, False])
def test_a_damaged_journal_is_given_up_and_never_takes_anything_of_others_with_it(disk, cloud, ours):
    """The head cannot be read, but the snapshot's id can: it is deleted when its tags say that it is this image's."""
    old = begun(disk, cloud)
    lines = disk.path("journal").read_bytes().split(b"\n")
    disk.path("journal").write_bytes(b"\n".join([b"x" + lines[0], *lines[1:]]))
    if not ours:
        of_another_image(disk, cloud, old)
    report = Noting()
    snapshot = disk.send(cloud.home, report=report)
    assert "its journal is damaged" in report.notes[0]
    if (
        ours
    ):  # the same request has the same token: what EBS gives for it is dead, and the next one is not
        assert set(shown(cloud)) == {snapshot}
    else:
        assert shown(cloud)[snapshot] == "completed"


def test_a_damaged_line_and_a_torn_one_cost_a_block_each(disk, cloud):
    """Nothing is believed that may not be true; the blocks are sent again, and the snapshot is whole."""
    snapshot = begun(disk, cloud, done=4)
    content = disk.path("journal").read_bytes()
    lines = content.split(b"\n")
    lines[3] = lines[3].replace(b"8", b"9") if b"8" in lines[3] else b"?" + lines[3]
    disk.path("journal").write_bytes(b"\n".join(lines)[:-20])
    report = Noting()
    assert disk.send(cloud.home, report=report) == snapshot
    assert "1 line(s) of the journal are damaged" in report.notes[0]
    assert puts(cloud, snapshot) == 4 + 2
    assert whole(disk, cloud, snapshot)


def deleted(cloud, snapshot):
    cloud.client("ec2").delete_snapshot(SnapshotId=snapshot)


def given_up(cloud, snapshot):
    """No block came for the whole of its timeout."""
    change(cloud, snapshot, "Touched", 0)


@pytest.mark.parametrize("death", [deleted, given_up])
def test_a_dead_snapshot_is_removed_and_another_started(disk, cloud, death):
    """Its blocks are sent again, all of them: what was acknowledged is gone with it."""
    dead = begun(disk, cloud, done=3)
    death(cloud, dead)
    report = Noting()
    snapshot = disk.send(cloud.home, report=report)
    assert f"{dead} takes no blocks any more" in report.notes[0]
    assert shown(cloud) == {snapshot: "completed"}
    assert puts(cloud, snapshot) == 4


def test_one_that_another_machine_completed_is_taken(disk, cloud):
    """Two with the same image get the same snapshot for the same token: the second finds it sealed, and whole."""
    cloud.faults({"operation": "ebs:PutSnapshotBlock", "kind": "deny"})
    with pytest.raises(CloudFault):
        disk.send(cloud.home)
    cloud.faults()
    mine = disk.path("journal").read_bytes()
    theirs = disk.send(cloud.home)
    for name in ("ledger", "receipt"):
        disk.path(name).unlink()
    disk.path("journal").write_bytes(mine)
    cloud.client("ec2").delete_tags(
        Resources=[theirs], Tags=[{"Key": names.DIGEST_TAG}]
    )  # not listed yet
    assert disk.send(cloud.home) == theirs
    assert list(shown(cloud)) == [theirs]


# Bad days


@pytest.mark.parametrize("kind", ["throttle", "error", "error-after", "drop", "drop-after"])
def test_a_bad_day_costs_time_and_nothing_else(tmp_path, cloud, kind):
    """Throttles, server faults and broken connections, before the deed and after it: the snapshot is whole, and one."""
    disk = Disk(tmp_path / "disk", {index: index for index in range(20)})
    cloud.faults({"operation": "ebs:PutSnapshotBlock", "kind": kind, "times": 4}, {"operation": "ebs:*", "kind": kind, "times": 1})  # fmt: skip
    snapshot = disk.send(cloud.home)
    assert shown(cloud) == {snapshot: "completed"}
    assert whole(disk, cloud, snapshot)


@pytest.mark.parametrize("operation", ["StartSnapshot", "PutSnapshotBlock", "CompleteSnapshot"])
def test_what_is_not_permitted_is_asked_once(disk, cloud, operation):
    """The permission is named; nobody hammers at a closed door."""
    cloud.faults({"operation": f"ebs:{operation}", "kind": "deny", "times": 20})
    with pytest.raises(CloudFault, match=f"do not permit ebs:{operation}"):
        disk.send(cloud.home)
    (left,) = cloud.server.store.db.execute("SELECT times FROM faults").fetchone()
    assert left >= 20 - 8  # one for each worker that was at it


def test_a_block_that_is_not_what_the_list_says_is_the_images_fault(disk, cloud):
    """EBS refuses the checksum; the image is read again, and told to have changed. It is not tried for ever."""
    path = disk.path("one.img")
    status = path.stat()
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), b"x", 7 * SIZE + 5)
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    with pytest.raises(ImageFault, match=r"block 7 of one\.img is not what the block list says"):
        disk.send(cloud.home)


def test_what_lies_here_must_fit_together(disk, cloud):
    """Another image than the stamp's, a list of another image, a size that is no whole GiB: each is said before the cloud is asked."""
    disk.blocks.model_copy(update={"sha256": "0" * 64}).write(disk.path("blocks"))
    with pytest.raises(ImageFault, match="the block list is of another image"):
        disk.send(cloud.home)
    disk.blocks.model_copy(update={"volume_size": (1 << 30) + SIZE}).write(disk.path("blocks"))
    with pytest.raises(ImageFault, match="a volume has whole GiB"):
        disk.send(cloud.home)
    disk.blocks.write(disk.path("blocks"))
    os.truncate(disk.path("one.img"), SIZE)
    with pytest.raises(ImageFault, match="not the file that was stamped"):
        disk.send(cloud.home)
    assert shown(cloud) == {}


def test_a_key_of_another_region_is_refused_before_anything(disk, cloud):
    """By the configuration's own words."""
    with pytest.raises(
        ConfigFault, match=r"the key is of eu-west-1, and the snapshot will be in us-east-1"
    ):
        disk.send(cloud.home, encrypted=True, kms_key=KEY.format("eu-west-1"))
    assert shown(cloud) == {}


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("ValidationException", 400, "INVALID_CUSTOMER_KEY"),
        ("AccessDeniedException", 403, "DEPENDENCY_ACCESS_DENIED"),
    ],
)
def test_a_key_that_is_disabled_or_foreign_is_told_with_what_to_do(disk, cloud, code, status, reason):
    """The relay says what EBS says of such a key; the fault names it, and how to look at it."""
    body = json.dumps({"Message": "no", "Reason": reason}).encode()
    answer = Reply(status, body, {"x-amzn-ErrorType": code, "Content-Type": "application/json"})
    key = KEY.format("us-east-1")
    with relaying(cloud.url) as relay:
        relay.rule = lambda call: answer if call.path == "/snapshots" else None
        with pytest.raises(CloudFault, match=f"EBS may not use the key {key}") as caught:
            disk.send(cloud.home, spec=elsewhere(relay.url), encrypted=True, kms_key=key)
    assert f"aws kms describe-key --key-id {key}" in caught.value.hint
    assert shown(cloud) == {}


def test_a_full_account_is_told(disk, cloud):
    """A hundred pending snapshots is all that EBS allows."""
    for _ in range(100):
        cloud.client("ebs").start_snapshot(VolumeSize=1)
    with pytest.raises(CloudFault, match="as many pending ones as it may"):
        disk.send(cloud.home)


def test_a_snapshot_that_fails_after_its_last_block_is_told_and_not_kept(disk, cloud, monkeypatch):
    """With EBS's own reason; the next run begins anew."""
    real = snapshots.complete

    def completed(client, snapshot, delta):
        real(client, snapshot, delta)
        change(cloud, snapshot, "Sealed", None)
        change(cloud, snapshot, "Touched", 0)

    monkeypatch.setattr(snapshots, "complete", completed)
    with pytest.raises(CloudFault, match="came to error: No block was written for"):
        disk.send(cloud.home)
    (dead,) = shown(cloud)
    assert not disk.path("receipt").exists()
    monkeypatch.setattr(snapshots, "complete", real)
    snapshot = disk.send(cloud.home)
    assert snapshot != dead
    assert shown(cloud) == {snapshot: "completed"}


def test_a_snapshot_that_is_not_encrypted_as_wished_is_refused(disk, cloud, monkeypatch):
    """A cloud that forgets to encrypt is not believed."""
    real = snapshots.Wish.request
    monkeypatch.setattr(snapshots.Wish, "request", lambda self: {k: v for k, v in real(self).items() if k != "Encrypted"})  # fmt: skip
    with pytest.raises(CloudFault, match="is not encrypted, though"):
        disk.send(cloud.home, encrypted=True)


# The other road


def test_by_the_other_road_it_is_the_same_image_and_found_again(disk, cloud):
    """S3 and ImportSnapshot: every block of the list is there, no object is left, and the next run finds it by its tags.
    Only then is there a ledger: by this road the snapshot holds more than the list.
    """
    roles.make(cloud.client("iam"), f"doit-ami-{LOCAL_ACCOUNT}-us-east-1")
    snapshot = disk.send(cloud.home, road="import")
    assert whole(disk, cloud, snapshot)
    assert not disk.path("ledger").exists()
    assert disk.send(cloud.home, road="import") == snapshot
    assert shown(cloud) == {snapshot: "completed"}
    assert [tool.program for tool in stage.tools(order("import"))] == ["qemu-img"]
    assert stage.tools(order("direct")) == ()


def order(road: str) -> stage.Order:
    return stage.Order(image=IMAGE, cloud=clouds.LOCAL.model_copy(update={"ebs": Ebs(road=road)}))
