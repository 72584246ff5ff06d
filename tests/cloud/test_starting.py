"""Started once: killed at any instant and run again, there are as many as were wanted."""

from datetime import timedelta
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from tasks.cloud import instances, starting
from tasks.cloud.clients import Cloud
from tasks.kit.fault import CloudFault
from tasks.plan import launching
from tasks.plan.launching import Source
from tasks.spec.launch import Launch
from tasks.spec.record import LaunchIntent, now

WISH = launching.wished(
    Source("debian-12", "ami-1", "ebs"), Launch(), "m1.small", groups=["sg-1"], key_name="", data=""
)


class Killed(BaseException):
    """What no one catches."""


@pytest.fixture
def here(account):
    """moto takes no group that it did not make."""
    group = account.ec2().describe_security_groups(GroupNames=["default"])["SecurityGroups"][0][
        "GroupId"
    ]
    wish = launching.wished(
        Source("debian-12", "ami-1", "instance-store"),
        Launch(),
        "m1.small",
        groups=[group],
        key_name="",
        data="",
    )
    return account.ec2(), wish, account


def alive(client) -> set[str]:
    return {instances.id_of(each) for each in instances.of_image(client, "debian-12")}


def test_as_many_as_wanted_are_started_and_found_again(here, tmp_path):
    """Those of just now are told from those of before."""
    client, wish, cloud = here
    held, fresh = starting.obtained(client, wish, 2, cloud, tmp_path / "launching.json")
    assert held == fresh == alive(client)
    assert len(held) == 2
    (tmp_path / "launching.json").unlink()
    again, fresh = starting.obtained(client, wish, 2, cloud, tmp_path / "launching.json")
    assert (again, fresh) == (held, set())
    assert not (tmp_path / "launching.json").exists()


def test_more_are_added_and_none_taken_away(here, tmp_path):
    """`--count=3` with two at work starts one."""
    client, wish, cloud = here
    two, _ = starting.obtained(client, wish, 2, cloud, tmp_path / "launching.json")
    (tmp_path / "launching.json").unlink()
    three, fresh = starting.obtained(client, wish, 3, cloud, tmp_path / "launching.json")
    assert three == two | fresh
    assert len(fresh) == 1
    (tmp_path / "launching.json").unlink()
    assert starting.obtained(client, wish, 1, cloud, tmp_path / "launching.json")[0] == three


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_leaves_one_set(here, tmp_path, monkeypatch, when):
    """Before EC2 was asked, or after it did and before we heard."""
    client, wish, cloud = here
    real = client.run_instances

    def killed(**request):
        if when == "after":
            real(**request)
        raise Killed

    monkeypatch.setattr(client, "run_instances", killed)
    with pytest.raises(Killed):
        starting.obtained(client, wish, 2, cloud, tmp_path / "launching.json")
    monkeypatch.setattr(client, "run_instances", real)
    held, _ = starting.obtained(client, wish, 2, cloud, tmp_path / "launching.json")
    assert held == alive(client)
    assert len(held) == 2


def stubbed(client: Any, *replies: tuple[str, Any, Any]) -> Stubber:
    stub = Stubber(client)
    for operation, reply, asked in replies:
        if isinstance(reply, str):
            stub.add_client_error(operation, reply)
        else:
            stub.add_response(operation, reply, asked)
    return stub


def intent(cloud: Cloud, **more: Any) -> LaunchIntent:
    told = {
        "account": cloud.account, "region": cloud.region, "cloud_id": cloud.id,
        "digest": WISH.digest, "token": "before", "count": 2, "at": now(),
    }  # fmt: skip
    return LaunchIntent(**{**told, **more})


LISTS: tuple[str, Any, Any] = ("describe_instances", {"Reservations": []}, None)


def started(*ids: str, state: str = "pending") -> Any:
    return {"Instances": [{"InstanceId": each, "State": {"Name": state}} for each in ids]}


def test_lists_that_lag_behind_are_met_with_the_same_token(account, tmp_path):
    """EC2 answers with the instances of before, and starts none."""
    intent(account).write(tmp_path / "launching.json")
    client = account.ec2()
    with stubbed(client, LISTS, ("run_instances", started("i-1", "i-2"), WISH.of("before", 2))) as stub:
        held, fresh = starting.obtained(client, WISH, 2, account, tmp_path / "launching.json")
        stub.assert_no_pending_responses()
    assert held == fresh == {"i-1", "i-2"}


@pytest.mark.parametrize(
    "answer",
    ["IdempotentInstanceTerminated", started("i-1", "i-2", state="terminated")],
    ids=["told", "seen"],
)
def test_what_was_ended_in_between_is_started_anew(account, tmp_path, answer):
    """With a token of its own, kept before EC2 is asked."""
    intent(account).write(tmp_path / "launching.json")
    client = account.ec2()
    again = ("run_instances", answer, None)
    new = ("run_instances", started("i-3", "i-4"), {**WISH.of("x", 2), "ClientToken": ANY})
    with stubbed(client, LISTS, again, new) as stub:
        held, _ = starting.obtained(client, WISH, 2, account, tmp_path / "launching.json")
        stub.assert_no_pending_responses()
    assert held == {"i-3", "i-4"}
    assert LaunchIntent.read(tmp_path / "launching.json").token != "before"


@pytest.mark.parametrize(
    "change",
    [{"digest": "other"}, {"account": "2" * 12}, {"region": "x"}, {"at": now() - timedelta(hours=2)}],
)
def test_an_intent_of_another_launch_is_no_intent_of_ours(account, tmp_path, change):
    """Its token would be refused, or mean something else."""
    intent(account, **change).write(tmp_path / "launching.json")
    client = account.ec2()
    new = ("run_instances", started("i-3", "i-4"), {**WISH.of("x", 2), "ClientToken": ANY})
    with stubbed(client, LISTS, new) as stub:
        assert starting.obtained(client, WISH, 2, account, tmp_path / "launching.json")[0] == {
            "i-3",
            "i-4",
        }
        stub.assert_no_pending_responses()
    assert LaunchIntent.read(tmp_path / "launching.json").token != "before"


def test_a_killed_runs_instances_are_told_from_others_by_their_token(account, tmp_path):
    """Nobody uses them yet: should they not come up, they may be ended."""
    intent(account).write(tmp_path / "launching.json")
    client = account.ec2()
    found = {
        "Reservations": [
            {
                "Instances": [
                    {"InstanceId": "i-1", "ClientToken": "before"},
                    {"InstanceId": "i-2", "ClientToken": "older"},
                ]
            }
        ]
    }
    with stubbed(client, ("describe_instances", found, None)):
        held, fresh = starting.obtained(client, WISH, 2, account, tmp_path / "launching.json")
    assert (held, fresh) == ({"i-1", "i-2"}, {"i-1"})


def test_a_refusal_keeps_the_intent(account, tmp_path):
    """The next run asks with the same token: whether the answer was lost or a no makes no difference to it."""
    client = account.ec2()
    with (
        stubbed(client, LISTS, ("run_instances", "InsufficientInstanceCapacity", None)),
        pytest.raises(CloudFault, match="has none of that instance type left"),
    ):
        starting.obtained(client, WISH, 2, account, tmp_path / "launching.json")
    assert LaunchIntent.read(tmp_path / "launching.json").count == 2
