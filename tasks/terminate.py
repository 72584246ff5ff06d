"""Instances of an image ended for good, with the key pair that they were started with.

In:    the cloud's own tags
Out:   nothing that stays; the receipts of what ended are removed
Needs: ec2:DescribeInstances, DescribeInstanceAttribute, DescribeKeyPairs, TerminateInstances, DeleteKeyPair
"""

import sys
from collections.abc import Collection
from pathlib import Path

from tasks.cloud import ending, local, obey
from tasks.cloud.clients import Cloud, connect
from tasks.plan import verdict
from tasks.plan.things import Instance, Receipt, Verdict
from tasks.spec import record
from tasks.spec.cloud import CloudSpec
from tasks.spec.part import Part

RECIPE = 1
INSTANCE = {
    "name": "instance",
    "long": "instance",
    "type": str,
    "default": "",
    "help": "one of them alone, by its id",
}


class Order(Part):
    image: str
    cloud: CloudSpec


def body(
    order: Order,
    *,
    home: Path,
    receipt: Path,
    launching: Path,
    known_hosts: Path,
    instance: str,
    yes: bool,
) -> None:
    if order.cloud.kind == "local" and not local.exists(home):
        sys.stdout.write(f"no local cloud was made here: no instance of {order.image} is in it\n")
        return
    cloud = connect(order.cloud, home)
    options = (f"--instance={instance}",) if instance else ()
    verdicts = judged(order, cloud, instance)
    if instance and instance not in {each.thing.id for each in verdicts}:
        sys.stdout.write(f"{instance} is not there: it is gone, or never was\n")
    verdicts += receipts(cloud, verdicts, receipt, [launching, known_hosts])
    obey.carry_out(verdicts, cloud, obey.Wish(f"terminate:{order.image}", options), yes=yes)


def judged(order: Order, cloud: Cloud, instance: str) -> list[Verdict]:
    """Instances, then the key pairs that nobody needs without them."""
    client, wanted = cloud.ec2(), [instance] if instance else []
    held, others = ending.held_instances(client, order.image, wanted)
    verdicts = verdict.instances(wanted, held, of=order.image)
    going = {each.thing for each in verdicts if each.goes}
    kept = [*others, *(each for each in held if each not in going)]
    return [*verdicts, *verdict.key_pairs(ending.held_key_pairs(client, order.image), kept)]


def receipts(
    cloud: Cloud, verdicts: Collection[Verdict], receipt: Path, more: Collection[Path]
) -> list[Verdict]:
    """The launch's, when none of its instances stays; what else speaks of instances, when none of the image stays."""
    stay = {
        each.thing.id
        for each in verdicts
        if isinstance(each.thing, Instance) and not each.goes and each.thing.state != "terminated"
    }
    proof = record.InstanceReceipt.of_place(receipt, cloud.account, cloud.region, cloud.id)
    found = []
    if proof and not stay & {each.id for each in proof.instances}:
        found.append(Verdict("goes", Receipt(receipt), "it speaks of no instance that stays"))
    if not stay:
        because = "no instance of the image stays"
        found += [Verdict("goes", Receipt(path), because) for path in more if path.exists()]
    return found
