"""Instances: listed, with their states, and what is on their consoles. launching.py makes them, lifecycle.py changes what they do.

An instance is held as EC2 describes it, and under `local` what EC2 does not show.
"""

import base64
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.ec2.filters import Table, matching, plain, within
from tasks.cloud.local.ec2.service import SERVICE, combination, paged
from tasks.cloud.local.machines.den import Den
from tasks.cloud.local.machines.states import KIND, name_of
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Thing

ID = re.compile(r"i-([0-9a-f]{8}|[0-9a-f]{17})")
PROMPT = re.compile(rb"\blogin: *\Z|\blogin: ")
SETTLED = 60.0  # seconds of running after which it is taken to be well, whatever its console says


def _state(key: str) -> Any:
    return lambda thing: thing["State"][key]


def _part(member: str, key: str) -> Any:
    return lambda thing: thing.get(member, {}).get(key)


TABLE: Table = {
    **plain(
        "architecture", "boot-mode", "client-token", "current-instance-boot-mode", "ena-support", "hypervisor",
        "image-id", "instance-id", "instance-type", "kernel-id", "key-name", "launch-time", "platform-details",
        "private-dns-name", "private-ip-address", "ramdisk-id", "root-device-name", "root-device-type",
        "source-dest-check", "subnet-id", "usage-operation", "virtualization-type", "vpc-id",
    ),
    "availability-zone": _part("Placement", "AvailabilityZone"),
    "block-device-mapping.attach-time": within("BlockDeviceMappings", "Ebs", "AttachTime"),
    "block-device-mapping.delete-on-termination": within("BlockDeviceMappings", "Ebs", "DeleteOnTermination"),
    "block-device-mapping.device-name": within("BlockDeviceMappings", "DeviceName"),
    "block-device-mapping.status": within("BlockDeviceMappings", "Ebs", "Status"),
    "block-device-mapping.volume-id": within("BlockDeviceMappings", "Ebs", "VolumeId"),
    "dns-name": lambda thing: thing["PublicDnsName"],
    "instance-state-code": _state("Code"),
    "instance-state-name": _state("Name"),
    "instance.group-id": within("SecurityGroups", "GroupId"),
    "instance.group-name": within("SecurityGroups", "GroupName"),
    "ip-address": lambda thing: thing.get("PublicIpAddress"),
    "launch-index": lambda thing: thing["AmiLaunchIndex"],
    "metadata-options.http-endpoint": _part("MetadataOptions", "HttpEndpoint"),
    "metadata-options.http-put-response-hop-limit": _part("MetadataOptions", "HttpPutResponseHopLimit"),
    "metadata-options.http-tokens": _part("MetadataOptions", "HttpTokens"),
    "metadata-options.instance-metadata-tags": _part("MetadataOptions", "InstanceMetadataTags"),
    "monitoring-state": _part("Monitoring", "State"),
    "network-interface.mac-address": within("NetworkInterfaces", "MacAddress"),
    "network-interface.network-interface-id": within("NetworkInterfaces", "NetworkInterfaceId"),
    "owner-id": lambda thing: thing["local"]["owner"],
    "reason": lambda thing: thing["StateTransitionReason"],
    "reservation-id": lambda thing: thing["local"]["reservation"],
    "state-reason-code": _part("StateReason", "Code"),
    "state-reason-message": _part("StateReason", "Message"),
    "tenancy": _part("Placement", "Tenancy"),
    # No instance here has any of these.
    **dict.fromkeys(
        ("group-id", "group-name", "host-id", "instance-lifecycle", "outpost-arn", "platform", "product-code",
         "requester-id", "spot-instance-request-id"),
        lambda _: None,
    ),
}  # fmt: skip
STATUSES: Table = {
    "availability-zone": lambda row: row["AvailabilityZone"],
    "instance-state-code": lambda row: row["InstanceState"]["Code"],
    "instance-state-name": lambda row: row["InstanceState"]["Name"],
    "instance-status.reachability": lambda row: _detail(row["InstanceStatus"]),
    "instance-status.status": lambda row: row["InstanceStatus"]["Status"],
    "system-status.reachability": lambda row: _detail(row["SystemStatus"]),
    "system-status.status": lambda row: row["SystemStatus"]["Status"],
}


def shown(thing: Thing) -> Thing:
    """As EC2 tells of it."""
    return {key: value for key, value in thing.items() if key != "local"}


def found(call: Call, identities: Sequence[str]) -> list[Thing]:
    """The account's own, for a change of them: each once. Raises Refusal with all that are not there."""
    return _those(call.things(KIND).all(), identities)


def _those(things: Sequence[Thing], identities: Sequence[str]) -> list[Thing]:
    for identity in identities:
        if not ID.fullmatch(identity):
            raise Refusal("InvalidInstanceID.Malformed", f'Invalid id: "{identity}"')
    held = {thing["InstanceId"]: thing for thing in things}
    missing = [identity for identity in dict.fromkeys(identities) if identity not in held]
    if missing:
        ids, verb = ("ID", "does") if len(missing) == 1 else ("IDs", "do")
        raise Refusal(
            "InvalidInstanceID.NotFound", f"The instance {ids} '{', '.join(missing)}' {verb} not exist"
        )
    return [held[identity] for identity in dict.fromkeys(identities)]


def _wanted(call: Call) -> list[Thing]:
    identities = call.get("InstanceIds", ())
    if identities and call.get("MaxResults") is not None:
        raise combination("The parameter instancesSet cannot be used with the parameter maxResults")
    listed = call.things(KIND).listed()
    return _those(listed, identities) if identities else listed


@SERVICE.operation
def describe_instances(call: Call) -> Answer:
    page = paged(call, matching(call, _wanted(call), TABLE), "Reservations")
    reservations: dict[str, Thing] = {}
    for thing in page["Reservations"]:
        local = thing["local"]
        reservation = reservations.setdefault(
            local["reservation"],
            {
                "ReservationId": local["reservation"],
                "OwnerId": local["owner"],
                "Groups": [],
                "Instances": [],
            },
        )
        reservation["Instances"].append(shown(thing))
    return {**page, "Reservations": list(reservations.values())}


@SERVICE.operation
def describe_instance_status(call: Call) -> Answer:
    every = call.get("IncludeAllInstances", False)
    things = [thing for thing in _wanted(call) if every or name_of(thing) == "running"]
    rows = matching(call, [_status(call, thing) for thing in things], STATUSES)
    return paged(
        call, [{key: row[key] for key in row if key != "Tags"} for row in rows], "InstanceStatuses"
    )


def _status(call: Call, thing: Thing) -> Thing:
    well = _checked(_health(call, thing))
    return {
        "InstanceId": thing["InstanceId"],
        "AvailabilityZone": thing["Placement"]["AvailabilityZone"],
        "InstanceState": thing["State"],
        "InstanceStatus": well,
        "SystemStatus": well,
        "Tags": thing["Tags"],
    }


def _health(call: Call, thing: Thing) -> str:
    if name_of(thing) != "running":
        return "not-applicable"
    settled = call.now > thing["local"]["since"] + SETTLED
    said = settled or PROMPT.search(Den.of(call.store.home, thing["InstanceId"]).said())
    return "ok" if said else "initializing"


def _checked(status: str) -> Thing:
    detail = {"ok": "passed", "initializing": "initializing"}.get(status)
    return {"Status": status, "Details": [{"Name": "reachability", "Status": detail}] if detail else []}


def _detail(status: Thing) -> str | None:
    return next((str(each["Status"]) for each in status["Details"]), None)


@SERVICE.operation
def get_console_output(call: Call) -> Answer:
    """The end of it; as long as it runs, what it says now."""
    (thing,) = found(call, [call.asked["InstanceId"]])
    if call.get("Latest", False) and not thing["local"]["nitro"]:
        raise Refusal(
            "UnsupportedOperation",
            "This instance type does not support retrieving the latest console logs. Supported: instances built on the"
            " Nitro System",
        )
    den = Den.of(call.store.home, thing["InstanceId"])
    said, at = den.said(), den.written() or call.now
    answer = {"InstanceId": thing["InstanceId"], "Timestamp": datetime.fromtimestamp(at, UTC)}
    return answer | ({"Output": base64.b64encode(said).decode()} if said else {})
