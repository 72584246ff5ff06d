"""The instances of ours in a cloud, as a table or as JSON.

In:    the cloud's own tags
Out:   nothing that stays
Needs: ec2:DescribeInstances
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.cloud import instances, local, tags
from tasks.cloud.clients import connect
from tasks.kit.table import table
from tasks.plan.login import SSH
from tasks.plan.verdict import age
from tasks.spec import names
from tasks.spec.cloud import CloudSpec
from tasks.spec.part import Part

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceTypeDef

JSON = {
    "name": "as_json",
    "long": "json",
    "type": bool,
    "default": False,
    "help": "as JSON, for programs",
}
COLUMNS = ("image", "id", "state", "type", "address", "age", "name", "ami")


class Order(Part):
    cloud: CloudSpec


def body(order: Order, *, home: Path, as_json: bool) -> None:
    rows = held(order, home, datetime.now(UTC))
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    elif rows:
        sys.stdout.write(table(COLUMNS, ([row[name] for name in COLUMNS] for row in rows)))
    else:
        sys.stdout.write(f"no instances of ours in {order.cloud.name}\n")


def held(order: Order, home: Path, now: datetime) -> list[dict[str, str]]:
    """What the cloud lists, by image and age. To look, no local cloud is made: it would hold nothing."""
    if order.cloud.kind == "local" and not local.exists(home):
        return []
    found = instances.ours(connect(order.cloud, home).ec2())
    rows = [row(instance, now) for instance in found]
    return sorted(rows, key=lambda one: (one["image"], one["launched"], one["id"]))


def row(instance: "InstanceTypeDef", now: datetime) -> dict[str, str]:
    labels, launched = tags.mapped(instance.get("Tags", ())), instance.get("LaunchTime", now)
    return {
        "image": labels.get(names.IMAGE_TAG, ""),
        "id": instances.id_of(instance),
        "state": instances.state_of(instance),
        "type": str(instance.get("InstanceType", "")),
        "address": address(instance),
        "age": age(now - launched),
        "name": labels.get(names.NAME_TAG, ""),
        "ami": instance.get("ImageId", ""),
        "launched": f"{launched:%Y-%m-%dT%H:%M:%SZ}",
    }


def address(instance: "InstanceTypeDef") -> str:
    """With the port of its SSH server, where that is another than everybody's."""
    place = instances.reached(instance, SSH)
    if place is None or instances.state_of(instance) in instances.DEAD:
        return ""
    host, port = place
    return host if port == SSH else f"{host}:{port}"
