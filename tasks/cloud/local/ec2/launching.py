"""RunInstances: all that can be known to be wrong is refused, the rest becomes rows; machines come of them by and by."""

import base64
import binascii
import secrets
from datetime import UTC, datetime
from typing import Any

from tasks.cloud.local.call import Answer, Call, once
from tasks.cloud.local.ec2 import fitting, keypairs, placing, roots, types
from tasks.cloud.local.ec2.images import usable
from tasks.cloud.local.ec2.instances import shown
from tasks.cloud.local.ec2.metadata import chosen
from tasks.cloud.local.ec2.placing import Place
from tasks.cloud.local.ec2.service import SERVICE, combination, invalid, new_id
from tasks.cloud.local.ec2.tagging import tags_asked
from tasks.cloud.local.machines import states
from tasks.cloud.local.machines.states import KIND
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Thing
from tasks.cloud.local.wire.text import iso

USUAL = "m1.small"
LONGEST_DATA = 16384  # bytes of user data, before base64
LONGEST_TOKEN = 64
GONE = ("shutting-down", "terminated")
SEED = 16  # bytes


@SERVICE.operation
def run_instances(call: Call) -> Answer:
    token = call.get("ClientToken")
    if token and (len(token) > LONGEST_TOKEN or not token.isascii()):
        raise invalid(f"The client token may have {LONGEST_TOKEN} ASCII characters")
    conflict = Refusal(
        "IdempotentParameterMismatch",
        "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
    )
    answer = once(call, token, conflict, lambda: _run(call))
    return {**answer, "Instances": [_now(call, each["InstanceId"]) for each in answer["Instances"]]}


def _now(call: Call, identity: str) -> Thing:
    """As it is by now: the request may be one of before."""
    thing = call.things(KIND).get(identity)
    if thing is None or states.name_of(thing) in GONE:
        raise Refusal(
            "IdempotentInstanceTerminated",
            "The request to launch an instance uses the same client token as a previous request for which the instance has"
            " been terminated.",
        )
    return shown(thing)


def _run(call: Call) -> Answer:
    image = usable(call.store, call.account, call.region, _image_id(call))
    kind = types.named(call, call.get("InstanceType", USUAL))
    least, most = _counts(call)
    fitting.fit(image, kind)
    fitting.bootable(image)
    there, mode = placing.place(call), fitting.boot_mode(image, kind)
    common = {
        **_machine(call, image, kind, mode),
        "Tags": tags_asked(call, KIND, others=("volume",)),
        "MetadataOptions": chosen(call, image),
    }
    local = _local(call, image, kind, there)
    volumes = roots.volumes(call, image)
    reservation = new_id("r")
    things = []
    for index in range(fitting.room(call, kind, least, most, there.zone)):
        thing = {
            **common,
            "AmiLaunchIndex": index,
            **_standing(call, there),
            "local": {**local, "reservation": reservation, "seed": secrets.token_hex(SEED)},
        }
        thing = roots.given(call, thing, volumes)
        placing.publish(thing)
        call.things(KIND).add(thing["InstanceId"], thing)
        things.append(shown(thing))
    call.then.append(call.store.work.set)
    return {"ReservationId": reservation, "OwnerId": call.account, "Groups": [], "Instances": things}


def _image_id(call: Call) -> str:
    identity: str | None = call.get("ImageId")
    if not identity:
        raise Refusal("MissingParameter", "The request must contain the parameter ImageId")
    return identity


def _counts(call: Call) -> tuple[int, int]:
    least, most = call.asked["MinCount"], call.asked["MaxCount"]
    if least < 1 or most < 1:
        raise invalid(
            "Value for parameter minCount or maxCount is invalid. Expecting a positive number."
        )
    if least > most:
        raise invalid(
            f"Value ({least}) for parameter minCount is invalid: it is more than maxCount ({most})"
        )
    return least, most


def _machine(call: Call, image: Thing, kind: Thing, mode: str) -> dict[str, Any]:
    """What all of them have."""
    key = call.get("KeyName")
    found = {
        "ImageId": image["ImageId"],
        "State": states.state("pending"),
        "StateTransitionReason": "",
        "InstanceType": kind["InstanceType"],
        "KeyName": keypairs.named(call, key)["KeyName"] if key else None,
        "LaunchTime": launched(call),
        "Architecture": image["Architecture"],
        "VirtualizationType": image["VirtualizationType"],
        "Hypervisor": "xen",
        "RootDeviceName": image["RootDeviceName"],
        "RootDeviceType": image["RootDeviceType"],
        "BootMode": image.get("BootMode"),
        "CurrentInstanceBootMode": mode,
        "EnaSupport": bool(image.get("EnaSupport")),
        "EbsOptimized": False,
        "KernelId": call.get("KernelId", image.get("KernelId")),
        "RamdiskId": call.get("RamdiskId", image.get("RamdiskId")),
        "ClientToken": call.get("ClientToken", ""),
        "Monitoring": {"State": "disabled"},
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "SourceDestCheck": True,
        "PublicDnsName": "",
        "ProductCodes": [],
    }
    return {key: value for key, value in found.items() if value is not None}


def launched(call: Call) -> str:
    """To the second, as EC2 has it."""
    return iso(datetime.fromtimestamp(int(call.now), UTC))


def _local(call: Call, image: Thing, kind: Thing, there: Place) -> dict[str, Any]:
    """What its machine needs to know, and EC2 does not show."""
    key = call.get("KeyName")
    return {
        "owner": call.account,
        "manifest": image["ImageLocation"] if image["RootDeviceType"] != "ebs" else "",
        "memory": fitting.memory_of(kind),
        "cores": kind["VCpuInfo"]["DefaultVCpus"],
        "nitro": kind.get("Hypervisor") == "nitro",
        "public_key": keypairs.named(call, key)["PublicKey"] if key else "",
        "user_data": user_data(call.get("UserData")),
        "protected": bool(call.get("DisableApiTermination", False)),
        "shutdown": shutdown(call.get("InstanceInitiatedShutdownBehavior"), image["RootDeviceType"]),
        "public": there.public,
        "ran": False,
        "resets": 0,
        "force": False,
        "since": call.now,
    }


def shutdown(behaviour: str | None, device: str) -> str:
    """What becomes of it when it switches itself off. Without a volume nothing is left to start again."""
    if behaviour not in (None, "stop", "terminate"):
        raise invalid(
            f"Invalid value '{behaviour}' for instanceInitiatedShutdownBehavior. Valid values: stop, terminate"
        )
    if behaviour == "stop" and device != "ebs":
        raise combination(
            "The attribute instanceInitiatedShutdownBehavior can only be used for EBS-backed images."
        )
    return behaviour or ("stop" if device == "ebs" else "terminate")


def user_data(text: str | None) -> str:
    """In base64, as it came. Raises Refusal."""
    try:
        data = base64.b64decode(text or "", validate=True)
    except (ValueError, binascii.Error):
        raise invalid("Invalid BASE64 encoding of user data.") from None
    if len(data) > LONGEST_DATA:
        raise invalid(f"User data is limited to {LONGEST_DATA} bytes")
    return text or ""


def _standing(call: Call, there: Place) -> dict[str, Any]:
    """What each has of its own."""
    private = placing.address(call, there.subnet)
    domain = "ec2.internal" if call.region == "us-east-1" else f"{call.region}.compute.internal"
    name = f"ip-{private.replace('.', '-')}.{domain}"
    interface = placing.interface(call, there, private, name)
    return {
        "InstanceId": new_id("i"),
        "Placement": {"AvailabilityZone": there.zone, "GroupName": "", "Tenancy": "default"},
        "SubnetId": there.subnet["SubnetId"],
        "VpcId": there.subnet["VpcId"],
        "PrivateIpAddress": private,
        "PrivateDnsName": name,
        "SecurityGroups": interface["Groups"],
        "NetworkInterfaces": [interface],
    }
