"""The task `instances`: what a cloud holds of ours, for people and for programs."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks import instances
from tests.cloud.test_instances import run
from tests.clouds import LOCAL, elsewhere

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def said(**more: Any) -> Any:
    return {
        "InstanceId": "i-1",
        "ImageId": "ami-1",
        "InstanceType": "m1.small",
        "State": {"Name": "running"},
        "LaunchTime": NOW - timedelta(hours=3, minutes=5),
        "PublicIpAddress": "192.0.2.7",
        "Tags": [{"Key": "doit-ami:image", "Value": "debian-12"}, {"Key": "Name", "Value": "web"}],
        **more,
    }


def test_a_row_has_what_one_looks_for():
    assert instances.row(said(), NOW) == {
        "image": "debian-12",
        "id": "i-1",
        "state": "running",
        "type": "m1.small",
        "address": "192.0.2.7",
        "age": "3 h",
        "name": "web",
        "ami": "ami-1",
        "launched": "2026-11-23T08:55:00Z",
    }


@pytest.mark.parametrize(
    ("more", "address"),
    [
        ({"Tags": [{"Key": "aws:local:tcp/22", "Value": "127.0.0.1:40123"}]}, "127.0.0.1:40123"),
        ({"State": {"Name": "terminated"}}, ""),
        ({"PublicIpAddress": ""}, ""),
    ],
)
def test_the_address_is_where_one_logs_in(more, address):
    """With its port, where that is not 22; what ended has none."""
    assert instances.row(said(**more), NOW)["address"] == address


def test_ours_are_listed_and_nobody_elses(account, moto, tmp_path, capsys):
    """In a table with straight columns, and as JSON."""
    order = instances.Order(cloud=elsewhere(moto))
    (two,) = run(account.ec2(), "rocky-9")
    (one,) = run(account.ec2(), "debian-12")
    account.ec2().run_instances(ImageId="ami-1", MinCount=1, MaxCount=1)
    instances.body(order, home=tmp_path, as_json=False)
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == list(instances.COLUMNS)
    assert (first.split()[:4], second.split()[:2]) == (
        ["debian-12", one, "running", "m1.small"],
        ["rocky-9", two],
    )
    assert first.index(one) == second.index(two) == head.index("id ")
    instances.body(order, home=tmp_path, as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in rows] == [one, two]


def test_nothing_is_said_to_be_nothing_and_no_local_cloud_is_made(tmp_path, capsys):
    order = instances.Order(cloud=LOCAL)
    instances.body(order, home=tmp_path, as_json=False)
    instances.body(order, home=tmp_path, as_json=True)
    assert capsys.readouterr().out == "no instances of ours in local\n[]\n"
    assert list(tmp_path.iterdir()) == []
