"""Regions, zones and the default network."""

from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any

import pytest

from tests import localimages
from tests.localcloud import refused


@pytest.fixture(scope="module")
def ec2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of one cloud for all tests that change nothing."""
    with localimages.standing(tmp_path_factory.mktemp("standing")) as cloud:
        yield cloud.client("ec2")


def test_regions_are_those_that_need_no_opting_in(ec2):
    """Unless all are asked for."""
    found = {each["RegionName"]: each for each in ec2.describe_regions()["Regions"]}
    assert len(found) == 17
    assert found["us-east-1"] == {
        "RegionName": "us-east-1",
        "Endpoint": "ec2.us-east-1.amazonaws.com",
        "OptInStatus": "opt-in-not-required",
    }
    every = ec2.describe_regions(AllRegions=True)["Regions"]
    assert "not-opted-in" in {each["OptInStatus"] for each in every}
    [one] = ec2.describe_regions(RegionNames=["af-south-1"])["Regions"]
    assert one["OptInStatus"] == "not-opted-in"
    wanted = [{"Name": "region-name", "Values": ["us-*"]}]
    assert len(ec2.describe_regions(Filters=wanted)["Regions"]) == 4
    assert refused(ec2.describe_regions, RegionNames=["us-east-9"]) == "InvalidParameterValue"


@pytest.mark.parametrize(
    ("region", "first", "prefix", "count"),
    [
        ("us-east-1", "us-east-1a", "use1", 6),
        ("eu-central-1", "eu-central-1a", "euc1", 3),
        ("ap-southeast-2", "ap-southeast-2a", "apse2", 3),
    ],
)
def test_zones_are_of_their_region(localcloud, region, first, prefix, count):
    """By letter and by id."""
    ec2 = localcloud.client("ec2", region=region)
    found = ec2.describe_availability_zones()["AvailabilityZones"]
    assert len(found) == count
    assert (found[0]["ZoneName"], found[0]["ZoneId"]) == (first, f"{prefix}-az1")
    assert {(each["State"], each["RegionName"]) for each in found} == {("available", region)}
    [one] = ec2.describe_availability_zones(ZoneNames=[first])["AvailabilityZones"]
    assert [one] == ec2.describe_availability_zones(ZoneIds=[one["ZoneId"]])["AvailabilityZones"]
    wanted = [{"Name": "zone-name", "Values": [first]}]
    assert [one] == ec2.describe_availability_zones(Filters=wanted)["AvailabilityZones"]
    assert refused(ec2.describe_availability_zones, ZoneNames=["z"]) == "InvalidParameterValue"


@pytest.mark.parametrize("region", ["af-south-1", "us-gov-west-1", "xx-nowhere-1"])
def test_a_region_that_is_off_or_is_none_has_nothing(localcloud, region):
    """It must be opted into, on AWS, before anything is done there."""
    ec2 = localcloud.client("ec2", region=region)
    assert refused(ec2.describe_availability_zones) == "AuthFailure"
    assert refused(ec2.describe_subnets) == "AuthFailure"
    assert refused(ec2.describe_instance_types) == "AuthFailure"


def test_each_account_has_a_default_network_in_each_region(localcloud):
    """A VPC, and a subnet in each zone, that are the same always."""
    ec2, other = localcloud.client("ec2"), localcloud.client("ec2", account="210987654321")
    [vpc] = ec2.describe_vpcs()["Vpcs"]
    assert (vpc["CidrBlock"], vpc["IsDefault"], vpc["State"]) == ("172.31.0.0/16", True, "available")
    subnets = ec2.describe_subnets()["Subnets"]
    zones = ec2.describe_availability_zones()["AvailabilityZones"]
    assert [each["AvailabilityZone"] for each in subnets] == [each["ZoneName"] for each in zones]
    assert {each["VpcId"] for each in subnets} == {vpc["VpcId"]}
    networks = [IPv4Network(each["CidrBlock"]) for each in subnets]
    assert all(each.subnet_of(IPv4Network(vpc["CidrBlock"])) for each in networks)
    assert len(set(networks)) == 6
    assert other.describe_vpcs()["Vpcs"][0]["VpcId"] != vpc["VpcId"]
    assert ec2.describe_vpcs(VpcIds=[vpc["VpcId"]])["Vpcs"] == [vpc]
    assert ec2.describe_subnets(SubnetIds=[subnets[1]["SubnetId"]])["Subnets"] == subnets[1:2]
    localcloud.restart()
    assert localcloud.client("ec2").describe_subnets()["Subnets"] == subnets


@pytest.mark.parametrize(
    ("name", "value", "count"),
    [
        ("availability-zone", "us-east-1b", 1), ("availabilityZone", "us-east-1b", 1),
        ("availability-zone-id", "use1-az2", 1), ("availabilityZoneId", "use1-az2", 1),
        ("cidr-block", "172.31.16.0/20", 1), ("cidr", "172.31.16.0/20", 1), ("cidrBlock", "172.31.16.0/20", 1),
        ("default-for-az", "true", 6), ("defaultForAz", "true", 6), ("map-public-ip-on-launch", "true", 6),
        ("state", "available", 6), ("vpc-id", "vpc-*", 6), ("subnet-id", "subnet-*", 6),
        ("subnet-arn", "arn:aws:ec2:us-east-1:*", 6), ("owner-id", "123456789012", 6),
        ("available-ip-address-count", "4091", 6), ("tag:a", "b", 0),
    ],
)  # fmt: skip
def test_subnets_are_found_by_what_they_are(ec2, name, value, count):
    """Under all of the names that the filters have."""
    found = ec2.describe_subnets(Filters=[{"Name": name, "Values": [value]}])
    assert len(found["Subnets"]) == count


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cidr", "172.31.0.0/16"), ("cidr-block-association.cidr-block", "172.31.0.0/16"),
        ("cidr-block-association.association-id", "vpc-cidr-assoc-*"), ("dhcp-options-id", "dopt-*"),
        ("cidr-block-association.state", "associated"), ("is-default", "true"), ("isDefault", "true"),
        ("owner-id", "123456789012"), ("state", "available"), ("vpc-id", "vpc-*"),
    ],
)  # fmt: skip
def test_the_vpc_is_found_by_what_it_is(ec2, name, value):
    """As every script asks for it."""
    found = ec2.describe_vpcs(Filters=[{"Name": name, "Values": [value]}])
    assert len(found["Vpcs"]) == 1


def test_a_network_that_is_not_there_is_not_found(ec2):
    """By the codes of VPCs and subnets."""
    assert refused(ec2.describe_vpcs, VpcIds=["vpc-12345678"]) == "InvalidVpcID.NotFound"
    assert refused(ec2.describe_subnets, SubnetIds=["subnet-12345678"]) == "InvalidSubnetID.NotFound"
    assert refused(ec2.create_vpc, CidrBlock="10.0.0.0/16") == "UnsupportedOperation"
