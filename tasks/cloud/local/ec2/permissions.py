"""Rules of security groups as they are asked for: in IpPermissions, or in the parameters of 2009; judged, and told again."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from tasks.cloud.local.call import Asked, Call
from tasks.cloud.local.ec2.service import combination, invalid
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Thing

Rule = dict[str, Any]  # as EC2 tells it, without what is the group's
Peer = dict[str, Any]  # of a rule: who it is about
GroupFinder = Callable[[str | None, str | None], Thing]  # by id, by name

NAMES = {"6": "tcp", "17": "udp", "1": "icmp", "58": "icmpv6"}
EVERY = "-1"  # protocol, and port
PORTS = ("tcp", "udp")
ICMP = ("icmp", "icmpv6")
LAST_PORT, LAST_TYPE, LAST_PROTOCOL = 65535, 255, 255
WORDS = re.compile(r"[A-Za-z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{0,255}")
OLD = (
    "IpProtocol",
    "FromPort",
    "ToPort",
    "CidrIp",
    "SourceSecurityGroupName",
    "SourceSecurityGroupOwnerId",
)
SAME = ("IsEgress", "IpProtocol", "FromPort", "ToPort", "CidrIpv4", "CidrIpv6", "ReferencedGroupInfo")


def wanted(call: Call, group: GroupFinder) -> list[Rule]:
    """The rules that are asked for, ingress all of them. Raises Refusal."""
    old = [name for name in OLD if name in call.asked]
    if "IpPermissions" in call.asked and old:
        raise combination(f"The parameter ipPermissions cannot be used with the parameter {old[0]}")
    if old:
        rules = [_plain(call, group)]
    else:
        rules = [rule for each in call.get("IpPermissions", ()) for rule in _permission(each, group)]
    for rule in rules:
        if sum(same(rule, other) for other in rules) > 1:
            raise invalid("The same permission must not appear multiple times")
    return rules


def same(one: Rule, other: Rule) -> bool:
    """Whatever is said about them."""
    return all(one.get(key) == other.get(key) for key in SAME)


def worded(rule: Rule) -> str:
    """In EC2's own words."""
    peer = rule.get("CidrIpv4") or rule.get("CidrIpv6") or rule["ReferencedGroupInfo"]["GroupId"]
    if rule["IpProtocol"] == EVERY:
        return f"peer: {peer}, ALL, ALLOW"
    ports = f"from port: {rule['FromPort']}, to port: {rule['ToPort']}"
    return f"peer: {peer}, {rule['IpProtocol'].upper()}, {ports}, ALLOW"


def _plain(call: Call, group: GroupFinder) -> Rule:
    """As in 2009."""
    cidr, source = call.get("CidrIp"), call.get("SourceSecurityGroupName")
    span = _span(call.asked)
    if cidr:
        if source:
            raise combination(
                "The parameter cidrIp cannot be used with the parameter sourceSecurityGroupName"
            )
        return span | _network({"CidrIp": cidr})
    if not source:
        raise _nobody()
    owner = call.get("SourceSecurityGroupOwnerId")
    return span | _member({"GroupName": source} | ({"UserId": owner} if owner else {}), group)


def _permission(asked: Asked, group: GroupFinder) -> Iterator[Rule]:
    span = _span(asked)
    peers = [
        *map(_network, asked.get("IpRanges", ())),
        *map(_network6, asked.get("Ipv6Ranges", ())),
        *(_member(each, group) for each in asked.get("UserIdGroupPairs", ())),
    ]
    if not peers:
        raise _nobody()
    for peer in peers:
        yield span | peer


def _nobody() -> Refusal:
    return Refusal(
        "MissingParameter", "A rule needs an IPv4 range, an IPv6 range or a security group as its source"
    )


def _span(asked: Mapping[str, Any]) -> Rule:
    """Protocol and ports; ICMP has type and code in their place."""
    said, first, last = asked.get("IpProtocol"), asked.get("FromPort"), asked.get("ToPort")
    if not said:
        raise Refusal("MissingParameter", "The request must contain the parameter ipProtocol")
    protocol = NAMES.get(said, said.lower())
    if protocol in PORTS:
        _judge_ports(first, last)
    elif protocol in ICMP:
        first, last = _icmp(protocol, first, last)
    elif protocol == EVERY or (protocol.isdecimal() and int(protocol) <= LAST_PROTOCOL):
        first = last = -1  # whatever was said: EC2 does not look
    else:
        raise invalid(f"Invalid value '{said}' for IP protocol. Unknown protocol.")
    return {"IsEgress": False, "IpProtocol": protocol, "FromPort": first, "ToPort": last}


def _judge_ports(first: int | None, last: int | None) -> None:
    if first is None or last is None:
        raise invalid("Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.")
    for port in (first, last):
        if not 0 <= port <= LAST_PORT:
            raise Refusal("InvalidPermission.Malformed", f"TCP/UDP port ({port}) out of range")
    if first > last:
        raise invalid(f"Invalid TCP/UDP port range ({first}:{last})")


def _icmp(protocol: str, kind: int | None, code: int | None) -> tuple[int, int]:
    if protocol == "icmpv6" and kind is None and code is None:
        return -1, -1
    if kind is None or code is None:
        raise invalid("Invalid value 'Must specify both from and to ports with ICMP.' for portRange.")
    for name, value in (("type", kind), ("code", code)):
        if not -1 <= value <= LAST_TYPE:
            raise Refusal("InvalidPermission.Malformed", f"ICMP {name} ({value}) out of range")
    if kind == -1 and code != -1:
        raise Refusal("InvalidPermission.Malformed", f"ICMP code ({code}) without a type")
    return kind, code


def _network(asked: Mapping[str, Any]) -> Peer:
    return {"CidrIpv4": _cidr(IPv4Network, asked.get("CidrIp"))} | _said(asked)


def _network6(asked: Mapping[str, Any]) -> Peer:
    return {"CidrIpv6": _cidr(IPv6Network, asked.get("CidrIpv6"))} | _said(asked)


def _cidr(family: type[IPv4Network | IPv6Network], text: str | None) -> str:
    """A VPC takes no address with bits beyond its prefix."""
    malformed = invalid(f"CIDR block {text} is malformed")
    if not text or not re.fullmatch(r"[0-9A-Fa-f.:]+/[0-9]{1,3}", text):
        raise malformed
    try:
        return str(family(text))
    except ValueError:
        raise malformed from None


def _member(asked: Mapping[str, Any], group: GroupFinder) -> Peer:
    identity, name, owner = asked.get("GroupId"), asked.get("GroupName"), asked.get("UserId")
    if not (identity or name):
        raise Refusal("MissingParameter", "The request must contain the parameter groupName or groupId")
    found = group(identity, name)
    if owner and owner != found["OwnerId"]:  # another account's VPC is no peer of this one
        raise Refusal(
            "InvalidGroup.NotFound",
            f"You have specified two resources that belong to different networks: {identity or name} of {owner}",
        )
    return {
        "ReferencedGroupInfo": {"GroupId": found["GroupId"], "UserId": found["OwnerId"]},
        **_said(asked),
    }


def _said(asked: Mapping[str, Any]) -> dict[str, str]:
    text = asked.get("Description")
    if text is None:
        return {}
    if not WORDS.fullmatch(text):
        raise invalid(
            "Invalid rule description. Valid descriptions are strings less than 256 characters from the following set: "
            " a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"
        )
    return {"Description": text}


def told(group: Thing, *, egress: bool) -> list[dict[str, Any]]:
    """As IpPermissions: the rules of one protocol and one range of ports together."""
    found: dict[tuple[str, int, int], dict[str, Any]] = {}
    for rule in group["rules"]:
        if rule["IsEgress"] != egress:
            continue
        key = (rule["IpProtocol"], rule["FromPort"], rule["ToPort"])
        permission = found.setdefault(key, _empty(*key))
        _fill(permission, rule)
    return list(found.values())


def _empty(protocol: str, first: int, last: int) -> dict[str, Any]:
    ports = {"FromPort": first, "ToPort": last} if protocol in PORTS + ICMP else {}
    lists: Iterable[str] = ("IpRanges", "Ipv6Ranges", "PrefixListIds", "UserIdGroupPairs")
    return {"IpProtocol": protocol, **ports, **{name: [] for name in lists}}


def _fill(permission: dict[str, Any], rule: Rule) -> None:
    said = {"Description": rule["Description"]} if "Description" in rule else {}
    if "CidrIpv4" in rule:
        permission["IpRanges"].append({"CidrIp": rule["CidrIpv4"], **said})
    elif "CidrIpv6" in rule:
        permission["Ipv6Ranges"].append({"CidrIpv6": rule["CidrIpv6"], **said})
    else:
        permission["UserIdGroupPairs"].append({**rule["ReferencedGroupInfo"], **said})
