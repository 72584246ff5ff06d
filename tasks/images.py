"""The images of ours that a cloud holds, as a table or as JSON.

In:    the cloud's own tags
Out:   nothing that stays
Needs: ec2:DescribeImages
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.cloud import ec2, local, tags
from tasks.cloud.clients import connect
from tasks.spec import names
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
COLUMNS = ("image", "id", "name", "state", "created", "sha256")
SHORT = 12  # digits of a digest that a person compares


class Order(Part):
    cloud: CloudSpec


def body(order: Order, *, home: Path, as_json: bool) -> None:
    rows = held(order, home)
    sys.stdout.write(json.dumps(rows, indent=2) + "\n" if as_json else table(rows, order.cloud.name))


def held(order: Order, home: Path) -> list[dict[str, str]]:
    """What the cloud lists. To look, no local cloud is started: it would hold nothing."""
    if order.cloud.kind == "local" and local.running(home) is None:
        return []
    found = ec2.ours(connect(order.cloud, home).ec2())
    return sorted(map(row, found), key=lambda one: (one["image"], one["created"], one["id"]))


def row(image: "ImageTypeDef") -> dict[str, str]:
    labels = tags.mapped(image.get("Tags", ()))
    values = (
        labels.get(names.IMAGE_TAG, ""),
        image["ImageId"],
        image.get("Name", ""),
        image.get("State", ""),
        image.get("CreationDate", ""),
        labels.get(names.SHA256_TAG, ""),
    )
    return dict(zip(COLUMNS, values, strict=True))


def table(rows: Iterable[dict[str, str]], cloud: str) -> str:
    lines = [COLUMNS, *((*list(one.values())[:-1], one["sha256"][:SHORT]) for one in rows)]
    if len(lines) == 1:
        return f"no images of ours in {cloud}\n"
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    return "".join("  ".join(map(str.ljust, line, widths)).rstrip() + "\n" for line in lines)
