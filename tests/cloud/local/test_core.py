"""What holds for every operation of the local cloud: whole or not at all, on the disk before the answer, and never silent."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from tasks.cloud import local
from tasks.cloud.local import door, server
from tasks.cloud.local.call import Asked
from tasks.cloud.local.machines.supervisor import Supervisor
from tasks.kit.fault import CloudFault
from tests.localcloud import LocalCloud, client_at, refused

BUCKET = "doit-ami-core"
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBgtEMNDVjZVUkwhyTYzZa0g6zdPIoQwpCGDBEp5kG5q a"


def buckets(cloud: LocalCloud) -> list[str]:
    return [each["Name"] for each in cloud.client("s3").list_buckets()["Buckets"]]


def test_what_nobody_asked_for_was_asked():
    """A parameter that an operation does not read is told, however deep it lies; in lists as well."""
    asked = Asked(
        {
            "Name": "a",
            "Mapping": [{"Device": "b", "Ebs": {"Size": 1, "Colour": "red"}}],
            "Whole": {"x": 1},
        }
    )
    assert list(asked.unseen()) == ["Name", "Mapping", "Whole"]
    assert asked["Name"] == "a"
    assert [each["Ebs"].get("Size") for each in asked["Mapping"]] == [1]
    assert asked["Whole"].whole() == {"x": 1}
    assert list(asked.unseen()) == ["Mapping.Device", "Mapping.Ebs.Colour"]


def test_an_unknown_operation_or_parameter_is_an_error_that_says_so(localcloud):
    """And nothing is done: what was refused for one word has left no trace."""
    ec2 = localcloud.client("ec2")
    with pytest.raises(ClientError, match="does not know the operation CreateFleet"):
        ec2.create_fleet(
            LaunchTemplateConfigs=[], TargetCapacitySpecification={"TotalTargetCapacity": 1}
        )
    s3 = localcloud.client("s3")
    with pytest.raises(ClientError, match="does not know ObjectLockEnabledForBucket of CreateBucket"):
        s3.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
    assert buckets(localcloud) == []


def test_a_dry_run_does_all_but_the_deed(localcloud):
    """EC2's own answer to what would have succeeded, and its refusal of what would not."""
    ec2 = localcloud.client("ec2")
    assert (
        refused(ec2.import_key_pair, KeyName="a", PublicKeyMaterial=PUBLIC, DryRun=True)
        == "DryRunOperation"
    )
    assert (
        refused(ec2.import_key_pair, KeyName="a", PublicKeyMaterial="x", DryRun=True)
        == "InvalidKey.Format"
    )
    assert ec2.describe_key_pairs()["KeyPairs"] == []


@pytest.mark.parametrize(
    ("kind", "code", "done"),
    [
        ("throttle", "SlowDown", False),
        ("error", "InternalError", False),
        ("error-after", "InternalError", True),
        ("deny", "AccessDenied", False),
    ],
)
def test_faults_come_as_ordered(localcloud, kind, code, done):
    """So often, to this operation, before the deed or after it; then all is well again."""
    localcloud.faults({"operation": "s3:CreateBucket", "kind": kind, "times": 2})
    s3 = localcloud.client("s3")
    assert buckets(localcloud) == []
    assert refused(s3.create_bucket, Bucket=BUCKET) == code
    assert buckets(localcloud) == [BUCKET] * done
    assert refused(s3.create_bucket, Bucket=f"{BUCKET}-2") == code
    s3.create_bucket(Bucket=f"{BUCKET}-3")


@pytest.mark.parametrize(("kind", "done"), [("drop", False), ("drop-after", True)])
def test_a_connection_breaks_off_before_or_after_the_deed(localcloud, kind, done):
    """The client hears nothing."""
    localcloud.faults({"operation": "s3:CreateBucket", "kind": kind})
    with pytest.raises(ConnectionClosedError):
        localcloud.client("s3").create_bucket(Bucket=BUCKET)
    assert buckets(localcloud) == [BUCKET] * done


def test_a_slow_reply_is_slow_for_one_alone(localcloud):
    """Nobody else waits for it."""
    localcloud.faults({"operation": "s3:CreateBucket", "kind": "slow", "seconds": 3.0})
    with pytest.raises(ReadTimeoutError):
        localcloud.client("s3", read_timeout=1).create_bucket(Bucket=BUCKET)
    began = time.monotonic()
    assert buckets(localcloud) == []
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    "order",
    [{"operation": "s3:x", "kind": "flood"}, {"operation": "x", "kind": "drop"}, {"kind": "drop"}, {"colour": "red"}],
)  # fmt: skip
def test_an_order_that_is_none_is_refused(localcloud, order):
    """And those that stood before still stand."""
    with pytest.raises(CloudFault, match=r"fault|kind|write"):
        localcloud.faults(order)


def test_a_fault_is_remembered(localcloud):
    """As everything else: a restart does not take it back."""
    localcloud.faults({"operation": "s3:*", "kind": "deny", "times": None})
    localcloud.restart()
    for _ in range(3):
        assert refused(localcloud.client("s3").list_buckets) == "AccessDenied"


def test_lists_lag_behind_when_told_to(localcloud):
    """What was just made is not shown; the truth knows it: its name is taken."""
    localcloud.settings(lag=60)
    ec2 = localcloud.client("ec2")
    ec2.import_key_pair(KeyName="a", PublicKeyMaterial=PUBLIC)
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert (
        refused(ec2.import_key_pair, KeyName="a", PublicKeyMaterial=PUBLIC) == "InvalidKeyPair.Duplicate"
    )
    localcloud.settings(lag=0)
    assert len(ec2.describe_key_pairs()["KeyPairs"]) == 1


def test_everything_acknowledged_survives_a_kill(tmp_path):
    """SIGKILL in the midst of many writers: what was answered is there, and the cloud is the same cloud."""
    home = tmp_path / "own"
    done: list[str] = []
    try:
        for number in range(3):
            there = local.endpoint(home)
            writers = [
                threading.Thread(target=put_until_it_dies, args=(there.url, f"{number}-{each}", done))
                for each in range(4)
            ]
            for each in writers:
                each.start()
            time.sleep(1.0)
            state = door.read(home)
            assert state
            os.kill(state.pid, signal.SIGKILL)
            for each in writers:
                each.join()
        there = local.endpoint(home)
        s3 = client_at(there.url, "s3", connect_timeout=2)
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        held = {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", [])}
        assert len(done) > 20
        assert {key: held.get(key) for key in done} == dict.fromkeys(done, 3000)
        stored = [each for each in (home / "s3").rglob("*") if each.is_file()]
        assert len(stored) == len(held), "files that nothing knows are gone"
    finally:
        local.stop(home)


def put_until_it_dies(url: str, name: str, done: list[str]) -> None:
    from botocore.exceptions import BotoCoreError

    s3 = client_at(url, "s3", connect_timeout=2)
    try:
        if name.endswith("-0"):
            s3.create_bucket(Bucket=BUCKET)
        for number in range(10_000):
            key = f"{name}/{number}"
            try:
                s3.put_object(Bucket=BUCKET, Key=key, Body=b"abc" * 1000)
            except ClientError:  # the bucket is not there yet
                continue
            done.append(key)
    except BotoCoreError:
        return


def test_memory_does_not_grow_with_what_is_stored(tmp_path):
    """Two hundred megabytes in, and the server is as small as before."""
    home = tmp_path / "own"
    try:
        there = local.endpoint(home)
        s3, state = client_at(there.url, "s3", connect_timeout=2), door.read(home)
        assert state
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="first", Body=bytes(10 << 20))
        before = resident(state.pid)
        for number in range(20):
            s3.put_object(Bucket=BUCKET, Key=f"{number}", Body=os.urandom(10 << 20))
        assert resident(state.pid) - before < 30 << 20
    finally:
        local.stop(home)


def resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) << 10


def broken(_: object) -> None:
    raise RuntimeError("a bug of ours")


def test_a_bug_ends_one_request_and_is_in_the_log(localcloud, monkeypatch, capfd):
    """The next request is answered as ever."""
    monkeypatch.setattr(localcloud.server.dispatcher, "answer", broken)
    assert refused(localcloud.client("s3").list_buckets) == "InternalError"
    monkeypatch.undo()
    assert buckets(localcloud) == []
    assert "a bug of ours" in capfd.readouterr().err


@pytest.mark.parametrize("busy", [False, True])
def test_a_cloud_that_nobody_wants_ends_but_not_under_a_machine(localcloud, monkeypatch, busy):
    """Twelve hours without a request; an instance that somebody left running is a wish, too."""
    monkeypatch.setattr(server, "IDLE", 0.2)
    monkeypatch.setattr(server, "LOOK", 0.02)
    monkeypatch.setattr(Supervisor, "busy", busy)
    localcloud.announce()
    watching = threading.Thread(target=server.watch, args=(localcloud.home, localcloud.server))
    watching.start()
    watching.join(1.0)
    assert watching.is_alive() is busy
    assert door.state_file(localcloud.home).exists() is busy
    door.state_file(localcloud.home).unlink(missing_ok=True)
    watching.join()


def test_control_refuses_what_it_does_not_know(localcloud):
    """A setting that there is not, an address that there is not."""
    localcloud.announce()
    with pytest.raises(CloudFault, match="there is no setting 'colour'"):
        door.control(localcloud.home, door.SETTINGS, {"colour": 1})
    with pytest.raises(CloudFault, match="there is no"):
        door.control(localcloud.home, "/doit-ami/dance", {})


def test_it_is_up_within_a_second(tmp_path):
    """Seen from another process, cold; a loaded machine gets some more."""
    asked = (
        "import time; from pathlib import Path; from tasks.cloud import local; began = time.monotonic();"
        f" local.endpoint(Path({str(tmp_path / 'own')!r})); print(time.monotonic() - began)"
    )
    root = str(Path(__file__).parents[3])
    took = [
        float(
            subprocess.run(
                [sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=root
            ).stdout
        )
        for _ in range(2)
        if local.stop(tmp_path / "own") in (True, False)
    ]
    local.stop(tmp_path / "own")
    assert min(took) < 3
