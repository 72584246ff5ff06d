"""What becomes of an instance's row. Its keys are those of AWS's own Instance, and `local` for what AWS does not show."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tasks.cloud.local.store import Store, Thing

KIND = "instance"
CODES = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}
BUSY = ("pending", "running", "shutting-down", "stopping")  # those that have, or want, a thread
# What AWS documents of StateReason, by its code.
REASONS = {
    "Client.UserInitiatedShutdown": "User initiated shutdown",
    "Client.InstanceInitiatedShutdown": "Instance initiated shutdown",
}


def name_of(thing: Thing) -> str:
    return str(thing["State"]["Name"])


def state(name: str) -> dict[str, Any]:
    return {"Code": CODES[name], "Name": name}


def turn(thing: Thing, name: str, code: str = "", message: str = "") -> None:
    """Into the state `name`, for this reason; without one, the reason of before stays."""
    thing["State"] = state(name)
    thing["local"]["since"] = time.time()
    if code:
        at = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} GMT"
        thing["StateReason"] = {"Code": code, "Message": f"{code}: {message or REASONS[code]}"}
        thing["StateTransitionReason"] = (
            f"User initiated ({at})" if code == "Client.UserInitiatedShutdown" else code
        )
    if name == "running":
        thing.pop("StateReason", None)
        thing["StateTransitionReason"] = ""
    if name in ("stopped", "terminated"):
        _leave(thing)
    if name == "terminated":
        for key in ("SubnetId", "VpcId", "PrivateIpAddress"):
            thing.pop(key, None)
        thing |= {"PrivateDnsName": "", "NetworkInterfaces": [], "SecurityGroups": []}
        thing["BlockDeviceMappings"] = []


def _leave(thing: Thing) -> None:
    """It has no address any more."""
    thing.pop("PublicIpAddress", None)
    thing["PublicDnsName"] = ""
    for each in thing["NetworkInterfaces"]:
        each.pop("Association", None)


class Gone(Exception):
    """There is no such row any more."""


@dataclass(frozen=True)
class Row:
    """The row of one instance, of whom and where."""

    store: Store
    account: str
    region: str
    identity: str

    def read(self) -> Thing:
        """Raises Gone."""
        with self.store.lock:
            return self._found()

    def _found(self) -> Thing:
        thing = self.store.things(KIND, self.account, self.region).get(self.identity)
        if thing is None:
            raise Gone(self.identity)
        return thing

    @contextmanager
    def change(self) -> Iterator[Thing]:
        """Raises Gone."""
        with self.store.change():
            thing = self._found()
            yield thing
            self.store.things(KIND, self.account, self.region).save(self.identity, thing)


def tags_of(thing: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in thing.get("Tags", ())}
