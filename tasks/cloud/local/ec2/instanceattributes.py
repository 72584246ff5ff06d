"""What of an instance can be asked for apart, and what of it can be changed."""

from collections.abc import Callable, Mapping
from typing import Any

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.ec2 import placing
from tasks.cloud.local.ec2.instances import found
from tasks.cloud.local.ec2.launching import shutdown
from tasks.cloud.local.ec2.service import SERVICE, invalid
from tasks.cloud.local.machines.states import KIND
from tasks.cloud.local.refusal import Refusal, unknown
from tasks.cloud.local.store import Thing


def _value(read: Callable[[Thing], Any]) -> Callable[[Thing], Any]:
    return lambda thing: {"Value": value} if (value := read(thing)) not in (None, "") else {}


# By the attribute's name: the member of the answer, and what it holds.
KNOWN: Mapping[str, tuple[str, Callable[[Thing], Any]]] = {
    "blockDeviceMapping": ("BlockDeviceMappings", lambda thing: thing["BlockDeviceMappings"]),
    "disableApiTermination": (
        "DisableApiTermination",
        _value(lambda thing: thing["local"]["protected"]),
    ),
    "ebsOptimized": ("EbsOptimized", _value(lambda thing: thing["EbsOptimized"])),
    "enaSupport": ("EnaSupport", _value(lambda thing: thing["EnaSupport"])),
    "groupSet": ("Groups", lambda thing: thing["SecurityGroups"]),
    "instanceInitiatedShutdownBehavior": (
        "InstanceInitiatedShutdownBehavior",
        _value(lambda thing: thing["local"]["shutdown"]),
    ),
    "instanceType": ("InstanceType", _value(lambda thing: thing["InstanceType"])),
    "kernel": ("KernelId", _value(lambda thing: thing.get("KernelId"))),
    "productCodes": ("ProductCodes", lambda thing: thing["ProductCodes"]),
    "ramdisk": ("RamdiskId", _value(lambda thing: thing.get("RamdiskId"))),
    "rootDeviceName": ("RootDeviceName", _value(lambda thing: thing["RootDeviceName"])),
    "sourceDestCheck": ("SourceDestCheck", _value(lambda thing: thing["SourceDestCheck"])),
    "userData": ("UserData", _value(lambda thing: thing["local"]["user_data"])),
}


@SERVICE.operation
def describe_instance_attribute(call: Call) -> Answer:
    (thing,) = found(call, [call.asked["InstanceId"]])
    attribute = call.asked["Attribute"]
    if attribute not in KNOWN:
        raise unknown(f"the attribute {attribute} of instances", "ec2")
    member, read = KNOWN[attribute]
    return {"InstanceId": thing["InstanceId"], member: read(thing)}


@SERVICE.operation
def modify_instance_attribute(call: Call) -> Answer:
    """One at a time, each in its own form, or by Attribute and Value."""
    (thing,) = found(call, [call.asked["InstanceId"]])
    said = [key for key in call.asked if key not in ("InstanceId", "DryRun", "Value")]
    if len(said) != 1:
        raise Refusal(
            "InvalidParameterCombination", "Fields for exactly one attribute must be specified"
        )
    if said == ["Attribute"]:
        name, value = call.asked["Attribute"], call.get("Value", "")
        changes: dict[str, Callable[[Thing, str], None]] = {
            "disableApiTermination": _protect_as,
            "instanceInitiatedShutdownBehavior": _behave,
        }
        if name not in changes:
            raise unknown(f"a change of the attribute {name}", "ec2")
        changes[name](thing, value)
    else:
        _change(call, thing)
    call.things(KIND).save(thing["InstanceId"], thing)
    call.then.append(call.store.work.set)
    return {}


def _change(call: Call, thing: Thing) -> None:
    """What is not read here is refused by who reads the rest."""
    if protect := call.get("DisableApiTermination"):
        thing["local"]["protected"] = bool(protect.get("Value", False))
    if behave := call.get("InstanceInitiatedShutdownBehavior"):
        _behave(thing, behave.get("Value", ""))
    if groups := call.get("Groups"):
        placing.regroup(call, thing, groups)


def _protect_as(thing: Thing, value: str) -> None:
    if value.lower() not in ("true", "false"):
        raise invalid(f"Value ({value}) for parameter value is invalid: it is neither true nor false")
    thing["local"]["protected"] = value.lower() == "true"


def _behave(thing: Thing, value: str) -> None:
    thing["local"]["shutdown"] = shutdown(value, thing["RootDeviceType"])
