"""Log in to an instance, or run a command there. Its host key is the one that it showed on its console.

In:    instance.json; the private SSH key; the cloud, when the instance is not where it was
Out:   known_hosts, and what the command prints
Needs: ssh; ec2:DescribeInstances, DescribeInstanceTypes, GetConsoleOutput
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tasks.cloud import where
from tasks.distro import system
from tasks.kit import files
from tasks.kit.fault import CloudFault, HostFault, ToolFault
from tasks.kit.proc import Command, interact
from tasks.kit.reach import greets
from tasks.plan.login import Login, known_hosts
from tasks.plan.machine import Era
from tasks.spec.cloud import CloudSpec
from tasks.spec.model import Image
from tasks.spec.part import Part
from tasks.spec.record import InstanceReceipt, Launched

BROKEN = 255  # ssh's own word; below it, the exit code is that of what ran over there
COMMAND: dict[str, Any] = {
    "name": "command",
    "long": "command",
    "type": str,
    "default": "",
    "help": "run this there, instead of a shell",
}
INSTANCE = where.INSTANCE


class Order(Part):
    image: str
    cloud: CloudSpec
    user: str
    era: Era

    @classmethod
    def of(cls, image: Image, cloud: CloudSpec) -> Self:
        era = system(image.distro, image.release).era
        return cls(image=image.name, cloud=cloud, user=image.ssh.user, era=era)


def body(
    order: Order,
    *,
    receipt: Path,
    private_key: Path,
    hosts: Path,
    home: Path,
    command: str,
    instance: str,
) -> None:
    if not command and not sys.stdin.isatty():
        raise HostFault(
            "there is no terminal to log in from", hint=f"doit ssh:{order.image} --command='uname -a'"
        )
    known = launched(receipt)
    name = chosen(order, known, home, instance)
    place = reached(order, known.get(name), name, home)
    trust(order, {**known, name: place}, name, hosts)
    run(Login(place, order.user, private_key, hosts, order.era), command)


def launched(receipt: Path) -> dict[str, Launched]:
    """What was launched here. Elsewhere it may have been, too."""
    if not receipt.exists():
        return {}
    return {each.id: each for each in InstanceReceipt.read(receipt).instances}


def chosen(order: Order, known: Mapping[str, Launched], home: Path, instance: str) -> str:
    """The cloud is asked when the receipt does not tell."""
    ids = set(known)
    if not ids or (instance and instance not in ids):
        ids |= set(where.running_ids(order.cloud, order.image, home))
    return where.meant(order.image, ids, instance)


def reached(order: Order, known: Launched | None, name: str, home: Path) -> Launched:
    """Where it was; or, when nothing answers there, where the cloud says that it is now. Its host keys stay those of before."""
    if known and known.address and greets(known.address, known.port):
        return known
    place = where.current(order.cloud, order.image, name, home)
    if known and known.host_keys:
        place = place.model_copy(update={"host_keys": known.host_keys})
    if not greets(place.address, place.port):
        raise CloudFault(
            f"{name} runs, but no SSH server answers at {place.address} port {place.port}",
            hint=f"wait, if it boots still; doit authorize opens its port; doit console:{order.image} shows what it says",
        )
    return place


def trust(order: Order, known: Mapping[str, Launched], name: str, hosts: Path) -> None:
    """known_hosts, with the keys from the consoles. An image that shows none there is believed at first sight, and told so."""
    if known[name].host_keys:
        keys = {each.id: each.host_keys for each in known.values()}
        files.write(hosts, known_hosts(keys))
    elif order.era == "today":
        raise CloudFault(
            f"{name} does not show its host keys on its console: nothing tells that it is the one that answers",
            hint=f"wait, if it boots still; doit console:{order.image} shows what it says",
        )
    elif not hosts.exists() or f"{name} " not in hosts.read_text():
        hosts.parent.mkdir(parents=True, exist_ok=True)
        sys.stdout.write(
            f"{name} shows no host key on its console: that of its first answer is believed now, kept in {hosts},"
            " and asked for from then on\n"
        )


def run(login: Login, command: str) -> None:
    """Raises ToolFault when ssh breaks, or the command fails. How a shell ended is its user's business."""
    sys.stdout.flush()
    status = interact(Command(login.argv(command), f"log in to {login.to.id}"))
    if command and 0 < status < BROKEN:
        raise ToolFault(f"{command!r} ended with {status} on {login.to.id}")
    if status < 0 or status == BROKEN:
        raise ToolFault(
            f"ssh to {login.to.id} ended with {status}: what it said is above",
            where=str(login),
            hint=f"if the host key is another than in {login.known_hosts}, it is another machine that answers",
        )
