"""The images of ours that a cloud holds, as a table or as JSON.

In:    the cloud's own tags; the receipts, for which of them is current
Out:   nothing that stays
Needs: ec2:DescribeImages
"""

import json
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from tasks.cloud import ec2, local, tags
from tasks.cloud.clients import connect
from tasks.kit.fault import ImageFault
from tasks.kit.table import table
from tasks.plan.verdict import age
from tasks.spec import names, record
from tasks.spec.cloud import CloudSpec
from tasks.spec.part import Part

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import ImageTypeDef

RECIPE = 1
JSON = {
    "name": "as_json",
    "long": "json",
    "type": bool,
    "default": False,
    "help": "as JSON, for programs",
}
COLUMNS = ("image", "id", "name", "state", "backing", "age", "created", "sha256", "")
CURRENT = "current"  # what stands in the last column for what ami.json speaks of
SHORT = 12  # digits of a digest that a person compares


class Row(TypedDict):
    image: str
    id: str
    name: str
    state: str
    backing: str  # s3 | ebs
    created: str
    sha256: str
    current: bool


class Order(Part):
    cloud: CloudSpec


def body(order: Order, *, home: Path, receipts: Mapping[str, Path], as_json: bool) -> None:
    """`receipts`: image to its ami.json."""
    rows = held(order, home, set(ids(receipts.values())))
    if as_json:
        text = json.dumps(rows, indent=2) + "\n"
    elif rows:
        text = table(COLUMNS, [line(row, now=record.now()) for row in rows])
    else:
        text = f"no images of ours in {order.cloud.name}\n"
    sys.stdout.write(text)


def ids(receipts: Iterable[Path]) -> Iterable[str]:
    """What they speak of; one that cannot be read marks nothing."""
    for path in receipts:
        try:
            yield record.AmiReceipt.read(path).id
        except ImageFault:
            continue


def held(order: Order, home: Path, current: set[str]) -> list[Row]:
    """What the cloud lists. To look, no local cloud is made: it would hold nothing."""
    if order.cloud.kind == "local" and not local.exists(home):
        return []
    found = ec2.ours(connect(order.cloud, home).ec2())
    rows = (row(image, current) for image in found)
    return sorted(rows, key=lambda one: (one["image"], one["created"], one["id"]))


def row(image: "ImageTypeDef", current: set[str]) -> Row:
    labels = tags.mapped(image.get("Tags", ()))
    return Row(
        image=labels.get(names.IMAGE_TAG, ""),
        id=image["ImageId"],
        name=image.get("Name", ""),
        state=image.get("State", ""),
        backing="s3" if image.get("RootDeviceType") == "instance-store" else "ebs",
        created=image.get("CreationDate", ""),
        sha256=labels.get(names.SHA256_TAG, ""),
        current=image["ImageId"] in current,
    )


def line(row: Row, *, now: datetime) -> tuple[str, ...]:
    return (
        row["image"],
        row["id"],
        row["name"],
        row["state"],
        row["backing"],
        since(row["created"], now),
        row["created"],
        row["sha256"][:SHORT],
        CURRENT if row["current"] else "",
    )


def since(created: str, now: datetime) -> str:
    """The age of what was created then; nothing when EC2 says nothing."""
    try:
        return age(now - datetime.fromisoformat(created))
    except (ValueError, TypeError):
        return ""
