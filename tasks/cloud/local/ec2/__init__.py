"""EC2. Each module knows the operations of one kind of thing; importing it makes them known."""

from tasks.cloud.local.ec2 import (
    attributes,
    deregistration,
    groups,
    images,
    instanceattributes,
    instances,
    keypairs,
    launching,
    lifecycle,
    metadata,
    networks,
    regions,
    registration,
    rules,
    snapshots,
    tagging,
    types,
)
from tasks.cloud.local.ec2.service import SERVICE

__all__ = [
    "SERVICE",
    "attributes",
    "deregistration",
    "groups",
    "images",
    "instanceattributes",
    "instances",
    "keypairs",
    "launching",
    "lifecycle",
    "metadata",
    "networks",
    "regions",
    "registration",
    "rules",
    "snapshots",
    "tagging",
    "types",
]
