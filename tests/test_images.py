"""The stage `images`: what a cloud holds of ours, for people and for programs."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.stub import Stubber

from tasks import images
from tasks.cloud import local
from tests import clouds, test_ami_ebs
from tests.test_ami import Shelf, order

ORDER = images.Order(cloud=clouds.LOCAL)


@pytest.fixture
def client(fresh, cloud):
    assert fresh
    return cloud.ec2()


def listed(home, receipts=None, *, as_json=False):
    images.body(ORDER, home=home, receipts=receipts or {}, as_json=as_json)


def test_ours_are_listed_and_nobody_elses(client, home, tmp_path, capsys):
    """By their tag, in a table and as JSON; and which of them is the one that the receipt speaks of."""
    shelf = Shelf(tmp_path, home)
    shelf.upload()
    receipt = shelf.register(order())
    other = client.describe_images(ImageIds=[receipt.id])["Images"][0]
    client.register_image(Name="not-ours", ImageLocation=other["ImageLocation"], Architecture="x86_64")
    receipts = {"debian-12": tmp_path / "ami.json", "never-made": tmp_path / "none.json"}
    listed(home, receipts)
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == [column for column in images.COLUMNS if column]
    words = line.split()
    age = words[5:7]
    assert words == [
        "debian-12",
        receipt.id,
        receipt.name,
        "available",
        "s3",
        *age,
        other["CreationDate"],
        clouds.SHA256[:12],
        "current",
    ]
    assert age[0].isdecimal()
    assert age[1] == "s"
    assert line.index(receipt.id) == head.index("id ")
    listed(home, receipts, as_json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert row == {
        "image": "debian-12",
        "id": receipt.id,
        "name": receipt.name,
        "state": "available",
        "backing": "s3",
        "created": other["CreationDate"],
        "sha256": clouds.SHA256,
        "current": True,
    }
    listed(home)
    assert "current" not in capsys.readouterr().out


def test_nothing_is_said_to_be_nothing(home, fresh, capsys):
    assert fresh
    listed(home)
    listed(home, as_json=True)
    assert capsys.readouterr().out == "no images of ours in local\n[]\n"


def test_to_look_makes_no_local_cloud(tmp_path, capsys):
    """It would hold nothing."""
    listed(tmp_path)
    assert capsys.readouterr().out == "no images of ours in local\n"
    assert local.running(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_all_pages_are_listed_in_order(client, home, monkeypatch):
    """By image, then by age."""

    def image(number: int, name: str, made: str) -> dict[str, Any]:
        tags = [{"Key": "doit-ami:image", "Value": name}]
        return {
            "ImageId": f"ami-{number}",
            "Name": name,
            "State": "pending",
            "CreationDate": made,
            "Tags": tags,
        }

    with Stubber(client) as stub:
        stub.add_response(
            "describe_images",
            {"Images": [image(1, "b", "2026"), image(2, "a", "2027")], "NextToken": "x"},
        )
        stub.add_response("describe_images", {"Images": [image(3, "a", "2026")]})
        monkeypatch.setattr(images, "connect", lambda *_: SimpleNamespace(ec2=lambda: client))
        rows = images.held(ORDER, home, {"ami-2"})
    assert [(row["id"], row["current"]) for row in rows] == [
        ("ami-3", False),
        ("ami-2", True),
        ("ami-1", False),
    ]


@pytest.mark.parametrize(
    ("created", "age"),
    [("2026-11-20T09:30:00.000Z", "3 d"), ("2026-11-23T08:00:00.000Z", "1 h"), ("", ""), ("2026-11-23T08:00:00", ""),
     ("soon", "")],
)  # fmt: skip
def test_ages_are_told_where_ec2_tells_the_time(created, age):
    """And nothing is made up where it does not."""
    assert images.since(created, clouds.MADE) == age


@pytest.mark.parametrize(("root", "backing"), [("ebs", "ebs"), ("instance-store", "s3")])
def test_what_an_image_is_backed_by(root, backing):
    """EBS-backed ones start on the types of today."""
    assert images.row({"ImageId": "ami-1", "RootDeviceType": root}, set())["backing"] == backing


def test_an_ebs_backed_image_is_listed_beside_one_of_2008(fresh, home, shared, client, tmp_path, capsys):
    """Each with what it is backed by."""
    assert fresh
    old = Shelf(tmp_path / "old", home)
    old.upload()
    old.register(order())
    new = test_ami_ebs.Shelf(tmp_path / "new", home, shared)
    receipt = new.register(test_ami_ebs.order())
    listed(home, {"debian-12": tmp_path / "new/ami.json"}, as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [(row["backing"], row["current"]) for row in rows] == [("s3", False), ("ebs", True)]
    assert rows[1]["id"] == receipt.id
