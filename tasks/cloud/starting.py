"""Instances started once: a run that is killed, and runs again, ends with as many as were wanted."""

import secrets
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tasks.cloud import instances
from tasks.cloud.clients import Cloud
from tasks.kit.fault import ImageFault
from tasks.plan.launching import Wish
from tasks.spec import record
from tasks.spec.record import LaunchIntent

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import InstanceTypeDef, RunInstancesRequestTypeDef

LAG = timedelta(hours=1)  # after which lists show what was started, and no token of before is needed


def obtained(
    client: "EC2Client", wish: Wish, count: int, cloud: Cloud, launching: Path
) -> tuple[set[str], set[str]]:
    """What runs, or comes up, for this wish: as many as wanted; and those of them that were started just now, which
    nobody uses yet.
    """
    held = {instances.id_of(each): each for each in instances.with_digest(client, wish.digest)}
    intent, new = pending(launching, wish, cloud), dict[str, "InstanceTypeDef"]()
    if intent:
        new = {name: each for name, each in held.items() if each.get("ClientToken") == intent.token}
        if len(held) < count:  # lists lag behind what a killed run has started
            new |= started(client, wish, intent)
    if (lacking := count - len(held | new)) > 0:
        intent = LaunchIntent(
            account=cloud.account,
            region=cloud.region,
            cloud_id=cloud.id,
            digest=wish.digest,
            token=secrets.token_hex(16),
            count=lacking,
            at=record.now(),
        )
        intent.write(launching)
        new |= started(client, wish, intent)
    return {*held, *new}, set(new)


def pending(launching: Path, wish: Wish, cloud: Cloud) -> LaunchIntent | None:
    """What a run that was killed was about to start, if it is what we want."""
    try:
        intent = LaunchIntent.read(launching)
    except ImageFault:
        return None
    there = (intent.account, intent.region, intent.cloud_id, intent.digest)
    same = there == (cloud.account, cloud.region, cloud.id, wish.digest)
    return intent if same and record.now() - intent.at < LAG else None


def started(client: "EC2Client", wish: Wish, intent: LaunchIntent) -> dict[str, "InstanceTypeDef"]:
    request = cast("RunInstancesRequestTypeDef", wish.of(intent.token, intent.count))
    found = instances.start(client, request) or []
    alive = [each for each in found if instances.state_of(each) not in instances.DEAD]
    return {instances.id_of(each): each for each in alive}
