"""Which instance is meant, and where it is now: asked of the cloud when what is kept here does not tell."""

from collections.abc import Iterable
from pathlib import Path

from tasks.cloud import instances, local
from tasks.cloud.clients import connect
from tasks.kit.fault import CloudFault
from tasks.plan import login
from tasks.plan.login import SSH
from tasks.spec.cloud import CloudSpec
from tasks.spec.record import Launched

INSTANCE = {
    "name": "instance",
    "long": "instance",
    "type": str,
    "default": "",
    "help": "which one, where several run: i-...",
}


def meant(image: str, ids: Iterable[str], instance: str) -> str:
    """The one that was named, or the only one. Raises CloudFault when that is not clear."""
    found = sorted(ids)
    if instance in found or (not instance and len(found) == 1):
        return instance or found[0]
    if not found:
        raise CloudFault(f"no instance of {image} runs", hint=f"doit launch:{image}")
    problem = (
        f"{instance} is no instance of {image} that runs"
        if instance
        else f"{len(found)} instances of {image} run"
    )
    raise CloudFault(problem, evidence=found, hint=f"say which one: --instance={found[0]}")


def running_ids(spec: CloudSpec, image: str, home: Path) -> list[str]:
    """The instances of an image, by the cloud's own tags. To look, no local cloud is made: it would hold nothing."""
    if spec.kind == "local" and not local.exists(home):
        return []
    return [instances.id_of(each) for each in instances.of_image(connect(spec, home).ec2(), image)]


def current(spec: CloudSpec, image: str, name: str, home: Path) -> Launched:
    """An instance as the cloud has it now. Raises CloudFault unless it runs and has an address."""
    again = f"doit launch:{image}"
    client = connect(spec, home).ec2()
    found = instances.by_ids(client, [name])
    state = instances.state_of(found[0]) if found else "gone"
    place = instances.reached(found[0], SSH) if found else None
    if state != "running" or place is None:
        said = f"is {state}" if state != "running" else "has no address"
        raise CloudFault(f"{name} {said}", where=instances.where(client), hint=again)
    latest = instances.live(instances.type_of(client, str(found[0].get("InstanceType", ""))))
    keys = login.shown(instances.console(client, name, latest=latest))
    return Launched(id=name, address=place[0], port=place[1], host_keys=keys)
