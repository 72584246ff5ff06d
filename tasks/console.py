"""Show what an instance has written on its serial console.

In:    the cloud's own tags
Out:   nothing that stays
Needs: ec2:DescribeInstances, DescribeInstanceTypes, GetConsoleOutput
"""

import sys
from pathlib import Path

from tasks.cloud import instances, where
from tasks.cloud.clients import connect
from tasks.kit.qemu import CONTROL
from tasks.spec.cloud import CloudSpec
from tasks.spec.part import Part

INSTANCE = where.INSTANCE


class Order(Part):
    image: str
    cloud: CloudSpec


def body(order: Order, *, home: Path, instance: str) -> None:
    ids = where.running_ids(order.cloud, order.image, home)
    name = where.meant(order.image, ids, instance)
    client = connect(order.cloud, home).ec2()
    (found,) = instances.by_ids(client, [name])
    latest = instances.live(instances.type_of(client, str(found.get("InstanceType", ""))))
    said = CONTROL.sub("", instances.console(client, name, latest=latest))
    sys.stdout.write(f"{said.rstrip()}\n" if said else f"{name}: EC2 has nothing of its console yet\n")
