"""ImportSnapshot on the local cloud: real disk images become snapshots, by a role that may; what cannot is told, and ended."""

import json
import os
import signal
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.cloud import local
from tasks.cloud.local import door
from tasks.cloud.local.ec2 import diskimages
from tasks.kit.proc import Command
from tests import diskfiles, roles
from tests.localcloud import LocalCloud, client_at, refused
from tests.localsnapshots import files

OTHER = "210987654321"
BUCKET = "disks"
ROLE_REFUSED = (
    "The service role vmimport provided does not exist or does not have sufficient permissions"
)


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    return diskfiles.disk(tmp_path_factory.mktemp("disk") / "disk.raw", size=GIB_AND_A_BIT)


GIB_AND_A_BIT = diskfiles.GIB + 3 * 65536


@pytest.fixture
def ec2(localcloud):
    """EC2, beside a bucket."""
    localcloud.client("s3").create_bucket(Bucket=BUCKET)
    return localcloud.client("ec2")


@pytest.fixture
def role(localcloud, ec2):
    roles.make(localcloud.client("iam"), BUCKET)
    return localcloud.client("iam")


def sent(cloud: LocalCloud, key: str, content: bytes | Path) -> None:
    s3 = cloud.client("s3")
    if isinstance(content, Path):
        s3.upload_file(str(content), BUCKET, key)
    else:
        s3.put_object(Bucket=BUCKET, Key=key, Body=content)


def asked(key: str, form: str = "RAW", **more):
    container = {"Format": form, "UserBucket": {"S3Bucket": BUCKET, "S3Key": key}}
    return {"DiskContainer": container, **more}


def task(ec2, identity: str) -> dict[str, Any]:
    found = ec2.describe_import_snapshot_tasks(ImportTaskIds=[identity])["ImportSnapshotTasks"]
    assert len(found) == 1
    detail: dict[str, Any] = found[0]["SnapshotTaskDetail"]
    return detail


def ended(ec2, identity: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while (found := task(ec2, identity))["Status"] in ("active", "deleting"):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def done(ec2, key: str, form: str = "RAW", **more) -> dict[str, Any]:
    return ended(ec2, ec2.import_snapshot(**asked(key, form, **more))["ImportTaskId"])


@pytest.mark.parametrize("form", ["RAW", "VMDK", "VHD"])
def test_a_disk_image_becomes_a_snapshot_of_whole_gib_with_all_blocks(
    role, localcloud, raw, tmp_path, form
):
    """From each format; sent in one piece and in several; zeros where the disk ends."""
    size, ec2 = 2 * diskfiles.GIB, localcloud.client("ec2")
    if form == "RAW":  # goes over the wire with all its zeros
        raw, size = diskfiles.disk(tmp_path / "small", size=(24 << 20) + 512), diskfiles.GIB
    words = {"RAW": ("-O", "raw"), "VMDK": diskfiles.VMDK, "VHD": diskfiles.VHD}[form]
    image = diskfiles.converted(raw, tmp_path / "image", *words)
    sent(localcloud, "image", image)
    detail = done(ec2, "image", form)
    assert (detail["Status"], detail["Progress"], detail["Format"]) == ("completed", "100", form)
    assert detail["DiskImageSize"] == image.stat().st_size
    assert "StatusMessage" not in detail
    diskfiles.same(localcloud.client("ebs"), detail["SnapshotId"], raw, size=size)
    assert files(localcloud) == {detail["SnapshotId"]}
    assert list((localcloud.home / "scratch").iterdir()) == []


def test_the_tags_are_the_tasks_and_not_the_snapshots(role, ec2, localcloud, tmp_path):
    """Whoever wants them there puts them there. The snapshot says of which task it is."""
    sent(localcloud, "k", b"x" * 512)
    tags = [{"Key": "a", "Value": "b"}]
    told = ec2.import_snapshot(
        **asked("k"),
        Description="mine",
        TagSpecifications=[{"ResourceType": "import-snapshot-task", "Tags": tags}],
    )
    assert (told["Tags"], told["Description"]) == (tags, "mine")
    assert told["SnapshotTaskDetail"]["Status"] == "active"
    snapshot = ended(ec2, told["ImportTaskId"])["SnapshotId"]
    shown = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
    assert (shown["State"], shown["VolumeSize"], shown.get("Tags", [])) == ("completed", 1, [])
    assert shown["Description"] == f"Created by AWS-VMImport service for {told['ImportTaskId']}"
    ec2.create_tags(Resources=[snapshot, told["ImportTaskId"]], Tags=[{"Key": "c", "Value": "d"}])
    listed = ec2.describe_import_snapshot_tasks()["ImportSnapshotTasks"][0]
    assert {tag["Key"] for tag in listed["Tags"]} == {"a", "c"}
    other = [{"ResourceType": "snapshot", "Tags": tags}]
    assert refused(ec2.import_snapshot, **asked("k"), TagSpecifications=other) == "InvalidParameterValue"


def test_a_client_token_is_for_one_import(role, ec2, localcloud):
    """The same again: the same task. Another with it: a conflict."""
    sent(localcloud, "k", b"x" * 512)
    first = ec2.import_snapshot(**asked("k"), ClientToken="t")
    assert ec2.import_snapshot(**asked("k"), ClientToken="t")["ImportTaskId"] == first["ImportTaskId"]
    wrong = refused(ec2.import_snapshot, **asked("other"), ClientToken="t")
    assert wrong == "IdempotentParameterMismatch"
    ended(ec2, first["ImportTaskId"])
    assert len(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 1


def without(place: int, action: str) -> dict[str, Any]:
    document = roles.policy(BUCKET)
    actions = document["Statement"][place]["Action"]
    document["Statement"][place]["Action"] = [each for each in actions if each != action]
    return document


NOBODY = {"Statement": [{**roles.TRUST["Statement"][0], "Principal": {"Service": "ec2.amazonaws.com"}}]}
OTHER_ID = {"StringEquals": {"sts:Externalid": "another"}}
OTHERS = {"Statement": [{**roles.TRUST["Statement"][0], "Condition": OTHER_ID}]}


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        {"name": "other"},
        {"trust": NOBODY},
        {"trust": OTHERS},
        {"permissions": roles.policy("another-bucket")},
        {"permissions": without(0, "s3:ListBucket")},
        {"permissions": without(0, "s3:GetBucketLocation")},
        *({"permissions": without(1, action)} for action in roles.policy("")["Statement"][1]["Action"]),
    ],
)
def test_without_a_role_that_may_nothing_is_started(ec2, localcloud, wrong):
    """Missing, not trusting the importer, or too narrow: in AWS's own words, which do not say which."""
    if wrong is not None:
        roles.make(localcloud.client("iam"), BUCKET, **wrong)
    sent(localcloud, "k", b"x" * 512)
    with pytest.raises(Exception, match=ROLE_REFUSED):
        ec2.import_snapshot(**asked("k"))
    assert refused(ec2.import_snapshot, **asked("k")) == "InvalidParameter"
    assert ec2.describe_import_snapshot_tasks()["ImportSnapshotTasks"] == []


def test_another_role_may_be_named(ec2, localcloud):
    """Which then does the work."""
    roles.make(localcloud.client("iam"), BUCKET, name="mine")
    sent(localcloud, "k", b"x" * 512)
    assert done(ec2, "k", RoleName="mine")["Status"] == "completed"


def test_what_the_role_may_not_read_or_is_not_there_ends_the_task(role, ec2, localcloud):
    """After the reply, as VM Import tells it. Nothing is left."""
    gone = done(ec2, "gone")
    assert gone["Status"] == "deleted"
    said = "ClientError: Disk validation failed [We do not have access to the given resource. Reason"
    assert gone["StatusMessage"] == f"{said} 404 Not Found]"
    sent(localcloud, "k", b"x" * 512)
    document = json.dumps(without(0, "s3:GetObject"))
    role.put_role_policy(RoleName="vmimport", PolicyName="vmimport", PolicyDocument=document)
    assert done(ec2, "k")["StatusMessage"] == f"{said} 403 Forbidden]"
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


def test_a_bucket_of_another_account_is_not_read(localcloud, ec2):
    """Though the role would be allowed to: the bucket does not allow it."""
    theirs = localcloud.client("s3", account=OTHER)
    theirs.create_bucket(Bucket="theirs")
    theirs.put_object(Bucket="theirs", Key="k", Body=b"x" * 512)
    roles.make(localcloud.client("iam"), "theirs")
    container = {"Format": "RAW", "UserBucket": {"S3Bucket": "theirs", "S3Key": "k"}}
    told = ec2.import_snapshot(DiskContainer=container)
    assert "403 Forbidden" in str(ended(ec2, told["ImportTaskId"])["StatusMessage"])


def test_an_image_that_is_not_what_it_is_said_to_be_ends_the_task(role, ec2, localcloud, raw, tmp_path):
    """An unknown format, an empty file, and each format that is another one or broken off."""
    flat = diskfiles.converted(raw, tmp_path / "a", "-O", "vmdk", "-o", "subformat=monolithicSparse")
    streamed = diskfiles.converted(raw, tmp_path / "b", *diskfiles.VMDK).read_bytes()
    cases = {
        "vhdx": (b"x" * 512, "VHDX", "Unsupported specified file format"),
        "empty": (b"", "RAW", "the file is empty"),
        "noise": (b"x" * 4096, "VMDK", "Unsupported VMDK File Format"),
        "flat": (flat.read_bytes()[:65536], "VMDK", "Unsupported VMDK File Format"),
        "cut": (streamed[:70_000], "VMDK", "qemu-img"),
        "vhd": (b"x" * 4096, "VHD", "Unsupported VHD File Format"),
    }
    for key, (content, form, said) in cases.items():
        sent(localcloud, key, content)
        detail = done(ec2, key, form)
        assert detail["Status"] == "deleted", key
        assert str(detail["StatusMessage"]).startswith("ClientError: Disk validation failed ["), key
        assert said in str(detail["StatusMessage"]), key
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    assert list((localcloud.home / "scratch").iterdir()) == []


def test_a_vmdk_cannot_name_files_of_this_machine(tmp_path):
    """One whose header sends the reader to a text beside it, which may name any file, is not handed to qemu-img."""
    head = struct.pack(
        "<4sIIQQQQIQQQB4sH", b"KDMV", 3, 3 << 16, 0, 128, 1, 20, 512, 0, 0, 128, 0, b"\n \r\n", 1
    )
    text = b'# Disk DescriptorFile\ncreateType="monolithicFlat"\nRW 2048 FLAT "/etc/hostname" 0\n'
    image = tmp_path / "image"
    image.write_bytes(head.ljust(512, b"\0") + text.ljust(20 * 512, b"\0"))
    with pytest.raises(diskimages.Unfit, match="VMDK"):
        diskimages.judge(image, "VMDK")


def test_what_is_asked_wrongly_is_refused_at_once(role, ec2, localcloud):
    """Without a container, a format or a place; a key without encryption; what is not known here; a bucket elsewhere."""
    ask = ec2.import_snapshot
    assert refused(ask) == "MissingParameter"
    assert refused(ask, DiskContainer={"Format": "RAW"}) == "MissingParameter"
    for place in ({"S3Bucket": BUCKET}, {"S3Key": "k"}):
        container = {"Format": "RAW", "UserBucket": place}
        assert refused(ask, DiskContainer=container) == "MissingParameter"
    assert refused(ask, **asked("k"), KmsKeyId="alias/aws/ebs") == "InvalidParameter"
    assert refused(ask, **asked("k"), ClientData={"Comment": "x"}) == "UnsupportedOperation"
    url = {**asked("k")["DiskContainer"], "Url": "s3://disks/k"}
    assert refused(ask, DiskContainer=url) == "UnsupportedOperation"
    assert refused(ask, **asked("k"), DryRun=True) == "DryRunOperation"
    configuration = {"LocationConstraint": "eu-west-1"}
    far = localcloud.client("s3", region="eu-west-1")
    far.create_bucket(Bucket="far", CreateBucketConfiguration=configuration)
    container = {"Format": "RAW", "UserBucket": {"S3Bucket": "far", "S3Key": "k"}}
    assert refused(ask, DiskContainer=container) == "InvalidParameter"
    assert ec2.describe_import_snapshot_tasks()["ImportSnapshotTasks"] == []


def test_encryption_is_with_the_usual_key_or_with_one_that_the_role_may_use(role, ec2, localcloud):
    """By its id or its ARN. One that cannot be used is found out later, as AWS has it."""
    sent(localcloud, "k", b"x" * 512)
    kms = localcloud.client("kms")
    key = kms.create_key()["KeyMetadata"]
    usual = kms.describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]["Arn"]
    assert done(ec2, "k", Encrypted=True)["KmsKeyId"] == usual
    refusal = done(ec2, "k", Encrypted=True, KmsKeyId=key["Arn"])
    assert (refusal["Status"], "may not use" in str(refusal["StatusMessage"])) == ("deleted", True)
    document = json.dumps(roles.policy(BUCKET, roles.for_key(key["Arn"])))
    role.put_role_policy(RoleName="vmimport", PolicyName="vmimport", PolicyDocument=document)
    for said in (key["Arn"], key["KeyId"]):
        detail = done(ec2, "k", Encrypted=True, KmsKeyId=said)
        shown = ec2.describe_snapshots(SnapshotIds=[detail["SnapshotId"]])["Snapshots"][0]
        assert (shown["Encrypted"], shown["KmsKeyId"]) == (True, key["Arn"])
    theirs = localcloud.client("kms", account=OTHER).create_key()["KeyMetadata"]["Arn"]
    kms.disable_key(KeyId=key["Arn"])
    absent = key["Arn"].replace(key["KeyId"], "0e7fdb7c-0000-4000-8000-000000000000")
    for said, why in (
        (key["Arn"], "disabled"),
        (theirs, "foreign"),
        (absent, "absent"),
        ("x", "malformed"),
    ):
        detail = done(ec2, "k", Encrypted=True, KmsKeyId=said)
        assert detail["Status"] == "deleted"
        assert why in str(detail["StatusMessage"])


def test_tasks_are_listed_in_pages_and_by_state(role, ec2, localcloud):
    """The filter that there is; others are refused, and so is an id that is none."""
    sent(localcloud, "k", b"x" * 512)
    good = [ec2.import_snapshot(**asked("k"))["ImportTaskId"] for _ in range(3)]
    bad = ec2.import_snapshot(**asked("gone"))["ImportTaskId"]
    for each in (*good, bad):
        ended(ec2, each)
    pages = ec2.get_paginator("describe_import_snapshot_tasks")
    listed = [
        each["ImportTaskId"]
        for page in pages.paginate(PaginationConfig={"PageSize": 2})
        for each in page["ImportSnapshotTasks"]
    ]
    assert listed == [*good, bad]
    deleted = [{"Name": "task-state", "Values": ["deleted"]}]
    found = ec2.describe_import_snapshot_tasks(Filters=deleted)["ImportSnapshotTasks"]
    assert [each["ImportTaskId"] for each in found] == [bad]
    other = [{"Name": "colour", "Values": ["red"]}]
    assert refused(ec2.describe_import_snapshot_tasks, Filters=other) == "InvalidParameterValue"
    nothing = ["import-snap-0123456789abcdef0"]
    assert (
        refused(ec2.describe_import_snapshot_tasks, ImportTaskIds=nothing) == "InvalidConversionTaskId"
    )
    theirs = localcloud.client("ec2", account=OTHER)
    assert theirs.describe_import_snapshot_tasks()["ImportSnapshotTasks"] == []


def test_a_task_is_forgotten_a_week_after_its_end(role, ec2, localcloud):
    """Its snapshot is not."""
    sent(localcloud, "k", b"x" * 512)
    detail = done(ec2, "k")
    store = localcloud.server.store
    things = store.things("import-snapshot-task", "123456789012", "us-east-1")
    with store.change():
        thing = things.all()[0]
        thing["local"]["finished"] -= 7 * 86400
        things.save(thing["ImportTaskId"], thing)
    assert ec2.describe_import_snapshot_tasks()["ImportSnapshotTasks"] == []
    assert ec2.describe_snapshots(SnapshotIds=[detail["SnapshotId"]])["Snapshots"]


def test_what_is_made_is_pending_for_as_long_as_the_cloud_is_told(role, ec2, localcloud):
    """Until then the task is active, and names no snapshot."""
    sent(localcloud, "k", b"x" * 512)
    localcloud.settings(pending=1.0)
    identity = ec2.import_snapshot(**asked("k"))["ImportTaskId"]
    deadline = time.monotonic() + 30
    while task(ec2, identity)["Progress"] != "99":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    detail = task(ec2, identity)
    assert (detail["Status"], "SnapshotId" in detail) == ("active", False)
    assert ended(ec2, identity)["SnapshotId"]


@pytest.fixture
def slow(monkeypatch):
    """A conversion that takes its time, until it is let go: qemu-img on a large image."""
    begun, go = threading.Event(), threading.Event()
    true = diskimages.conversion

    def waiting(*given):
        begun.set()
        command = true(*given)
        words = ("sleep", "60") if not go.is_set() else command.argv
        return Command(words, command.purpose)

    monkeypatch.setattr(diskimages, "conversion", waiting)
    return begun, go


def test_an_import_can_be_canceled_while_it_is_at_work(role, ec2, localcloud, slow):
    """And then leaves nothing; one that has ended cannot."""
    begun, go = slow
    sent(localcloud, "k", b"x" * 512)
    identity = ec2.import_snapshot(**asked("k"))["ImportTaskId"]
    assert begun.wait(20)
    told = ec2.cancel_import_task(ImportTaskId=identity, CancelReason="no need")
    assert (told["PreviousState"], told["State"]) == ("active", "deleting")
    detail = ended(ec2, identity)
    assert (detail["Status"], detail["StatusMessage"]) == ("deleted", "no need")
    assert refused(ec2.cancel_import_task, ImportTaskId=identity) == "IncorrectState"
    assert refused(ec2.cancel_import_task, ImportTaskId="import-snap-0") == "InvalidConversionTaskId"
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    go.set()
    assert done(ec2, "k")["Status"] == "completed"


def test_a_cloud_that_ends_goes_on_with_it_when_it_starts_again(role, ec2, localcloud, slow):
    """It does not wait for the conversion, and the task is none the worse."""
    begun, go = slow
    sent(localcloud, "k", b"x" * 512)
    identity = ec2.import_snapshot(**asked("k"))["ImportTaskId"]
    assert begun.wait(20)
    before = time.monotonic()
    localcloud.stop()
    assert time.monotonic() - before < 20
    go.set()
    localcloud.start()
    again = localcloud.client("ec2")
    assert ended(again, identity)["Status"] == "completed"
    assert len(again.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 1


def test_a_cloud_that_is_killed_goes_on_with_it(tmp_path, raw):
    """At whatever moment: one task, one snapshot with all of the disk, no file beside it."""
    home = tmp_path / "cloud"
    try:
        url = local.endpoint(home).url
        s3 = client_at(url, "s3")
        s3.create_bucket(Bucket=BUCKET)
        roles.make(client_at(url, "iam"), BUCKET)
        image = diskfiles.converted(raw, tmp_path / "image", *diskfiles.VMDK)
        s3.upload_file(str(image), BUCKET, "k")
        for turn in range(8):
            ec2 = client_at(url, "ec2")
            ec2.import_snapshot(**asked("k", "VMDK"), ClientToken="t")
            time.sleep(0.05 * turn)
            state = door.read(home)
            assert state is not None
            os.kill(state.pid, signal.SIGKILL)
            url = local.endpoint(home).url
        ec2 = client_at(url, "ec2")
        tasks = ec2.describe_import_snapshot_tasks()["ImportSnapshotTasks"]
        assert len(tasks) == 1
        detail = ended(ec2, tasks[0]["ImportTaskId"])
        assert detail["Status"] == "completed"
        assert len(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 1
        diskfiles.same(client_at(url, "ebs"), str(detail["SnapshotId"]), raw, size=2 * diskfiles.GIB)
        assert [each.name for each in (home / "snapshots").iterdir()] == [detail["SnapshotId"]]
    finally:
        local.stop(home)
