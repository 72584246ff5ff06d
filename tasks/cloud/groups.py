"""Security groups: found by name or id, and ports opened in them, once."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING

from tasks.cloud.refusals import asking, code_of
from tasks.kit.fault import CloudFault
from tasks.spec.cloud import Rule

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import (
        IpPermissionOutputTypeDef,
        IpPermissionTypeDef,
        SecurityGroupTypeDef,
    )

Groups = Mapping[str, "SecurityGroupTypeDef"]

ALL = "-1"  # every protocol, every port
DESCRIPTION = "opened by doit-ami"
MISSING = {
    "InvalidGroup.NotFound",
    "InvalidGroupId.Malformed",
    "InvalidGroupId.NotFound",
    "InvalidSecurityGroupID.NotFound",
    "VPCIdNotSpecified",
}


def found(ec2: "EC2Client", wanted: Iterable[str]) -> Groups:
    """The groups of these names (of the default VPC) and ids. Raises CloudFault with all that are not there."""
    each = {name: _group(ec2, name) for name in dict.fromkeys(wanted)}
    missing = [name for name, group in each.items() if group is None]
    if missing:
        raise CloudFault(
            f"there is no security group {', '.join(missing)}",
            where=f"EC2 in {ec2.meta.region_name}",
            hint="write the name of one in the default VPC, or the id (sg-...) of any:"
            " `launch.groups` of the image, `authorize` of the cloud",
        )
    return {name: group for name, group in each.items() if group is not None}


def _group(ec2: "EC2Client", name: str) -> "SecurityGroupTypeDef | None":
    from botocore.exceptions import ClientError

    with asking("look at the security group", where=f"{name}, EC2 in {ec2.meta.region_name}"):
        try:
            if name.startswith("sg-"):
                groups = ec2.describe_security_groups(GroupIds=[name])["SecurityGroups"]
            else:
                groups = ec2.describe_security_groups(GroupNames=[name])["SecurityGroups"]
        except ClientError as error:
            if code_of(error) in MISSING:
                return None
            raise
    return groups[0] if groups else None


def opened(ec2: "EC2Client", rules: Iterable[Rule]) -> list[tuple[Rule, bool]]:
    """Every rule holds now; each with whether it was opened just now, or was open."""
    rules = list(rules)
    groups = found(ec2, (rule.group for rule in rules))
    return [
        (rule, not admits(groups[rule.group], rule) and _open(ec2, groups[rule.group], rule))
        for rule in rules
    ]


def called(rule: Rule) -> str:
    """A rule in words: a network that is everybody is called that."""
    return f"{rule}" + (
        ", that is, to the whole Internet" if ip_network(rule.cidr).prefixlen == 0 else ""
    )


def _open(ec2: "EC2Client", group: "SecurityGroupTypeDef", rule: Rule) -> bool:
    """False when somebody opened it at the same time."""
    from botocore.exceptions import ClientError

    first, last = rule.span
    permission: IpPermissionTypeDef = {
        "IpProtocol": rule.protocol,
        "FromPort": first,
        "ToPort": last,
    }
    if ip_network(rule.cidr).version == 4:  # noqa: PLR2004 - as in IPv4
        permission["IpRanges"] = [{"CidrIp": rule.cidr, "Description": DESCRIPTION}]
    else:
        permission["Ipv6Ranges"] = [{"CidrIpv6": rule.cidr, "Description": DESCRIPTION}]
    with asking(f"open {rule}", where=f"EC2 in {ec2.meta.region_name}"):
        try:
            ec2.authorize_security_group_ingress(
                GroupId=group.get("GroupId", ""), IpPermissions=[permission]
            )
        except ClientError as error:
            if code_of(error) == "InvalidPermission.Duplicate":
                return False
            raise
    return True


def admits(group: "SecurityGroupTypeDef", rule: Rule) -> bool:
    """Whether what is open there includes the rule."""
    network = ip_network(rule.cidr)
    return any(
        _spans(permission, rule.protocol, *rule.span)
        and any(_within(network, ip_network(held)) for held in _networks(permission))
        for permission in group.get("IpPermissions", ())
    )


def opens(group: "SecurityGroupTypeDef", port: int) -> bool:
    """Whether anybody may reach a TCP port from a network: of its own a default group lets in none but its members."""
    return any(
        _spans(permission, "tcp", port, port)
        and bool(_networks(permission) or permission.get("PrefixListIds"))
        for permission in group.get("IpPermissions", ())
    )


def _spans(permission: "IpPermissionOutputTypeDef", protocol: str, first: int, last: int) -> bool:
    if permission.get("IpProtocol") == ALL:
        return True
    within = permission.get("FromPort", 0) <= first and last <= permission.get("ToPort", -1)
    return permission.get("IpProtocol") == protocol and within


def _networks(permission: "IpPermissionOutputTypeDef") -> list[str]:
    held = [each.get("CidrIp", "") for each in permission.get("IpRanges", ())]
    return [*held, *(each.get("CidrIpv6", "") for each in permission.get("Ipv6Ranges", ()))]


def _within(network: IPv4Network | IPv6Network, held: IPv4Network | IPv6Network) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(held, IPv4Network) and network.subnet_of(held)
    return isinstance(held, IPv6Network) and network.subnet_of(held)
