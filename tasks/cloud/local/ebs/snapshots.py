"""What a snapshot is, whoever asks: EBS's direct APIs write and read it, EC2 lists and deletes it.

A thing of the kind `snapshot`, under EC2's names where EC2 has one; beside them `Line`, what all descendants of one snapshot
share; `Timeout`, in minutes; `Touched`, when something last came; `Sealed`, when it was completed; `Users` and `Groups`, who may use it.
"""

import re
import secrets
from typing import Literal

from tasks.cloud.local.call import Call
from tasks.cloud.local.ebs.service import absent, foreign, invalid
from tasks.cloud.local.store import Store, Thing, anybody

KIND = "snapshot"
ID = re.compile(r"snap-[0-9a-f]+")

State = Literal["pending", "completed", "error"]


def new_id() -> str:
    return f"snap-{secrets.token_hex(9)[:17]}"


def state(store: Store, thing: Thing, now: float) -> State:
    """As it is seen. It is computed, so that nothing needs to happen for it to change."""
    if thing["Sealed"] is None:
        return "error" if now > thing["Touched"] + thing["Timeout"] * 60 else "pending"
    return "completed" if now >= thing["Sealed"] + store.setting("pending") else "pending"


def owned(call: Call, identity: str) -> Thing:
    """The caller's own."""
    _formed(identity)
    found = call.things(KIND).get(identity)
    if found is None:
        raise foreign(identity) if anywhere(call, identity) else absent(identity)
    return found


def writable(call: Call, identity: str) -> Thing:
    """The caller's own, as long as it takes blocks."""
    found = owned(call, identity)
    if found["Sealed"] is not None or state(call.store, found, call.now) != "pending":
        raise invalid("INVALID_SNAPSHOT_ID", f"The snapshot '{identity}' is not pending.")
    return found


def readable(call: Call, identity: str) -> Thing:
    """The caller's own, or one that is shared with them by name; those that are public cannot be read."""
    _formed(identity)
    found = anywhere(call, identity)
    if found is None:
        raise absent(identity)
    if call.account not in (found["OwnerId"], *found["Users"]):
        raise foreign(identity)
    if state(call.store, found, call.now) != "completed":
        raise invalid("INVALID_SNAPSHOT_ID", f"The snapshot '{identity}' is not completed.")
    return found


def anywhere(call: Call, identity: str) -> Thing | None:
    """Whoever's it is, in the region of the call."""
    found = anybody(call.store, KIND, identity)
    return found[2] if found and found[1] == call.region else None


def _formed(identity: str) -> None:
    if not ID.fullmatch(identity):
        raise invalid("INVALID_SNAPSHOT_ID", f"'{identity}' is no snapshot ID.")
