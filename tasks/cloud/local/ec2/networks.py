"""The default VPC of each account and region, and its subnets, one in each zone. There are no others, and nothing to change."""

import hashlib
from collections.abc import Sequence

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.ec2.filters import Table, matching, plain, within
from tasks.cloud.local.ec2.regions import zones
from tasks.cloud.local.ec2.service import SERVICE, paged
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Thing

NETWORK = "172.31.0.0/16"  # of every default VPC
ADDRESSES = 4096 - 5  # of a /20, without those that AWS keeps

VPCS: Table = {
    **plain("dhcp-options-id", "is-default", "owner-id", "state", "vpc-id"),
    "cidr": lambda vpc: vpc["CidrBlock"],
    "isDefault": lambda vpc: vpc["IsDefault"],
    "cidr-block-association.association-id": within("CidrBlockAssociationSet", "AssociationId"),
    "cidr-block-association.cidr-block": within("CidrBlockAssociationSet", "CidrBlock"),
    "cidr-block-association.state": within("CidrBlockAssociationSet", "CidrBlockState", "State"),
}
SUBNETS: Table = {
    **plain(
        "availability-zone", "availability-zone-id", "available-ip-address-count", "cidr-block",
        "default-for-az", "map-public-ip-on-launch", "owner-id", "state", "subnet-arn", "subnet-id", "vpc-id",
    ),
    "availabilityZone": lambda subnet: subnet["AvailabilityZone"],
    "availabilityZoneId": lambda subnet: subnet["AvailabilityZoneId"],
    "cidr": lambda subnet: subnet["CidrBlock"],
    "cidrBlock": lambda subnet: subnet["CidrBlock"],
    "defaultForAz": lambda subnet: subnet["DefaultForAz"],
}  # fmt: skip


def fixed_id(kind: str, *of: str) -> str:
    """The same always: what nobody makes has its id from what it belongs to."""
    return f"{kind}-{hashlib.sha256('/'.join((kind, *of)).encode()).hexdigest()[:17]}"


def vpc_id(account: str, region: str) -> str:
    return fixed_id("vpc", account, region)


def vpc(account: str, region: str) -> Thing:
    return {
        "VpcId": vpc_id(account, region),
        "OwnerId": account,
        "State": "available",
        "CidrBlock": NETWORK,
        "CidrBlockAssociationSet": [
            {
                "AssociationId": fixed_id("vpc-cidr-assoc", account, region),
                "CidrBlock": NETWORK,
                "CidrBlockState": {"State": "associated"},
            }
        ],
        "DhcpOptionsId": fixed_id("dopt", account, region),
        "InstanceTenancy": "default",
        "IsDefault": True,
    }


def subnets(account: str, region: str) -> list[Thing]:
    """In the order of their zones."""
    found = []
    for number, zone in enumerate(zones(region)):
        identity = fixed_id("subnet", account, zone["ZoneName"])
        found.append(
            {
                "SubnetId": identity,
                "SubnetArn": f"arn:aws:ec2:{region}:{account}:subnet/{identity}",
                "VpcId": vpc_id(account, region),
                "OwnerId": account,
                "State": "available",
                "CidrBlock": f"172.31.{16 * number}.0/20",
                "AvailabilityZone": zone["ZoneName"],
                "AvailabilityZoneId": zone["ZoneId"],
                "AvailableIpAddressCount": ADDRESSES,
                "DefaultForAz": True,
                "MapPublicIpOnLaunch": True,
                "AssignIpv6AddressOnCreation": False,
                "Ipv6Native": False,
                "Ipv6CidrBlockAssociationSet": [],
            }
        )
    return found


@SERVICE.operation
def describe_vpcs(call: Call) -> Answer:
    found = _chosen(
        [vpc(call.account, call.region)], call.get("VpcIds", ()), "VpcId", "InvalidVpcID.NotFound"
    )
    return paged(call, matching(call, found, VPCS), "Vpcs")


@SERVICE.operation
def describe_subnets(call: Call) -> Answer:
    found = _chosen(
        subnets(call.account, call.region),
        call.get("SubnetIds", ()),
        "SubnetId",
        "InvalidSubnetID.NotFound",
    )
    return paged(call, matching(call, found, SUBNETS), "Subnets")


def _chosen(things: Sequence[Thing], wanted: Sequence[str], key: str, absent: str) -> Sequence[Thing]:
    there = [thing[key] for thing in things]
    for each in wanted:
        if each not in there:
            raise Refusal(absent, f"The {key[:-2].lower()} ID '{each}' does not exist")
    return [thing for thing in things if not wanted or thing[key] in wanted]
