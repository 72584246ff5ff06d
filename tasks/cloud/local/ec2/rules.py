"""Rules of security groups: added all or none, removed, listed."""

from collections.abc import Iterable
from typing import Any

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.ec2.filters import matching, plain
from tasks.cloud.local.ec2.groups import asked, found, groups, keep
from tasks.cloud.local.ec2.permissions import OLD, Rule, same, wanted, worded
from tasks.cloud.local.ec2.service import SERVICE, combination, new_id, paged
from tasks.cloud.local.ec2.tagging import tags_asked
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Thing

RULE = "security-group-rule"
MOST = 60  # of IPv4, and as many of IPv6; those that name a group count for both
TABLE = plain("group-id", "security-group-rule-id")


@SERVICE.operation
def authorize_security_group_ingress(call: Call) -> Answer:
    group, rules = asked(call), _named(call)
    tags = tags_asked(call, RULE)
    for rule in rules:
        if any(same(rule, held) for held in group["rules"]):
            raise Refusal(
                "InvalidPermission.Duplicate", f'the specified rule "{worded(rule)}" already exists'
            )
    made = [rule | {"SecurityGroupRuleId": new_id("sgr"), "Tags": tags} for rule in rules]
    group["rules"] += made
    _count(group)
    keep(call, group)
    return {"Return": True, "SecurityGroupRules": [_shown(call, group, rule) for rule in made]}


def _named(call: Call) -> list[Rule]:
    rules = wanted(call, lambda identity, name: found(call, identity=identity, name=name))
    if not rules:
        raise Refusal("MissingParameter", "The request must contain the parameter ipPermissions")
    return rules


def _count(group: Thing) -> None:
    ingress = [rule for rule in group["rules"] if not rule["IsEgress"]]
    if any(sum(other not in rule for rule in ingress) > MOST for other in ("CidrIpv4", "CidrIpv6")):
        raise Refusal(
            "RulesPerSecurityGroupLimitExceeded",
            "The maximum number of rules per security group has been reached.",
        )


def _shown(call: Call, group: Thing, rule: Rule) -> dict[str, Any]:
    identity = rule["SecurityGroupRuleId"]
    return rule | {
        "GroupId": group["GroupId"],
        "GroupOwnerId": group["OwnerId"],
        "SecurityGroupRuleArn": f"arn:aws:ec2:{call.region}:{call.account}:security-group-rule/{identity}",
    }


@SERVICE.operation
def revoke_security_group_ingress(call: Call) -> Answer:
    group = asked(call)
    identities = call.get("SecurityGroupRuleIds", ())
    if identities and ("IpPermissions" in call.asked or any(name in call.asked for name in OLD)):
        raise combination("The parameter securityGroupRuleIds cannot be used with other rules")
    gone = _by_id(group, identities) if identities else [_held(group, rule) for rule in _named(call)]
    group["rules"] = [rule for rule in group["rules"] if rule not in gone]
    keep(call, group)
    return {
        "Return": True,
        "RevokedSecurityGroupRules": [
            {key: value for key, value in _revoked(group, rule).items() if value is not None}
            for rule in gone
        ],
    }


def _revoked(group: Thing, rule: Rule) -> dict[str, Any]:
    return {
        "SecurityGroupRuleId": rule["SecurityGroupRuleId"],
        "GroupId": group["GroupId"],
        "IsEgress": rule["IsEgress"],
        "IpProtocol": rule["IpProtocol"],
        "FromPort": rule["FromPort"],
        "ToPort": rule["ToPort"],
        "CidrIpv4": rule.get("CidrIpv4"),
        "CidrIpv6": rule.get("CidrIpv6"),
        "ReferencedGroupId": rule.get("ReferencedGroupInfo", {}).get("GroupId"),
        "Description": rule.get("Description"),
    }


def _by_id(group: Thing, identities: Iterable[str]) -> list[Rule]:
    held = {rule["SecurityGroupRuleId"]: rule for rule in group["rules"] if not rule["IsEgress"]}
    for identity in identities:
        if identity not in held:
            raise _absent(identity)
    return [held[identity] for identity in identities]


def _absent(identity: str) -> Refusal:
    return Refusal(
        "InvalidSecurityGroupRuleId.NotFound",
        f"The security group rule ID '{identity}' does not exist",
    )


def _held(group: Thing, rule: Rule) -> Rule:
    for each in group["rules"]:
        if same(rule, each):
            return dict(each)
    raise Refusal(
        "InvalidPermission.NotFound", "The specified rule does not exist in this security group."
    )


@SERVICE.operation
def describe_security_group_rules(call: Call) -> Answer:
    rules = [_shown(call, group, rule) for group in groups(call) for rule in group["rules"]]
    identities = call.get("SecurityGroupRuleIds", ())
    for identity in identities:
        if identity not in {rule["SecurityGroupRuleId"] for rule in rules}:
            raise _absent(identity)
    chosen = [rule for rule in rules if not identities or rule["SecurityGroupRuleId"] in identities]
    return paged(call, matching(call, chosen, TABLE), "SecurityGroupRules")
