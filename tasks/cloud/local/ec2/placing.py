"""Where an instance stands in the network: zone, subnet, address, security groups."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from tasks.cloud.local.call import Asked, Call
from tasks.cloud.local.ec2 import groups, networks
from tasks.cloud.local.ec2.regions import zones
from tasks.cloud.local.ec2.service import combination, invalid, new_id
from tasks.cloud.local.machines.states import KIND
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Thing

KEPT = 4  # addresses at the beginning of a subnet that are AWS's own
MOST_GROUPS = 5  # of an interface
HOST, NAME = "127.0.0.1", "localhost"  # where the outside is


@dataclass(frozen=True)
class Place:
    subnet: Thing
    groups: tuple[Thing, ...]
    public: bool

    @property
    def zone(self) -> str:
        return str(self.subnet["AvailabilityZone"])


def place(call: Call) -> Place:
    """As the request says, or as it is by default. Raises Refusal."""
    asked: Asked | Call = call
    public = None
    interfaces: Sequence[Asked] = call.get("NetworkInterfaces", ())
    if interfaces:
        asked = _interface(call, interfaces)
        public = asked.get("AssociatePublicIpAddress")
        chosen = _groups(call, asked.get("Groups", ()), ())
    else:
        chosen = _groups(call, call.get("SecurityGroupIds", ()), call.get("SecurityGroups", ()))
    subnet = _subnet(call, asked.get("SubnetId"))
    return Place(subnet, chosen, subnet["MapPublicIpOnLaunch"] if public is None else public)


def _interface(call: Call, interfaces: Sequence[Asked]) -> Asked:
    """The one that there is. Groups and subnet are then its affair."""
    if "SecurityGroupIds" in call.asked or "SecurityGroups" in call.asked:
        raise combination(
            "Network interfaces and an instance-level security groups may not be specified on the same request"
        )
    if "SubnetId" in call.asked:
        raise combination(
            "Network interfaces and an instance-level subnet ID may not be specified on the same request"
        )
    one = interfaces[0]
    if len(interfaces) > 1:
        raise Refusal(
            "AttachmentLimitExceeded", "Interface count exceeds the limit: the local cloud knows one"
        )
    if one.get("DeviceIndex") != 0:
        raise invalid("Each network interface requires a device index: that of the first is 0")
    if one.get("DeleteOnTermination") is False:
        raise Refusal(
            "UnsupportedOperation",
            "The local cloud does not know interfaces that outlive their instance",
        )
    return one


def _groups(call: Call, identities: Sequence[str], names: Sequence[str]) -> tuple[Thing, ...]:
    found = groups.chosen(call, identities, names)
    if len(found) > MOST_GROUPS:
        raise Refusal(
            "SecurityGroupsPerInterfaceLimitExceeded",
            f"You have exceeded the maximum number of security groups allowed per network interface: {MOST_GROUPS}",
        )
    return tuple(found)


def _subnet(call: Call, wanted: str | None) -> Thing:
    placement: Asked | None = call.get("Placement")
    zone = placement.get("AvailabilityZone") if placement else None
    names = [each["ZoneName"] for each in zones(call.region)]
    if zone and zone not in names:
        raise invalid(f"Invalid availability zone: [{zone}]")
    for each in networks.subnets(call.account, call.region):
        if (each["SubnetId"] == wanted) if wanted else (each["AvailabilityZone"] == (zone or names[0])):
            if zone and each["AvailabilityZone"] != zone:
                raise combination("The specified subnet is not in the specified availability zone")
            return each
    raise Refusal("InvalidSubnetID.NotFound", f"The subnet ID '{wanted}' does not exist")


def address(call: Call, subnet: Thing) -> str:
    """One that no instance of the account has. Raises Refusal when there is none."""
    network = ip_network(subnet["CidrBlock"])
    used = {each.get("PrivateIpAddress") for each in call.things(KIND).all()}
    span = network.num_addresses - KEPT - 1
    start = secrets.randbelow(span)
    for number in range(span):
        found = str(network[KEPT + (start + number) % span])
        if found not in used:
            return found
    raise Refusal(
        "InsufficientFreeAddressesInSubnet",
        f"There are not enough free addresses in subnet '{subnet['SubnetId']}' to satisfy the requested number of instances.",
    )


def interface(call: Call, there: Place, private: str, name: str) -> dict[str, Any]:
    identity, shown = new_id("eni"), _shown(there.groups)
    return {
        "NetworkInterfaceId": identity,
        "MacAddress": ":".join(("02", *(secrets.token_hex(1) for _ in range(5)))),
        "OwnerId": call.account,
        "Status": "in-use",
        "Description": "",
        "InterfaceType": "interface",
        "SourceDestCheck": True,
        "SubnetId": there.subnet["SubnetId"],
        "VpcId": there.subnet["VpcId"],
        "PrivateIpAddress": private,
        "PrivateDnsName": name,
        "PrivateIpAddresses": [{"Primary": True, "PrivateIpAddress": private, "PrivateDnsName": name}],
        "Groups": shown,
        "Ipv6Addresses": [],
        "Attachment": {
            "AttachmentId": new_id("eni-attach"),
            "AttachTime": call.now,
            "DeleteOnTermination": True,
            "DeviceIndex": 0,
            "NetworkCardIndex": 0,
            "Status": "attached",
        },
    }


def _shown(found: Sequence[Thing]) -> list[dict[str, str]]:
    return [{"GroupId": each["GroupId"], "GroupName": each["GroupName"]} for each in found]


def regroup(call: Call, thing: Thing, identities: Sequence[str]) -> None:
    """Other groups from now on."""
    shown = _shown(_groups(call, identities, ()))
    thing["SecurityGroups"] = shown
    for each in thing["NetworkInterfaces"]:
        each["Groups"] = shown


def publish(thing: Thing) -> None:
    """It has its public address: the loopback, where its open ports are led to."""
    if thing["local"]["public"]:
        thing |= {"PublicIpAddress": HOST, "PublicDnsName": NAME}
        association = {"IpOwnerId": "amazon", "PublicIp": HOST, "PublicDnsName": NAME}
        thing["NetworkInterfaces"][0]["Association"] = association
