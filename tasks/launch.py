"""An AMI to instances that run and are reached, once: whatever was started before is found by its content.

In:    ami.json; the public SSH key; a template of user data, if there is one
Out:   instance.json, with addresses and host keys; known_hosts
Needs: ec2:DescribeImages, DescribeInstances, DescribeInstanceTypes, DescribeKeyPairs, DescribeSecurityGroups,
       AuthorizeSecurityGroupIngress, ImportKeyPair, RunInstances, CreateTags, GetConsoleOutput, TerminateInstances
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError

from tasks.cloud import arrival, ec2, fits, groups, instances, keypairs, starting
from tasks.cloud.clients import Cloud, connect
from tasks.cloud.local.lending import lend
from tasks.distro import system
from tasks.kit import files
from tasks.kit.fault import CloudFault, ConfigFault, Fault
from tasks.kit.report import Report
from tasks.plan import launching as plan
from tasks.plan.launching import Source, Wish
from tasks.plan.login import SSH, Login, known_hosts
from tasks.plan.machine import Era
from tasks.spec import record
from tasks.spec.cloud import CloudSpec, Rule
from tasks.spec.launch import Launch
from tasks.spec.model import Image, KeyFrom
from tasks.spec.part import Part
from tasks.spec.record import AmiReceipt, InstanceReceipt

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import ImageTypeDef, InstanceTypeInfoTypeDef

RECIPE = 1
COUNT: dict[str, Any] = {
    "name": "count",
    "long": "count",
    "type": int,
    "default": 0,
    "help": "how many are to run, instead of launch.count",
}
TYPE: dict[str, Any] = {
    "name": "kind",
    "long": "type",
    "type": str,
    "default": "",
    "help": "of instance, instead of launch.type",
}
KEEP: dict[str, Any] = {
    "name": "keep",
    "long": "keep",
    "type": bool,
    "default": False,
    "help": "do not end an instance that never comes up",
}


class Order(Part):
    """All this stage may know; its digest decides whether the stage runs."""

    image: str
    cloud: CloudSpec
    rules: tuple[Rule, ...]
    launch: Launch
    type: str  # of instance
    user: str
    key_from: KeyFrom
    era: Era

    @classmethod
    def of(cls, image: Image, cloud: CloudSpec) -> Self:
        return cls(
            image=image.name,
            cloud=cloud,
            rules=cloud.authorize,
            launch=image.launch,
            type=image.instance_type,
            user=image.ssh.user,
            key_from=image.ssh.key_from,
            era=system(image.distro, image.release).era,
        )


@dataclass(frozen=True)
class Found:
    """What the questions before a launch have brought to light."""

    image: "ImageTypeDef"
    kind: "InstanceTypeInfoTypeDef"
    groups: groups.Groups
    key_name: str
    data: str


def body(
    order: Order,
    *,
    report: Report,
    ami: Path,
    public_key: Path,
    private_key: Path,
    receipt: Path,
    launching: Path,
    hosts: Path,
    home: Path,
    count: int,
    kind: str,
    keep: bool,
    user_data: Path | None = None,
    lender: Path | None = None,
    lender_stamp: Path | None = None,
) -> None:
    """`lender`: an image whose kernel the local cloud lends to this one, which has none."""
    registered = AmiReceipt.read(ami)
    order = ordered(order, count, kind)
    key = "" if order.key_from == "image" else public_key.read_text()
    report.said(f"connecting to {order.cloud.name}")
    cloud = connect(order.cloud, home)
    client = cloud.ec2()
    report.said("asking whether it can be started")
    found = asked(order, registered, cloud, client, key, user_data)
    if lender and lender_stamp and (kernel := found.image.get("KernelId")):
        stamp = record.ImgStamp.read(lender_stamp)
        stamp.file.check(lender)
        lend(home, kernel, lender, stamp.layout)
    signs = prepared(order, client, found, key, report)
    wish = wished(order, registered, found)
    report.said(f"starting {order.launch.count} of {registered.id}")
    held, fresh = starting.obtained(client, wish, order.launch.count, cloud, launching)
    came = arrival.awaited(client, held, signs, report)
    if came.lost:
        fault = failed(order, client, came, signs, fresh=fresh, keep=keep)
        launching.unlink(missing_ok=True)
        raise fault
    proof = proven(cloud, registered, wish, came)
    proof.keep(receipt)
    launching.unlink(missing_ok=True)
    if signs.shows_keys:
        files.write(hosts, known_hosts({each.id: each.host_keys for each in proof.instances}))
    if old := instances.others(client, order.image, wish.digest):
        report.noted(
            f"still there from an earlier launch: {', '.join(old)}; doit terminate:{order.image} --instance={old[0]} ends one"
        )
    announce(order, proof, private_key, hosts, reached=signs.greets)


def ordered(order: Order, count: int, kind: str) -> Order:
    """With what the command line says instead. Raises ConfigFault when that is nothing one can start."""
    said = {"count": count, "type": kind}
    try:
        launch = Launch.model_validate(
            order.launch.model_dump() | {key: value for key, value in said.items() if value}
        )
    except ValidationError as error:
        wrong = [
            f"--{each['loc'][0]}={each['input']}: {each['msg'].removeprefix('Value error, ')}"
            for each in error.errors()
        ]
        raise ConfigFault("; ".join(wrong), hint="--count=2 --type=t3.micro") from error
    return order.model_copy(update={"launch": launch, "type": kind or order.type})


def asked(
    order: Order,
    registered: AmiReceipt,
    cloud: Cloud,
    client: "EC2Client",
    key: str,
    user_data: Path | None,
) -> Found:
    """Raises a fault with all that is in the way. Nothing is changed yet."""
    image, kind, key_name, data = None, None, "", ""
    there: groups.Groups = {}
    launch, faults = order.launch, list[Fault]()
    with gathering(faults):
        image = ec2.by_id(client, registered.id)
        faults += fits.image_faults(image, registered, order.image, cloud)
    with gathering(faults):
        kind = instances.type_of(client, order.type)
        faults += fits.type_faults(image or {}, kind, order.type)
    with gathering(faults):
        there = groups.found(client, (*launch.groups, *(rule.group for rule in order.rules)))
    with gathering(faults):
        key_name = keypairs.checked(client, order.image, key)[0] if key else ""
    with gathering(faults):
        values = {
            "image": order.image,
            "ami": registered.id,
            "cloud": cloud.name,
            "region": cloud.region,
        }
        data = plan.user_data(user_data, user_data.read_text(), values) if user_data else ""
    if faults or image is None or kind is None:
        raise fits.together(faults)
    return Found(image, kind, there, key_name, data)


@contextmanager
def gathering(faults: list[Fault]) -> Iterator[None]:
    try:
        yield
    except Fault as fault:
        faults.append(fault)


def prepared(order: Order, client: "EC2Client", found: Found, key: str, report: Report) -> arrival.Signs:
    """Ports open, the key known to EC2. By what one will see that an instance is up."""
    report.said("opening ports")
    for rule, new in groups.opened(client, order.rules):
        if new:
            report.noted(f"opened: {groups.called(rule)}")
    if key:
        keypairs.imported(client, order.image, key)
    chosen = groups.found(client, order.launch.groups).values()
    signs = arrival.Signs(
        greets=any(groups.opens(group, SSH) for group in chosen),
        shows_keys=order.era == "today",
        latest=instances.live(found.kind),
        timeout=order.launch.timeout,
    )
    if not signs.greets:
        report.noted(
            f"nothing opens port 22 of {', '.join(order.launch.groups)}: nobody will be able to log in;"
            f" write who may into `authorize:` of config/clouds/{order.cloud.name}.yaml"
        )
    if not signs.shows_keys:
        report.noted(
            "an image of its time shows no host keys on its console: there is none to compare with"
        )
    return signs


def wished(order: Order, registered: AmiReceipt, found: Found) -> Wish:
    root = found.image.get("RootDeviceType", "")
    ids = [found.groups[name].get("GroupId", "") for name in order.launch.groups]
    source = Source(order.image, registered.id, root)
    return plan.wished(
        source, order.launch, order.type, groups=ids, key_name=found.key_name, data=found.data
    )


def failed(
    order: Order,
    client: "EC2Client",
    came: arrival.Arrival,
    signs: arrival.Signs,
    *,
    fresh: set[str],
    keep: bool,
) -> CloudFault:
    """Those that were started just now, and never came up, are ended. What ran before is somebody's, and runs on."""
    name = min(came.lost)
    said = arrival.last_words(client, name, latest=signs.latest)
    ended = sorted(set() if keep else fresh & came.lost.keys())
    if ended:
        instances.end(client, ended)
    more = f" (and {len(came.lost) - 1} more)" if len(came.lost) > 1 else ""
    question = (
        "is its port open to the address that you come from? "
        if arrival.UNHEARD in came.lost[name]
        else ""
    )
    kept = (
        f"it runs on: doit console:{order.image} --instance={name}; doit terminate:{order.image} ends it"
    )
    return CloudFault(
        f"{name}{more} did not come up: {came.lost[name]}",
        evidence=said,
        where=instances.where(client),
        hint=question + ("it was ended; --keep lets it run" if ended else kept),
    )


def proven(cloud: Cloud, registered: AmiReceipt, wish: Wish, came: arrival.Arrival) -> InstanceReceipt:
    return InstanceReceipt(
        account=cloud.account,
        region=cloud.region,
        sha256=registered.sha256,
        cloud_id=cloud.id,
        at=record.now(),
        ami=registered.id,
        digest=wish.digest,
        instances=tuple(came.up[name] for name in sorted(came.up)),
    )


def announce(order: Order, proof: InstanceReceipt, key: Path, hosts: Path, *, reached: bool) -> None:
    """What to type next."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")  # the live line
        sys.stderr.flush()
    several = len(proof.instances) > 1
    for each in proof.instances:
        place = f" at {each.address} port {each.port}" if reached else ""
        sys.stdout.write(f"{each.id} is up{place}\n")
        if reached:
            login = Login(each, order.user, key, hosts, order.era)
            which = f" --instance={each.id}" if several else ""
            sys.stdout.write(f"    doit ssh:{order.image}{which}\n    {login}\n")
