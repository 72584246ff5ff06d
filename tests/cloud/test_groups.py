"""Ports opened once, against moto's EC2 and, where it cannot play it, against botocore's models."""

from typing import Any

import pytest
from botocore.stub import Stubber

from tasks.cloud import groups
from tasks.kit.fault import CloudFault
from tasks.spec.cloud import Rule

HERE = "127.0.0.1/32"


def rule(**more: Any) -> Rule:
    return Rule.model_validate({"ports": 22, "cidr": HERE, **more})


@pytest.fixture
def client(account):
    return account.ec2()


def permissions(client, name="default"):
    return groups.found(client, [name])[name].get("IpPermissions", [])


def test_a_rule_is_opened_once(client):
    """And told from one that was open."""
    assert groups.opened(client, [rule()]) == [(rule(), True)]
    assert groups.opened(client, [rule()]) == [(rule(), False)]
    ours = [each for each in permissions(client) if each.get("FromPort") == 22]
    assert [each["IpRanges"][0]["CidrIp"] for each in ours] == [HERE]


def test_ports_networks_and_protocols_of_every_kind(client):
    """A span, IPv6, UDP."""
    wanted = [rule(ports="8000-8010"), rule(cidr="2001:db8::/32"), rule(protocol="udp", ports=53)]
    assert groups.opened(client, wanted) == [(each, True) for each in wanted]
    assert groups.opened(client, wanted) == [(each, False) for each in wanted]


@pytest.mark.parametrize("everybody", ["0.0.0.0/0", "::/0"])
def test_the_whole_internet_is_called_what_it_is(client, everybody):
    assert groups.opened(client, [rule(cidr=everybody)])[0][1]
    assert groups.called(rule(cidr=everybody)).endswith(
        f"to {everybody}, that is, to the whole Internet"
    )
    assert groups.called(rule()) == f"tcp 22 of default to {HERE}"


def test_what_a_wider_rule_lets_in_is_open(client):
    """Nobody needs a second rule for it."""
    groups.opened(client, [rule(ports="20-30", cidr="127.0.0.0/8")])
    wanted = [rule(), rule(cidr="10.0.0.1/32"), rule(ports=31), rule(cidr="::1/128")]
    assert [new for _, new in groups.opened(client, wanted)] == [False, True, True, True]


def test_a_group_that_lets_everything_in_lets_this_in():
    group: Any = {"IpPermissions": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]}
    assert groups.admits(group, rule(cidr="10.1.0.0/16"))
    assert not groups.admits(group, rule())
    assert groups.opens(group, 22)
    assert not groups.opens({"IpPermissions": []}, 22)


def test_a_group_that_lets_in_its_own_members_alone_is_not_open():
    """As AWS makes the default one."""
    own: Any = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-1"}], "IpRanges": []}
    listed: Any = {"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-1"}]}
    assert not groups.opens({"IpPermissions": [own]}, 22)
    assert groups.opens({"IpPermissions": [own, listed]}, 22)


def test_somebody_who_was_quicker_is_no_fault(client):
    """EC2 says InvalidPermission.Duplicate, and it is open."""
    group: Any = {"GroupId": "sg-1", "GroupName": "default", "IpPermissions": []}
    with Stubber(client) as stub:
        stub.add_response(
            "describe_security_groups", {"SecurityGroups": [group]}, {"GroupNames": ["default"]}
        )
        stub.add_client_error("authorize_security_group_ingress", "InvalidPermission.Duplicate")
        assert groups.opened(client, [rule()]) == [(rule(), False)]
        stub.assert_no_pending_responses()


def test_a_rule_of_its_own_for_each(client):
    """EC2 takes all of a request or none of it, and one that is there would refuse the rest."""
    group: Any = {"GroupId": "sg-1", "IpPermissions": []}
    asked = {
        "GroupId": "sg-1",
        "IpPermissions": [
            {
                "IpProtocol": "tcp",
                "FromPort": 22,
                "ToPort": 22,
                "Ipv6Ranges": [{"CidrIpv6": "::/0", "Description": groups.DESCRIPTION}],
            }
        ],
    }
    with Stubber(client) as stub:
        stub.add_response(
            "describe_security_groups", {"SecurityGroups": [group]}, {"GroupIds": ["sg-1"]}
        )
        stub.add_response("authorize_security_group_ingress", {"Return": True}, asked)
        groups.opened(client, [rule(group="sg-1", cidr="::/0")])
        stub.assert_no_pending_responses()


def test_groups_that_are_not_there_are_all_named(client):
    """With where to write another."""
    with pytest.raises(
        CloudFault, match=r"(?s)no security group web, sg-0123.*launch.groups.*authorize"
    ):
        groups.found(client, ["default", "web", "sg-0123"])


def test_without_the_permission_the_fault_names_it(policed):
    """moto's IAM has the word: DescribeSecurityGroups alone is not enough to open anything."""
    client = policed("ec2:DescribeSecurityGroups").ec2()
    with pytest.raises(CloudFault, match="do not permit ec2:AuthorizeSecurityGroupIngress"):
        groups.opened(client, [rule()])
