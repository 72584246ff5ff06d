"""The other road to a snapshot: real disks by the local cloud's S3 and ImportSnapshot; roles as it and moto describe them."""

import json
import random
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.cloud import erase, importing, importrole, importtasks, s3
from tasks.cloud.clients import connect
from tasks.cloud.importrole import Needs
from tasks.kit.fault import CloudFault, Fault, ToolFault
from tasks.kit.report import Silent
from tasks.spec.cloud import Ebs
from tests import clouds, diskfiles, roles
from tests.cloud.local.test_awscli import Cli

LABELS = {"doit-ami:image": "debian-12", "doit-ami:digest": "0" * 64, "Name": "debian-12"}
BUCKET = "doit-ami-123456789012-us-east-1"
KEY = "debian-12/0123456789abcdef"
OTHER = "210987654321"


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def noted(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    return diskfiles.disk(tmp_path_factory.mktemp("disk") / "disk.raw")


@pytest.fixture
def empty(fresh, cloud):
    """A cloud that holds nothing."""
    assert fresh
    return cloud


@pytest.fixture
def role(empty):
    roles.make(empty.iam(), BUCKET)
    return empty.iam()


@pytest.fixture
def run(cloud, raw, tmp_path):
    def imported(image: Path = raw, token="one", report=None, **ebs) -> str:  # noqa: S107 - a token of content
        spec = clouds.LOCAL.model_copy(update={"ebs": Ebs(road="import", **ebs)})
        return importing.imported(
            cloud,
            spec,
            image,
            key=KEY,
            labels=LABELS,
            token=token,
            report=report or Silent(),
            work=tmp_path,
        )

    return imported


def snapshots(cloud) -> list[dict[str, Any]]:
    return list(cloud.ec2().describe_snapshots(OwnerIds=["self"])["Snapshots"])


def tasks(cloud) -> list[dict[str, Any]]:
    return list(cloud.ec2().describe_import_snapshot_tasks()["ImportSnapshotTasks"])


def nothing_is_left(cloud, work: Path) -> None:
    bucket = s3.Bucket(cloud.s3(), BUCKET, cloud.account, cloud.region)
    assert erase.listed(bucket, "") == {}
    assert erase.unfinished(bucket, "") == ()
    assert list(work.iterdir()) == []


def test_a_disk_becomes_a_snapshot_with_our_tags(empty, role, run, raw, tmp_path):
    """Every block of it; the bucket is private, and has nothing of it any more."""
    snapshot = run()
    diskfiles.same(empty.ebs(), snapshot, raw)
    shown = snapshots(empty)
    assert [each["SnapshotId"] for each in shown] == [snapshot]
    assert {tag["Key"]: tag["Value"] for tag in shown[0]["Tags"]} == LABELS
    assert shown[0]["State"] == "completed"
    nothing_is_left(empty, tmp_path)
    block = empty.s3().get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"]
    assert all(block.values())


def test_again_it_is_the_same_snapshot_and_nothing_is_sent(empty, role, run, tmp_path, monkeypatch):
    """As long as it is there. When it is gone, it is made again, though the token is the same."""
    first = run()
    monkeypatch.setattr(importing, "sent", None)
    assert run() == first
    monkeypatch.undo()
    empty.ec2().delete_snapshot(SnapshotId=first)
    second = run()
    assert second != first
    assert [each["SnapshotId"] for each in snapshots(empty)] == [second]
    assert run() == second
    nothing_is_left(empty, tmp_path)


def test_another_content_or_encryption_is_another_snapshot(empty, role, run, raw, tmp_path):
    """By the token, and by what was asked for."""
    other = diskfiles.disk(tmp_path / "other.raw", seed=2)
    first, second, third = run(), run(other, token="two"), run(encrypted=True)
    other.unlink()
    assert len({first, second, third}) == 3
    shown = {each["SnapshotId"]: each["Encrypted"] for each in snapshots(empty)}
    assert shown == {first: False, second: False, third: True}
    nothing_is_left(empty, tmp_path)


class Killed(BaseException):
    """Stands for a kill: nobody catches it, and what comes after does not happen."""


PLACES = (
    (importrole, "check"),
    (importing, "ready"),
    (importing, "converted"),
    (importing, "sent"),
    (importtasks, "started"),
    (importing, "arrived"),
    (importing, "cleared"),
)
STEPS = [(when, *place) for place in PLACES for when in ("before", "after")]


@pytest.mark.usefixtures("role")
@pytest.mark.parametrize("step", STEPS, ids=[f"{when} {name}" for when, _, name in STEPS])
def test_killed_at_any_step_and_run_again_it_is_one_snapshot(
    cloud, run, raw, tmp_path, monkeypatch, step
):
    """And one task; before a step, and after it. Nothing is left in the bucket."""
    when, place, name = step
    true = getattr(place, name)

    def killed(*given, **named):
        if when == "after":
            true(*given, **named)
        raise Killed

    monkeypatch.setattr(place, name, killed)
    with pytest.raises(Killed):
        run()
    monkeypatch.undo()
    snapshot = run()
    assert [each["SnapshotId"] for each in snapshots(cloud)] == [snapshot]
    assert len(tasks(cloud)) == 1
    assert snapshots(cloud)[0]["Tags"]
    nothing_is_left(cloud, tmp_path)
    diskfiles.same(cloud.ebs(), snapshot, raw)


def test_what_was_sent_is_not_sent_again(empty, role, run, monkeypatch):
    """Killed between sending and importing: the object is there whole, and is taken."""

    def killed(*_):
        raise Killed

    monkeypatch.setattr(importtasks, "started", killed)
    with pytest.raises(Killed):
        run()
    monkeypatch.undo()
    monkeypatch.setattr(importing, "converted", None)
    monkeypatch.setattr(importing, "sent", None)
    assert run()


RUN = """
import sys
from pathlib import Path
from tasks.cloud import importing
from tasks.cloud.clients import connect
from tasks.kit.report import Silent
from tasks.spec.cloud import CloudSpec
home, image, work = map(Path, sys.argv[1:4])
spec = CloudSpec(name="local", kind="local", region="us-east-1", ebs={"road": "import"})
labels = {"doit-ami:image": "debian-12"}
print(importing.imported(connect(spec, home), spec, image, key="a/b", labels=labels, token="t", report=Silent(), work=work))
"""


def test_killed_by_the_kernel_at_random_it_is_one_snapshot(empty, role, home, tmp_path):
    """SIGKILL, whatever it was at: converting, sending in parts, waiting."""
    image, work = (
        diskfiles.disk(tmp_path / "large.raw", blocks=90, lengths=(500_000,), seed=3),
        tmp_path / "work",
    )
    work.mkdir()
    command = [sys.executable, "-c", RUN, str(home), str(image), str(work)]
    chance, killed = random.Random(5), 0
    for _ in range(8):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2])
        time.sleep(chance.uniform(0.3, 2.0))
        killed += process.poll() is None
        process.kill()
        process.wait()
    assert killed
    told = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    shown = snapshots(empty)
    assert [each["SnapshotId"] for each in shown] == [told.stdout.strip()]
    assert shown[0]["Tags"] == [{"Key": "doit-ami:image", "Value": "debian-12"}]
    nothing_is_left(empty, work)
    diskfiles.same(empty.ebs(), told.stdout.strip(), image)


def fails(run, *words: str, **more) -> Fault:
    """Raises a fault that says all of this."""
    with pytest.raises(Fault) as caught:
        run(**more)
    text = str(caught.value)
    assert all(word in text for word in words), text
    return caught.value


@pytest.fixture
def typed(shared, tmp_path_factory):
    """What a fault says is to be typed is typed, into Amazon's own command line."""
    aws = Cli(shared.url, tmp_path_factory.mktemp("cli"))

    def into(fault: Fault) -> None:
        lines = [line for line in fault.hint.splitlines() if line.startswith("aws ")]
        assert lines
        for line in lines:
            aws(*shlex.split(line)[1:])

    return into


def test_without_a_role_it_is_said_how_to_make_one_and_nothing_is_sent(empty, run, typed):
    """The two commands; and they are enough."""
    fault = fails(run, "there is no role vmimport", "create-role", "put-role-policy", BUCKET)
    assert empty.s3().list_buckets()["Buckets"] == []
    typed(fault)
    assert run()


def test_a_role_of_another_name_is_used_and_missed_by_it(empty, run, typed):
    """`ebs.import_role`"""
    fault = fails(run, "there is no role mine", "--role-name mine", import_role="mine")
    typed(fault)
    assert run(import_role="mine")


NOBODY = {"Statement": [{**roles.TRUST["Statement"][0], "Principal": {"Service": "ec2.amazonaws.com"}}]}
OTHER_ID = {"Condition": {"StringEquals": {"sts:ExternalId": "another"}}}
OTHERS = {"Statement": {**roles.TRUST["Statement"][0], **OTHER_ID}}


@pytest.mark.parametrize("trust", [NOBODY, OTHERS])
def test_a_role_that_trusts_somebody_else_is_told_with_what_mends_it(empty, run, typed, trust):
    """By service, or by external id."""
    roles.make(empty.iam(), BUCKET, trust=trust)
    fault = fails(run, "cannot import", "does not trust vmie.amazonaws.com", "update-assume-role-policy")
    assert tasks(empty) == []
    typed(fault)
    assert run()


def test_a_policy_that_is_too_narrow_is_told_with_what_it_lacks(empty, run):
    """Another bucket's; then one action alone; and a denial that outweighs."""
    iam = empty.iam()
    roles.make(iam, "another")
    fault = fails(
        run,
        f"may not s3:ListBucket on arn:aws:s3:::{BUCKET}",
        f"may not s3:GetObject on arn:aws:s3:::{BUCKET}/{KEY}.vmdk",
    )
    assert "ec2:" not in "".join(fault.evidence)
    assert "assume" not in fault.hint
    denial = {"Effect": "Deny", "Action": "s3:Get*", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    policy = json.dumps(roles.policy(BUCKET, denial))
    iam.put_role_policy(RoleName="vmimport", PolicyName="vmimport", PolicyDocument=policy)
    assert len(fails(run, "s3:GetObject").evidence) == 1
    iam.put_role_policy(
        RoleName="vmimport", PolicyName="vmimport", PolicyDocument=json.dumps(roles.policy(BUCKET))
    )
    assert run()


def test_with_a_key_of_ones_own_the_role_must_be_allowed_to_use_it(empty, role, run, typed):
    """It is said with the key's ARN; then it is used."""
    kms = empty.session.client("kms", config=empty.config, endpoint_url=empty.endpoint_url)
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    fault = fails(run, f"may not kms:CreateGrant on {arn}", encrypted=True, kms_key=arn)
    typed(fault)
    snapshot = run(encrypted=True, kms_key=arn)
    assert snapshots(empty)[0]["KmsKeyId"] == arn
    assert snapshots(empty)[0]["SnapshotId"] == snapshot


@pytest.mark.parametrize("trouble", ["disabled", "foreign", "absent"])
def test_a_key_that_cannot_be_used_is_told_in_ec2s_words(empty, run, home, tmp_path, trouble):
    """After it was sent: that is when EC2 looks. The object goes, and the next run begins anew."""
    other = connect(clouds.LOCAL, home)
    kms = empty.session.client("kms", config=empty.config, endpoint_url=empty.endpoint_url)
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    if trouble == "disabled":
        kms.disable_key(KeyId=arn)
    wrong = {
        "disabled": arn,
        "foreign": arn.replace("123456789012", OTHER),
        "absent": arn[:-12] + "0" * 12,
    }[trouble]
    roles.make(other.iam(), BUCKET, roles.for_key("*"))
    asked = {"encrypted": True, "kms_key": wrong}
    fails(run, "could not import the image", trouble, "kms describe-key", **asked)
    assert snapshots(empty) == []
    nothing_is_left(empty, tmp_path)
    if trouble == "disabled":
        kms.enable_key(KeyId=arn)
        assert run(**asked)
        assert [each["SnapshotTaskDetail"]["Status"] for each in tasks(empty)] == [
            "deleted",
            "completed",
        ]


def test_what_ec2_cannot_read_as_an_image_is_told_in_its_words(empty, role, run, tmp_path, monkeypatch):
    """Something that is no VMDK; nothing of it stays, and the right one goes through afterwards."""

    def spoiled(_, disk, __):
        disk.write_bytes(b"no disk" * 1000)

    monkeypatch.setattr(importing, "converted", spoiled)
    fails(run, "Unsupported VMDK File Format", "import-snap-")
    nothing_is_left(empty, tmp_path)
    monkeypatch.undo()
    assert run()


def test_an_image_that_is_not_there_is_qemu_imgs_to_tell(empty, role, run, tmp_path):
    """And nothing is sent."""
    with pytest.raises(ToolFault, match=r"(?s)could not make a VMDK of gone.raw.*No such file"):
        run(tmp_path / "gone.raw")
    nothing_is_left(empty, tmp_path)


def test_a_bucket_without_acls_will_do(empty, role, run):
    """VM Import reads as the role: it needs no ACL, and a user's bucket may have none."""
    empty.s3().create_bucket(Bucket=BUCKET, ObjectOwnership="BucketOwnerEnforced")
    assert run()


def test_iam_that_denies_reading_is_said_and_gone_on(empty, role, run, shared):
    """Which EC2 then judges: with the role as it should be, it goes through."""
    shared.faults({"operation": "iam:GetRole", "kind": "deny", "times": None})
    try:
        notes = Notes()
        assert run(report=notes)
        assert "IAM does not let us look at the role vmimport (GetRole)" in notes.notes[0]
    finally:
        shared.faults()


def test_a_role_that_only_ec2_can_judge_is_told_with_the_commands(empty, run, typed, shared):
    """IAM denied reading it, and EC2 says no: the commands are given as well."""
    shared.faults({"operation": "iam:*", "kind": "deny", "times": None})
    try:
        fault = fails(run, "cannot import as the role vmimport", "does not have sufficient permissions")
    finally:
        shared.faults()
    typed(fault)
    assert run()


def test_a_lost_answer_to_the_start_starts_nothing_twice(empty, role, run, shared):
    """The token says that it is the same."""
    shared.faults({"operation": "ec2:ImportSnapshot", "kind": "drop-after", "times": 1})
    assert run()
    assert len(tasks(empty)) == len(snapshots(empty)) == 1


def test_throttling_and_server_faults_are_tried_again(empty, role, run, shared, tmp_path):
    """By botocore's own rules, on the way to S3 and to EC2."""
    shared.faults(
        {"operation": "s3:UploadPart", "kind": "throttle", "times": 1},
        {"operation": "s3:PutObject", "kind": "error", "times": 1},
        {"operation": "ec2:DescribeImportSnapshotTasks", "kind": "throttle", "times": 2},
    )
    assert run()
    nothing_is_left(empty, tmp_path)


def test_lists_that_lag_are_waited_for(empty, role, run, shared):
    """A task that is started and not shown yet is no task that has failed."""
    shared.settings(lag=1.5)
    try:
        assert run()
    finally:
        shared.settings(lag=0.0)


def planned(cloud) -> importtasks.Import:
    spec = clouds.LOCAL.model_copy(update={"ebs": Ebs(road="import")})
    return importing.planned(cloud, spec, f"{KEY}.vmdk", LABELS, "one", Silent())


@pytest.mark.parametrize(
    "state", [{"Status": "active", "Progress": "20", "StatusMessage": "pending"}, None]
)
def test_a_task_that_stands_still_is_given_back_to_the_user(cloud, monkeypatch, state):
    """After an hour without progress, or a minute without being shown: it may be waited for again, or ended."""
    seconds = [0.0]
    shown = None if state is None else {"SnapshotTaskDetail": state}
    monkeypatch.setattr(importtasks, "by_id", lambda *_: shown)

    def pause(length):
        seconds[0] += length

    with pytest.raises(
        CloudFault, match=r"(?s)import-snap-1 stands still.*run doit again.*cancel-import-task"
    ):
        importtasks.arrived(planned(cloud), "import-snap-1", pause=pause, clock=lambda: seconds[0])
    limit = 60 if state is None else 3600
    assert limit < seconds[0] < limit + 10


def test_moto_reads_roles_as_we_do(account):
    """IAM as somebody else has it, with policies of the role's own, attached ones, and their versions."""
    iam = account.iam()
    needs = Needs("vmimport", "b", "k")
    with pytest.raises(CloudFault, match="there is no role vmimport"):
        importrole.check(iam, needs, Silent())
    iam.create_role(RoleName="vmimport", AssumeRolePolicyDocument=json.dumps(roles.TRUST))
    with pytest.raises(CloudFault, match=r"may not s3:GetBucketLocation"):
        importrole.check(iam, needs, Silent())
    whole = roles.policy("b")
    first = json.dumps({**whole, "Statement": whole["Statement"][1]})
    arn = iam.create_policy(PolicyName="ec2", PolicyDocument=first)["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="vmimport", PolicyArn=arn)
    with pytest.raises(CloudFault, match=r"may not s3:GetObject") as caught:
        importrole.check(iam, needs, Silent())
    assert len(caught.value.evidence) == 3
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(whole), SetAsDefault=True)
    importrole.check(iam, needs, Silent())
    iam.put_role_policy(
        RoleName="vmimport",
        PolicyName="no",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": DENIAL}),
    )
    with pytest.raises(CloudFault, match=r"may not ec2:CopySnapshot"):
        importrole.check(iam, needs, Silent())


DENIAL = {"Effect": "Deny", "Action": "ec2:Copy*", "Resource": "*"}


def test_credentials_that_may_not_read_iam_are_no_fault(policed):
    """moto's own IAM denies it."""
    notes = Notes()
    importrole.check(policed("ec2:*").iam(), Needs("vmimport", "b", "k"), notes)
    assert len(notes.notes) == 1


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ({"Action": "s3:*", "Resource": "arn:aws:s3:::b/*"}, True),
        ({"Action": ["S3:getobject"], "Resource": ["*"]}, True),
        ({"Action": "*", "Resource": "arn:aws:s3:::b"}, False),
        ({"NotAction": "iam:*", "NotResource": "arn:aws:s3:::c*"}, True),
        ({"NotAction": "s3:*", "Resource": "*"}, False),
        ({"Action": "s3:GetObject", "Resource": "*", "Condition": {"Bool": {"a": "true"}}}, True),
        ({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::[ab]/*"}, False),
    ],
)
def test_a_policy_is_read_in_the_roles_favour(statement, allowed):
    """Wildcards and their negations; a condition may hold."""
    found: list[importrole.Statement] = [{"Effect": "Allow", **statement}]
    assert importrole.allowed(found, "s3:GetObject", "arn:aws:s3:::b/k") is allowed


def test_the_printed_policy_gives_all_that_is_wanted_and_no_other_bucket():
    """In each partition; with a key or without."""
    for kms_key in (None, "arn:aws-cn:kms:cn-north-1:123456789012:key/x"):
        needs = Needs("vmimport", "b", "k", kms_key, "aws-cn")
        given = needs.policy()["Statement"]
        assert importrole.missing(needs, given) == []
        assert importrole.missing(Needs("vmimport", "c", "k", None, "aws-cn"), given)
    assert importrole.trusted(importrole.TRUST)
