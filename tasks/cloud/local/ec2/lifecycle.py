"""What instances are told to do: end, stop, start, reboot. The row changes at once, the machine follows.

Several at a time are told all or none.
"""

from collections.abc import Callable
from typing import Any

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.ec2 import fitting, placing
from tasks.cloud.local.ec2.instances import found
from tasks.cloud.local.ec2.launching import launched
from tasks.cloud.local.ec2.service import SERVICE
from tasks.cloud.local.machines.states import KIND, name_of, state, turn
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Thing

USER = "Client.UserInitiatedShutdown"
ENDED = ("shutting-down", "terminated")


def _changed(call: Call, judge: Callable[[Thing], bool], deed: Callable[[Thing], None]) -> list[Any]:
    """`judge`: whether there is anything to do about it; it raises Refusal. Previous and current states."""
    things = [(thing, judge(thing)) for thing in found(call, call.asked["InstanceIds"])]
    changes = []
    for thing, wanted in things:
        before = thing["State"]
        if wanted:
            deed(thing)
            call.things(KIND).save(thing["InstanceId"], thing)
        changes.append(
            {"InstanceId": thing["InstanceId"], "PreviousState": before, "CurrentState": thing["State"]}
        )
    call.then.append(call.store.work.set)
    return changes


@SERVICE.operation
def terminate_instances(call: Call) -> Answer:
    """Those that ended before are no mistake. That the machine is asked first, or not, makes no difference to what is left of it."""
    call.get("Force", False)
    call.get("SkipOsShutdown", False)
    return {
        "TerminatingInstances": _changed(
            call, _may_end, lambda thing: turn(thing, "shutting-down", USER)
        )
    }


def _may_end(thing: Thing) -> bool:
    if thing["local"]["protected"]:
        raise Refusal(
            "OperationNotPermitted",
            f"The instance '{thing['InstanceId']}' may not be terminated. Modify its 'disableApiTermination' instance"
            " attribute and try again.",
        )
    return name_of(thing) not in ENDED


@SERVICE.operation
def stop_instances(call: Call) -> Answer:
    """`Force`, `SkipOsShutdown`: by the plug, not by the button."""
    force = bool(call.get("Force", False) or call.get("SkipOsShutdown", False))
    if call.get("Hibernate", False):
        raise Refusal(
            "UnsupportedHibernationConfiguration", "The instances are not configured for hibernation"
        )

    def stop(thing: Thing) -> None:
        turn(thing, "stopping", USER)
        thing["local"]["force"] = force

    return {"StoppingInstances": _changed(call, _may_stop, stop)}


def _may_stop(thing: Thing) -> bool:
    identity, name = thing["InstanceId"], name_of(thing)
    if thing["RootDeviceType"] != "ebs":
        raise Refusal(
            "UnsupportedOperation",
            f"The instance '{identity}' does not have an 'ebs' root device type and cannot be stopped.",
        )
    if name in (*ENDED, "pending"):
        raise _wrong_state(identity, "stopped")
    return name == "running"


def _wrong_state(identity: str, what: str) -> Refusal:
    return Refusal(
        "IncorrectInstanceState",
        f"The instance '{identity}' is not in a state from which it can be {what}.",
    )


@SERVICE.operation
def start_instances(call: Call) -> Answer:
    """On the same machine, with the same disk and private address."""

    def start(thing: Thing) -> None:
        local = thing["local"]
        fitting.afford(
            call,
            thing["InstanceType"],
            local["cores"],
            local["memory"],
            thing["Placement"]["AvailabilityZone"],
        )
        turn(thing, "pending")
        thing["LaunchTime"] = launched(call)
        placing.publish(thing)

    return {"StartingInstances": _changed(call, _may_start, start)}


def _may_start(thing: Thing) -> bool:
    name = name_of(thing)
    if name in (*ENDED, "stopping"):
        raise _wrong_state(thing["InstanceId"], "started")
    return name == "stopped"


@SERVICE.operation
def reboot_instances(call: Call) -> Answer:
    def reboot(thing: Thing) -> None:
        thing["local"]["resets"] += 1

    _changed(call, _may_reboot, reboot)
    return {}


def _may_reboot(thing: Thing) -> bool:
    if thing["State"] != state("running"):
        raise _wrong_state(thing["InstanceId"], "rebooted")
    return True
