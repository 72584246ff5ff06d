"""Security groups: made, filled with rules, told, and taken down."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests import localimages
from tests.localcloud import LocalCloud, refused

OTHER = "210987654321"
NOBODY = "sg-0123456789abcdef0"


@pytest.fixture
def ec2(localcloud: LocalCloud) -> Any:
    return localcloud.client("ec2")


@pytest.fixture
def group(ec2: Any) -> str:
    return str(ec2.create_security_group(GroupName="web", Description="for the web")["GroupId"])


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    """For tests that change nothing: a client, and a group that opens port 80 to a network."""
    with localimages.standing(tmp_path_factory.mktemp("standing")) as cloud:
        client = cloud.client("ec2")
        identity = client.create_security_group(GroupName="web", Description="for the web")["GroupId"]
        client.authorize_security_group_ingress(
            GroupId=identity, IpPermissions=[tcp(80, 80, "192.168.0.0/16")]
        )
        yield client, identity


def tcp(first: int, last: int, *cidrs: str, **more: Any) -> dict[str, Any]:
    return {
        "IpProtocol": "tcp", "FromPort": first, "ToPort": last, "IpRanges": [{"CidrIp": each} for each in cidrs], **more
    }  # fmt: skip


def described(ec2: Any, group: str) -> dict[str, Any]:
    return dict(ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0])


def test_a_default_group_is_there_from_the_start(localcloud, ec2):
    """Its members may enter each other, and go everywhere; it stays what it is, and cannot be deleted."""
    [default] = ec2.describe_security_groups()["SecurityGroups"]
    identity = default["GroupId"]
    assert default == {
        "GroupId": identity,
        "GroupName": "default",
        "Description": "default VPC security group",
        "OwnerId": "123456789012",
        "VpcId": ec2.describe_vpcs()["Vpcs"][0]["VpcId"],
        "SecurityGroupArn": f"arn:aws:ec2:us-east-1:123456789012:security-group/{identity}",
        "IpPermissions": [
            {
                "IpProtocol": "-1",
                "UserIdGroupPairs": [{"GroupId": identity, "UserId": "123456789012"}],
                "IpRanges": [],
                "Ipv6Ranges": [],
                "PrefixListIds": [],
            }
        ],
        "IpPermissionsEgress": [
            {
                "IpProtocol": "-1",
                "UserIdGroupPairs": [],
                "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
                "Ipv6Ranges": [],
                "PrefixListIds": [],
            }
        ],
    }
    localcloud.settings(lag=3600)
    assert ec2.describe_security_groups()["SecurityGroups"] == [default]
    assert ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"] == [default]
    assert refused(ec2.delete_security_group, GroupName="default") == "CannotDelete"
    there = localcloud.client("ec2", region="eu-west-1").describe_security_groups()["SecurityGroups"]
    assert [each["GroupId"] for each in there] != [identity]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"GroupName": "default"}, "InvalidParameterValue"),
        ({"GroupName": "sg-web"}, "InvalidParameterValue"),
        ({"GroupName": "wéb"}, "InvalidParameterValue"),
        ({"GroupName": "w" * 256}, "InvalidParameterValue"),
        ({"Description": "d" * 256}, "InvalidParameterValue"),
        ({"Description": "what?"}, "InvalidParameterValue"),
        ({"VpcId": "vpc-0123456789abcdef0"}, "InvalidVpcID.NotFound"),
        ({"GroupName": "WEB"}, "InvalidGroup.Duplicate"),
        ({"DryRun": True}, "DryRunOperation"),
    ],
)
def test_a_group_that_cannot_be_made_is_refused(standing, asked, code):
    """Names are of one group, whatever their case."""
    ec2, _ = standing
    wish = {"GroupName": "new", "Description": "d", **asked}
    assert refused(ec2.create_security_group, **wish) == code
    assert len(ec2.describe_security_groups()["SecurityGroups"]) == 2


def test_rules_are_opened_told_and_closed(localcloud, ec2, group):
    """With their own ids, in the order of their making, and after a restart."""
    made = ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[
            tcp(22, 22, "10.0.0.0/8", IpRanges=[{"CidrIp": "10.0.0.0/8", "Description": "home"}]),
            tcp(443, 443, "0.0.0.0/0", Ipv6Ranges=[{"CidrIpv6": "2001:DB8::/32"}]),
            {"IpProtocol": "17", "FromPort": 53, "ToPort": 54, "UserIdGroupPairs": [{"GroupId": group}]},
        ],
    )["SecurityGroupRules"]
    assert all(rule["SecurityGroupRuleId"].startswith("sgr-") for rule in made)
    first = made[0]
    assert first == {
        "SecurityGroupRuleId": first["SecurityGroupRuleId"],
        "SecurityGroupRuleArn": f"arn:aws:ec2:us-east-1:123456789012:security-group-rule/{first['SecurityGroupRuleId']}",
        "GroupId": group,
        "GroupOwnerId": "123456789012",
        "IsEgress": False,
        "IpProtocol": "tcp",
        "FromPort": 22,
        "ToPort": 22,
        "CidrIpv4": "10.0.0.0/8",
        "Description": "home",
        "Tags": [],
    }
    localcloud.restart()
    ec2 = localcloud.client("ec2")
    permissions = described(ec2, group)["IpPermissions"]
    empty: dict[str, Any] = {
        "IpRanges": [],
        "Ipv6Ranges": [],
        "PrefixListIds": [],
        "UserIdGroupPairs": [],
    }
    assert permissions == [
        tcp(22, 22) | empty | {"IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "home"}]},
        tcp(443, 443)
        | empty
        | {"IpRanges": [{"CidrIp": "0.0.0.0/0"}], "Ipv6Ranges": [{"CidrIpv6": "2001:db8::/32"}]},
        {"IpProtocol": "udp", "FromPort": 53, "ToPort": 54}
        | empty
        | {"UserIdGroupPairs": [{"GroupId": group, "UserId": "123456789012"}]},
    ]
    rules = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])
    assert len(rules["SecurityGroupRules"]) == 5  # one lets everything out
    [one] = ec2.describe_security_group_rules(SecurityGroupRuleIds=[first["SecurityGroupRuleId"]])[
        "SecurityGroupRules"
    ]
    assert one == first
    gone = ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[tcp(22, 22, "10.0.0.0/8")])
    assert [rule["SecurityGroupRuleId"] for rule in gone["RevokedSecurityGroupRules"]] == [
        first["SecurityGroupRuleId"]
    ]
    identities = [rule["SecurityGroupRuleId"] for rule in made[1:]]
    ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=identities)
    assert described(ec2, group)["IpPermissions"] == []
    again = {"GroupId": group, "SecurityGroupRuleIds": identities}
    assert refused(ec2.revoke_security_group_ingress, **again) == "InvalidSecurityGroupRuleId.NotFound"


def test_the_parameters_of_2009_do_the_same(ec2, group):
    """One rule, of a network or a group."""
    old = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 23}
    ec2.authorize_security_group_ingress(GroupName="web", CidrIp="10.0.0.0/8", **old)
    ec2.authorize_security_group_ingress(GroupName="web", SourceSecurityGroupName="default", **old)
    [permission] = described(ec2, group)["IpPermissions"]
    assert permission["IpRanges"] == [{"CidrIp": "10.0.0.0/8"}]
    assert len(permission["UserIdGroupPairs"]) == 1
    ec2.revoke_security_group_ingress(GroupName="web", CidrIp="10.0.0.0/8", **old)
    assert described(ec2, group)["IpPermissions"][0]["IpRanges"] == []
    both = {**old, "CidrIp": "10.0.0.0/8", "SourceSecurityGroupName": "default"}
    for asked in (both, {**old, "IpPermissions": [tcp(1, 1, "10.0.0.0/8")]}):
        code = refused(ec2.authorize_security_group_ingress, GroupName="web", **asked)
        assert code == "InvalidParameterCombination"
    assert refused(ec2.authorize_security_group_ingress, GroupName="web", **old) == "MissingParameter"


NETWORK = {"IpRanges": [{"CidrIp": "10.0.0.0/8"}]}


@pytest.mark.parametrize(
    ("permission", "code"),
    [
        (tcp(22, 22, "10.0.0.1/8"), "InvalidParameterValue"),
        (tcp(22, 22, "10.0.0.1"), "InvalidParameterValue"),
        (tcp(22, 22, "10.0.0.0/33"), "InvalidParameterValue"),
        (tcp(22, 22, "10.0.0.0/255.0.0.0"), "InvalidParameterValue"),
        (tcp(22, 22, "::/0"), "InvalidParameterValue"),
        (tcp(22, 22, "everybody"), "InvalidParameterValue"),
        (tcp(22, 22), "MissingParameter"),
        (tcp(23, 22, "10.0.0.0/8"), "InvalidParameterValue"),
        (tcp(-1, -1, "10.0.0.0/8"), "InvalidPermission.Malformed"),
        (tcp(22, 65536, "10.0.0.0/8"), "InvalidPermission.Malformed"),
        ({"IpProtocol": "tcp", **NETWORK}, "InvalidParameterValue"),
        ({"IpProtocol": "tcp", "FromPort": 22, **NETWORK}, "InvalidParameterValue"),
        ({"IpProtocol": "icmp", **NETWORK}, "InvalidParameterValue"),
        ({"IpProtocol": "icmp", "FromPort": 256, "ToPort": 0, **NETWORK}, "InvalidPermission.Malformed"),
        ({"IpProtocol": "icmp", "FromPort": -1, "ToPort": 0, **NETWORK}, "InvalidPermission.Malformed"),
        ({"IpProtocol": "http", "FromPort": 80, "ToPort": 80, **NETWORK}, "InvalidParameterValue"),
        ({"IpProtocol": "256", **NETWORK}, "InvalidParameterValue"),
        ({"FromPort": 80, "ToPort": 80, **NETWORK}, "MissingParameter"),
        (
            tcp(22, 22, IpRanges=[{"CidrIp": "10.0.0.0/8", "Description": "why?"}]),
            "InvalidParameterValue",
        ),
        (tcp(22, 22, Ipv6Ranges=[{"CidrIpv6": "2001:db8::1/32"}]), "InvalidParameterValue"),
        (tcp(22, 22, UserIdGroupPairs=[{"GroupId": NOBODY}]), "InvalidGroup.NotFound"),
        (tcp(22, 22, UserIdGroupPairs=[{"GroupId": "web"}]), "InvalidGroupId.Malformed"),
        (
            tcp(22, 22, UserIdGroupPairs=[{"GroupName": "default", "UserId": OTHER}]),
            "InvalidGroup.NotFound",
        ),
        (tcp(22, 22, UserIdGroupPairs=[{}]), "MissingParameter"),
        (tcp(22, 22, "10.0.0.0/8", PrefixListIds=[{"PrefixListId": "pl-1"}]), "UnsupportedOperation"),
        (tcp(22, 22, "10.0.0.0/8", "10.0.0.0/8"), "InvalidParameterValue"),
        (tcp(80, 80, "192.168.0.0/16"), "InvalidPermission.Duplicate"),
    ],
)
def test_a_wrong_rule_is_refused_with_all_that_come_with_it(standing, permission, code):
    """All or nothing."""
    ec2, group = standing
    before = described(ec2, group)
    asked = {"GroupId": group, "IpPermissions": [tcp(8080, 8080, "10.0.0.0/8"), permission]}
    assert refused(ec2.authorize_security_group_ingress, **asked) == code
    assert described(ec2, group) == before


def test_what_is_no_port_is_not_looked_at(ec2, group):
    """Of every protocol there is one rule, whatever ports are said; ICMP has types and codes."""
    permissions = [
        {"IpProtocol": "-1", "FromPort": 22, "ToPort": 22, **NETWORK},
        {"IpProtocol": "50", **NETWORK},
        {"IpProtocol": "ICMP", "FromPort": 8, "ToPort": -1, **NETWORK},
        {"IpProtocol": "icmpv6", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]},
    ]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=permissions)
    found = [
        (each["IpProtocol"], each.get("FromPort"), each.get("ToPort"))
        for each in described(ec2, group)["IpPermissions"]
    ]
    assert found == [("-1", None, None), ("50", None, None), ("icmp", 8, -1), ("icmpv6", -1, -1)]
    again = {"GroupId": group, "IpPermissions": [{"IpProtocol": "-1", **NETWORK}]}
    assert refused(ec2.authorize_security_group_ingress, **again) == "InvalidPermission.Duplicate"


def test_sixty_rules_are_enough(ec2, group):
    """Of IPv4, and as many of IPv6."""
    many = [tcp(port, port, "10.0.0.0/8") for port in range(1, 61)]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=many)
    one = {"GroupId": group, "IpPermissions": [tcp(61, 61, "10.0.0.0/8")]}
    assert refused(ec2.authorize_security_group_ingress, **one) == "RulesPerSecurityGroupLimitExceeded"
    six = [tcp(61, 61, Ipv6Ranges=[{"CidrIpv6": "::/0"}])]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=six)
    member = {"GroupId": group, "IpPermissions": [tcp(61, 61, UserIdGroupPairs=[{"GroupId": group}])]}
    assert (
        refused(ec2.authorize_security_group_ingress, **member) == "RulesPerSecurityGroupLimitExceeded"
    )


def test_what_is_not_open_cannot_be_closed(ec2, group):
    """And nothing is closed then."""
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(80, 80, "10.0.0.0/8")])
    asked = {"GroupId": group, "IpPermissions": [tcp(80, 80, "10.0.0.0/8"), tcp(22, 22, "10.0.0.0/8")]}
    assert refused(ec2.revoke_security_group_ingress, **asked) == "InvalidPermission.NotFound"
    assert len(described(ec2, group)["IpPermissions"]) == 1
    assert refused(ec2.revoke_security_group_ingress, GroupId=group) == "MissingParameter"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"GroupIds": [NOBODY]}, "InvalidGroup.NotFound"),
        ({"GroupIds": ["web"]}, "InvalidGroupId.Malformed"),
        ({"GroupNames": ["other"]}, "InvalidGroup.NotFound"),
        ({"Filters": [{"Name": "colour", "Values": ["red"]}]}, "InvalidParameterValue"),
    ],
)
def test_a_list_of_what_is_not_there_is_refused(standing, asked, code):
    """By id, by name, by a filter that there is not."""
    ec2, _ = standing
    assert refused(ec2.describe_security_groups, **asked) == code


def test_groups_are_found_by_their_rules(ec2, group):
    """Of both directions, beside name and words."""
    ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[tcp(22, 23, "10.0.0.0/8", Ipv6Ranges=[{"CidrIpv6": "::/0"}]),
                       tcp(80, 80, UserIdGroupPairs=[{"GroupId": group}])],
    )  # fmt: skip
    for name, value in {
        "group-name": "web", "group-id": group, "description": "for*", "ip-permission.cidr": "10.0.0.0/8",
        "ip-permission.ipv6-cidr": "::/0", "ip-permission.from-port": "22", "ip-permission.to-port": "23",
        "ip-permission.protocol": "tcp", "ip-permission.group-id": group,
    }.items():  # fmt: skip
        found = ec2.describe_security_groups(Filters=[{"Name": name, "Values": [value]}])
        assert [each["GroupId"] for each in found["SecurityGroups"]] == [group], name
    for name, value in {
        "egress.ip-permission.cidr": "0.0.0.0/0", "owner-id": "123456789012", "vpc-id": "vpc-*",
        "egress.ip-permission.protocol": "-1", "ip-permission.user-id": "123456789012",
    }.items():  # fmt: skip
        found = ec2.describe_security_groups(Filters=[{"Name": name, "Values": [value]}])
        assert len(found["SecurityGroups"]) == 2, name


def test_a_group_goes_when_nothing_needs_it(ec2, group):
    """Rules of others do; its own do not."""
    own = [tcp(22, 22, UserIdGroupPairs=[{"GroupId": group}])]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=own)
    ec2.authorize_security_group_ingress(GroupName="default", IpPermissions=own)
    assert refused(ec2.delete_security_group, GroupId=group) == "DependencyViolation"
    ec2.revoke_security_group_ingress(GroupName="default", IpPermissions=own)
    assert (
        refused(ec2.delete_security_group, GroupId=group, GroupName="web")
        == "InvalidParameterCombination"
    )
    assert refused(ec2.delete_security_group) == "MissingParameter"
    assert ec2.delete_security_group(GroupName="web")["GroupId"] == group
    assert refused(ec2.delete_security_group, GroupId=group) == "InvalidGroup.NotFound"


def test_rules_have_tags_of_their_own(ec2, group):
    """Those of their making."""
    made = ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[tcp(22, 22, "10.0.0.0/8")],
        TagSpecifications=[
            {"ResourceType": "security-group-rule", "Tags": [{"Key": "a", "Value": "b"}]}
        ],
    )["SecurityGroupRules"]
    found = ec2.describe_security_group_rules(Filters=[{"Name": "tag:a", "Values": ["b"]}])
    assert found["SecurityGroupRules"] == made
