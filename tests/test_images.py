"""The stage `images`: what a cloud holds of ours, for people and for programs."""

import json
from typing import Any

import pytest
from botocore.stub import Stubber

from tasks import images
from tasks.cloud import ec2, local
from tests import clouds
from tests.test_ami import Shelf, order

ORDER = images.Order(cloud=clouds.LOCAL)


@pytest.fixture
def client(fresh, cloud):
    assert fresh
    return cloud.ec2()


def test_ours_are_listed_and_nobody_elses(client, home, tmp_path, capsys):
    """By their tag, in a table and as JSON."""
    shelf = Shelf(tmp_path, home)
    shelf.upload()
    receipt = shelf.register(order())
    other = client.describe_images(ImageIds=[receipt.id])["Images"][0]
    client.register_image(Name="not-ours", ImageLocation=other["ImageLocation"])
    images.body(ORDER, home=home, as_json=False)
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == list(images.COLUMNS)
    created = other["CreationDate"]
    assert line.split() == [
        "debian-12",
        receipt.id,
        receipt.name,
        "available",
        created,
        clouds.SHA256[:12],
    ]
    assert line.index(receipt.id) == head.index("id ")
    images.body(ORDER, home=home, as_json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert row == dict(zip(images.COLUMNS, [*line.split()[:-1], clouds.SHA256], strict=True))


def test_nothing_is_said_to_be_nothing(home, fresh, capsys):
    assert fresh
    images.body(ORDER, home=home, as_json=False)
    images.body(ORDER, home=home, as_json=True)
    assert capsys.readouterr().out == "no images of ours in local\n[]\n"


def test_to_look_starts_no_local_cloud(tmp_path, capsys):
    """It would hold nothing."""
    images.body(ORDER, home=tmp_path, as_json=False)
    assert capsys.readouterr().out == "no images of ours in local\n"
    assert local.running(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_all_pages_are_listed_in_order(client):
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
        rows = sorted(map(images.row, ec2.ours(client)), key=lambda row: (row["image"], row["created"]))
    assert [row["id"] for row in rows] == ["ami-3", "ami-2", "ami-1"]
    assert images.table(rows, "aws").count("\n") == 4
