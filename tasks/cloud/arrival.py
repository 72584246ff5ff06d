"""Instances on their way up: looked at until each is reached, or until it is clear that it will not be."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.cloud import instances
from tasks.kit.fault import CloudFault
from tasks.kit.reach import greets
from tasks.kit.report import Report
from tasks.plan import login
from tasks.plan.login import SSH
from tasks.spec.record import Launched

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import InstanceTypeDef

ENDED = (*instances.DEAD, "stopping", "stopped")
LAST = 25  # console lines that a fault quotes
UNHEARD = "no SSH server answers"
UNSHOWN = 60.0  # seconds until what was started shows in lists: they lag behind the deed


@dataclass(frozen=True)
class Signs:
    """By what one sees that an instance is up."""

    greets: bool  # its SSH server answers; unless no group lets anybody in
    shows_keys: bool  # its console shows its host keys; images of System V's era never do
    latest: bool  # its console can be read as it is written
    timeout: float  # seconds


@dataclass
class Arrival:
    """Those that are up, and why the others are not."""

    up: dict[str, Launched]
    lost: dict[str, str]


def awaited(
    ec2: "EC2Client",
    ids: Iterable[str],
    signs: Signs,
    report: Report,
    *,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Arrival:
    """Every instance, up or lost: ended by itself, or not reached in time."""
    began, wanted, coming = clock(), set(ids), Arrival({}, {})
    while True:
        for name, found in _found(ec2, wanted - coming.up.keys()).items():
            _look(ec2, name, found, signs, coming, late=clock() - began > UNSHOWN)
        waiting = sorted(wanted - coming.up.keys())
        ended = [name for name in waiting if coming.lost[name].startswith("it is ended")]
        if len(ended) == len(waiting):
            return coming
        if clock() - began > signs.timeout:
            for name in set(waiting) - set(ended):
                coming.lost[name] = f"after {signs.timeout:.0f} s {coming.lost[name]}"
            return coming
        report.said(f"{waiting[0]}: {coming.lost[waiting[0]]}")
        pause(instances.PAUSE)


def _found(ec2: "EC2Client", ids: set[str]) -> "dict[str, InstanceTypeDef | None]":
    found = {instances.id_of(each): each for each in instances.by_ids(ec2, ids)} if ids else {}
    return {name: found.get(name) for name in sorted(ids)}


def _look(
    ec2: "EC2Client",
    name: str,
    found: "InstanceTypeDef | None",
    signs: Signs,
    coming: Arrival,
    *,
    late: bool,
) -> None:
    """Up, or why not yet."""
    if found is None:
        coming.lost[name] = "it is ended, and forgotten" if late else "EC2 does not show it yet"
    elif (state := instances.state_of(found)) in ENDED:
        why = found.get("StateReason", {}).get("Message", "EC2 gives no reason")
        coming.lost[name] = f"it is ended ({state}): {why}"
    elif state != "running":
        coming.lost[name] = f"it is {state}"
    else:
        seen = reached(ec2, found, signs)
        if isinstance(seen, Launched):
            coming.up[name] = seen
            coming.lost.pop(name, None)
        else:
            coming.lost[name] = seen


def reached(ec2: "EC2Client", instance: "InstanceTypeDef", signs: Signs) -> Launched | str:
    """A running instance, reached; or what is lacking."""
    name, place = instances.id_of(instance), instances.reached(instance, SSH)
    if place is None and signs.greets:
        return "it is running, and has no address yet"
    host, port = place or ("", SSH)
    if signs.greets and not greets(host, port):
        return f"it is running, but {UNHEARD} at {host} port {port}"
    said = instances.console(ec2, name, latest=signs.latest) if signs.shows_keys else ""
    keys = login.shown(said)
    if signs.shows_keys and not keys:
        return "it is running, but its console does not show its host keys"
    return Launched(id=name, address=host, port=port, host_keys=keys)


def last_words(ec2: "EC2Client", name: str, *, latest: bool) -> list[str]:
    """The end of its console; or why there is none, which must not hide what is told with it."""
    try:
        lines = instances.console(ec2, name, latest=latest).splitlines()[-LAST:]
    except CloudFault as fault:
        lines = [fault.problem]
    return [f"{name}: {line.rstrip()}" for line in lines] or [f"{name}: nothing is on its console"]
