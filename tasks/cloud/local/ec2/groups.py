"""Security groups of the default VPC. One is there from the start: `default`, which its own members may enter.

A group is held as EC2 describes it, and with its rules one by one, of which the rest is made.
"""

import re
from collections.abc import Sequence
from typing import Any

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.ec2.filters import Table, matching, plain
from tasks.cloud.local.ec2.networks import fixed_id, vpc_id
from tasks.cloud.local.ec2.permissions import Rule, told
from tasks.cloud.local.ec2.service import SERVICE, combination, invalid, new_id, paged
from tasks.cloud.local.ec2.tagging import tags_asked, without_none
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Thing

GROUP = "security-group"
DEFAULT = "default"
ID = re.compile(r"sg-([0-9a-f]{8}|[0-9a-f]{17})")
WORDS = re.compile(r"[A-Za-z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{1,255}")
ENDED = ("shutting-down", "terminated")


def _of(key: str, *, egress: bool) -> Any:
    return lambda group: [rule.get(key) for rule in group["rules"] if rule["IsEgress"] == egress]


def _referenced(key: str, *, egress: bool) -> Any:
    return lambda group: [
        rule["ReferencedGroupInfo"].get(key)
        for rule in group["rules"]
        if rule["IsEgress"] == egress and "ReferencedGroupInfo" in rule
    ]


def _rule_filters(prefix: str, *, egress: bool) -> Table:
    return {
        f"{prefix}.cidr": _of("CidrIpv4", egress=egress),
        f"{prefix}.ipv6-cidr": _of("CidrIpv6", egress=egress),
        f"{prefix}.from-port": _of("FromPort", egress=egress),
        f"{prefix}.to-port": _of("ToPort", egress=egress),
        f"{prefix}.protocol": _of("IpProtocol", egress=egress),
        f"{prefix}.group-id": _referenced("GroupId", egress=egress),
        f"{prefix}.user-id": _referenced("UserId", egress=egress),
        f"{prefix}.prefix-list-id": lambda _: None,
    }


TABLE: Table = {
    **plain("description", "group-id", "group-name", "owner-id", "vpc-id"),
    **_rule_filters("ip-permission", egress=False),
    **_rule_filters("egress.ip-permission", egress=True),
}


def groups(call: Call) -> list[Thing]:
    """All that there are, the default one first."""
    return [default(call), *(each for each in call.things(GROUP).all() if each["GroupName"] != DEFAULT)]


def default(call: Call) -> Thing:
    """Made when it is first asked for: what nobody made is there from the start."""
    identity = fixed_id("sg", call.account, call.region)
    held = call.things(GROUP).get(identity)
    if held is None:
        held = _new(call, identity, DEFAULT, "default VPC security group")
        inside = {"GroupId": identity, "UserId": call.account}
        held["rules"].append(_everything(held, egress=False) | {"ReferencedGroupInfo": inside})
        call.things(GROUP).add(identity, held)
        keep(call, held)
    return held


def keep(call: Call, group: Thing) -> None:
    """With the rules that it has by now."""
    group["IpPermissions"] = told(group, egress=False)
    group["IpPermissionsEgress"] = told(group, egress=True)
    call.things(GROUP).save(group["GroupId"], group)


def _new(call: Call, identity: str, name: str, description: str) -> Thing:
    group: Thing = {
        "GroupId": identity,
        "GroupName": name,
        "Description": description,
        "OwnerId": call.account,
        "VpcId": vpc_id(call.account, call.region),
        "SecurityGroupArn": f"arn:aws:ec2:{call.region}:{call.account}:security-group/{identity}",
        "Tags": [],
        "rules": [],
    }
    group["rules"].append(_everything(group, egress=True) | {"CidrIpv4": "0.0.0.0/0"})
    return group


def _everything(group: Thing, *, egress: bool) -> Rule:
    return {
        "SecurityGroupRuleId": fixed_id("sgr", group["GroupId"], str(egress)),
        "IsEgress": egress,
        "IpProtocol": "-1",
        "FromPort": -1,
        "ToPort": -1,
        "Tags": [],
    }


def found(call: Call, *, identity: str | None, name: str | None) -> Thing:
    """The one of that id or that name. Raises Refusal."""
    if identity:
        well_formed(identity)
    for group in groups(call):
        if identity == group["GroupId"] or (not identity and name == group["GroupName"]):
            return group
    if identity:
        raise Refusal("InvalidGroup.NotFound", f"The security group '{identity}' does not exist")
    raise absent(call, str(name))


def absent(call: Call, name: str) -> Refusal:
    return Refusal(
        "InvalidGroup.NotFound",
        f"The security group '{name}' does not exist in default VPC '{vpc_id(call.account, call.region)}'",
    )


def well_formed(identity: str) -> None:
    if not ID.fullmatch(identity):
        raise Refusal("InvalidGroupId.Malformed", f'Invalid id: "{identity}" (expecting "sg-...")')


def chosen(call: Call, identities: Sequence[str], names: Sequence[str]) -> list[Thing]:
    """Those of a launch: the default one, if none is named. Raises Refusal."""
    if identities and names:
        raise combination("The parameter groupName cannot be used with the parameter subnet")
    wanted = [found(call, identity=each, name=None) for each in dict.fromkeys(identities)]
    wanted += [found(call, identity=None, name=each) for each in dict.fromkeys(names)]
    return wanted or [default(call)]


def asked(call: Call) -> Thing:
    """The group that GroupId or GroupName says."""
    identity, name = call.get("GroupId"), call.get("GroupName")
    if not (identity or name):
        raise Refusal("MissingParameter", "The request must contain the parameter groupName or groupId")
    if identity and name:
        raise combination("The parameter groupName cannot be used with the parameter groupId")
    return found(call, identity=identity, name=name)


@SERVICE.operation
def describe_security_groups(call: Call) -> Answer:
    identities, names = call.get("GroupIds", ()), call.get("GroupNames", ())
    known = {each["GroupId"] for each in call.things(GROUP).listed()} | {default(call)["GroupId"]}
    shown = [each for each in groups(call) if each["GroupId"] in known]
    for identity in identities:
        well_formed(identity)
        if identity not in known:
            raise Refusal("InvalidGroup.NotFound", f"The security group '{identity}' does not exist")
    for name in set(names) - {each["GroupName"] for each in shown}:
        raise absent(call, name)
    wanted = [
        each
        for each in shown
        if not (identities or names) or each["GroupId"] in identities or each["GroupName"] in names
    ]
    rows = [
        without_none({key: value for key, value in each.items() if key != "rules"})
        for each in matching(call, wanted, TABLE)
    ]
    return paged(call, rows, "SecurityGroups")


@SERVICE.operation
def create_security_group(call: Call) -> Answer:
    name, description = call.asked["GroupName"], call.asked["Description"]
    vpc = vpc_id(call.account, call.region)
    if (wanted := call.get("VpcId", vpc)) != vpc:
        raise Refusal("InvalidVpcID.NotFound", f"The vpc ID '{wanted}' does not exist")
    for key, text in (("GroupName", name), ("GroupDescription", description)):
        if not WORDS.fullmatch(text):
            raise invalid(
                f"Value ({text}) for parameter {key} is invalid. Character sets beyond ASCII are not supported."
            )
    if name.startswith("sg-"):
        raise invalid(f"Value ({name}) for parameter GroupName is invalid. It cannot begin with sg-")
    if name.lower() == DEFAULT:
        raise invalid(f"Cannot use reserved security group name: {name}")
    if any(each["GroupName"].lower() == name.lower() for each in groups(call)):
        raise Refusal(
            "InvalidGroup.Duplicate", f"The security group '{name}' already exists for VPC '{vpc}'"
        )
    group = _new(call, new_id("sg"), name, description) | {"Tags": tags_asked(call, GROUP)}
    call.things(GROUP).add(group["GroupId"], group)
    keep(call, group)
    return without_none({key: group[key] for key in ("GroupId", "SecurityGroupArn", "Tags")})


@SERVICE.operation
def delete_security_group(call: Call) -> Answer:
    group = asked(call)
    identity = group["GroupId"]
    if group["GroupName"] == DEFAULT:
        raise Refusal(
            "CannotDelete",
            f'the specified group: "{identity}" name: "{DEFAULT}" cannot be deleted by a user',
        )
    if _used(call, identity):
        raise Refusal("DependencyViolation", f"resource {identity} has a dependent object")
    call.things(GROUP).drop(identity)
    return {"Return": True, "GroupId": identity}


def _used(call: Call, identity: str) -> bool:
    """By an instance that has not ended, or by a rule of another group."""
    by_group = any(
        rule.get("ReferencedGroupInfo", {}).get("GroupId") == identity
        for group in groups(call)
        for rule in group["rules"]
        if group["GroupId"] != identity
    )
    return by_group or any(
        each["GroupId"] == identity
        for instance in call.things("instance").all()
        if instance["State"]["Name"] not in ENDED
        for each in instance["SecurityGroups"]
    )
