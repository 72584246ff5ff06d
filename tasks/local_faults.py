"""Order faults from the local cloud, or make it slow to show what was done: what happens then, before AWS does it.

In:    what is ordered, on the command line
Out:   a list of what stands, on standard output; the cloud keeps it until it is cleared, or has happened often enough
Needs: nothing
"""

import sys
from pathlib import Path
from typing import Any

from tasks.cloud.local import door
from tasks.cloud.local.faults import KINDS
from tasks.spec.part import Part

ONCE = 1
PARAMS = (
    {"name": "operation", "long": "operation", "type": str, "default": "", "help": "s3:PutObject, ec2:*"},
    {"name": "kind", "long": "kind", "type": str, "default": "error", "help": ", ".join(KINDS)},
    {"name": "times", "long": "times", "type": int, "default": ONCE, "help": "how often; 0: always"},
    {"name": "seconds", "long": "seconds", "type": float, "default": 1.0, "help": "of what is slow"},
    {"name": "clear", "long": "clear", "type": bool, "default": False, "help": "take all faults back"},
    {"name": "lag", "long": "lag", "type": float, "default": -1.0, "help": "seconds until lists show what was made"},
    {"name": "pending", "long": "pending", "type": float, "default": -1.0, "help": "seconds that what was made is pending"},
)  # fmt: skip


class Order(Part):
    """There is nothing to know."""


def body(_: Order, *, home: Path, clear: bool, lag: float, pending: float, **told: Any) -> None:
    """`told`: operation, kind, times and seconds of one more fault. Raises CloudFault when the cloud knows no such thing."""
    standing: Any = door.control(home, door.FAULTS, [] if clear else None)
    if told["operation"]:
        more = {**told, "times": told["times"] or None}
        standing = door.control(home, door.FAULTS, [*standing, more])
    wanted = {name: value for name, value in (("lag", lag), ("pending", pending)) if value >= 0}
    settings: Any = door.control(home, door.SETTINGS, wanted)
    lines = [
        f"{each['operation']}: {each['kind']}, {'always' if each['times'] is None else each['times']}"
        for each in standing
    ]
    sys.stdout.write("\n".join(lines or ["no faults are ordered"]) + "\n")
    sys.stdout.write("".join(f"{name}: {settings[name]:g} s\n" for name in ("lag", "pending")))
