"""Instance types: what each can run, found by that."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests import localimages
from tests.localcloud import refused


@pytest.fixture(scope="module")
def ec2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of one cloud for all tests that change nothing."""
    with localimages.standing(tmp_path_factory.mktemp("standing")) as cloud:
        yield cloud.client("ec2")


def test_types_are_told_as_they_are(ec2):
    """One of 2006, one of today, one of ARM."""
    asked = ["m1.small", "t3.micro", "t4g.small"]
    old, new, arm = ec2.describe_instance_types(InstanceTypes=asked)["InstanceTypes"]
    assert old["ProcessorInfo"]["SupportedArchitectures"] == ["i386", "x86_64"]
    assert old["SupportedVirtualizationTypes"] == ["hvm", "paravirtual"]
    assert old["SupportedRootDeviceTypes"] == ["ebs", "instance-store"]
    assert (old["Hypervisor"], old["CurrentGeneration"]) == ("xen", False)
    assert old["InstanceStorageInfo"]["Disks"] == [{"SizeInGB": 160, "Count": 1, "Type": "hdd"}]
    assert (old["VCpuInfo"]["DefaultVCpus"], old["MemoryInfo"]["SizeInMiB"]) == (1, 1740)
    assert old["NetworkInfo"]["EnaSupport"] == "unsupported"
    assert new["SupportedRootDeviceTypes"] == ["ebs"]
    assert (new["Hypervisor"], new["CurrentGeneration"]) == ("nitro", True)
    assert new["NetworkInfo"]["EnaSupport"] == "required"
    assert new["SupportedBootModes"] == ["legacy-bios", "uefi"]
    assert new["VCpuInfo"] == {"DefaultVCpus": 2, "DefaultCores": 1, "DefaultThreadsPerCore": 2}
    assert "InstanceStorageInfo" not in new
    assert arm["ProcessorInfo"]["SupportedArchitectures"] == ["arm64"]
    assert arm["SupportedBootModes"] == ["uefi"]


def test_only_types_with_disks_of_their_own_boot_from_s3(ec2):
    """None of Nitro's does, and all that run paravirtual images are of before 2015."""
    types = ec2.describe_instance_types()["InstanceTypes"]
    assert len(types) == 22
    for each in types:
        boots = "instance-store" in each["SupportedRootDeviceTypes"]
        assert boots == each["InstanceStorageSupported"]
        assert not (boots and each["Hypervisor"] == "nitro")
        if "paravirtual" in each["SupportedVirtualizationTypes"]:
            assert not each["CurrentGeneration"]


@pytest.mark.parametrize(
    ("name", "value", "some", "none"),
    [
        ("bare-metal", "false", "m5.large", ""), ("burstable-performance-supported", "true", "t3.micro", "m5.large"),
        ("current-generation", "false", "m1.small", "m5.large"), ("free-tier-eligible", "true", "t2.micro", "t3.small"),
        ("hypervisor", "xen", "t2.micro", "t3.micro"), ("instance-storage-supported", "true", "m3.medium", "t1.micro"),
        ("instance-type", "m6*", "m6g.medium", "m5.large"), ("nitro-tpm-support", "supported", "t3.micro", "t2.micro"),
        ("ebs-info.nvme-support", "required", "t3.micro", "t2.micro"),
        ("ebs-info.ebs-optimized-support", "default", "c5.large", "m1.large"),
        ("ebs-info.encryption-support", "supported", "m3.large", "m1.small"),
        ("instance-storage-info.disk.type", "ssd", "c3.large", "c1.medium"),
        ("instance-storage-info.disk.count", "2", "c3.large", "c1.medium"),
        ("instance-storage-info.disk.size-in-gb", "350", "c1.medium", "c3.large"),
        ("instance-storage-info.total-size-in-gb", "840", "m1.large", "m1.small"),
        ("memory-info.size-in-mib", "1024", "t4g.micro", "t4g.small"),
        ("network-info.ena-support", "required", "m6i.large", "r3.large"),
        ("network-info.maximum-network-interfaces", "4", "m2.xlarge", "m1.small"),
        ("network-info.network-performance", "Very*", "t1.micro", "m1.small"),
        ("processor-info.supported-architecture", "i386", "c3.large", "m3.medium"),
        ("processor-info.sustained-clock-speed-in-ghz", "3.1", "m5.large", "t1.micro"),
        ("supported-boot-mode", "uefi", "t4g.micro", "t2.micro"),
        ("supported-root-device-type", "instance-store", "r3.large", "t1.micro"),
        ("supported-usage-class", "on-demand", "m5.large", ""),
        ("supported-virtualization-type", "paravirtual", "t1.micro", "r3.large"),
        ("vcpu-info.default-vcpus", "2", "c1.medium", "m1.small"),
        ("vcpu-info.default-cores", "1", "t3.micro", "t4g.micro"),
        ("vcpu-info.default-threads-per-core", "2", "m5.large", "m6g.large"),
    ],
)  # fmt: skip
def test_types_are_found_by_what_they_can(ec2, name, value, some, none):
    """Each filter with a type that passes, and one that does not."""
    found = ec2.describe_instance_types(Filters=[{"Name": name, "Values": [value]}])["InstanceTypes"]
    names = {each["InstanceType"] for each in found}
    assert some in names
    assert none not in names


def test_a_type_that_there_is_not_is_refused(ec2):
    """Whether AWS has it or nobody does."""
    assert refused(ec2.describe_instance_types, InstanceTypes=["u-24tb1.metal"]) == "InvalidInstanceType"
    assert refused(ec2.describe_instance_types, InstanceTypes=["t3.gigantic"]) == "InvalidInstanceType"


def test_types_come_in_pages(ec2):
    """Of a hundred at most."""
    pages = ec2.get_paginator("describe_instance_types").paginate(PaginationConfig={"PageSize": 10})
    assert [len(page["InstanceTypes"]) for page in pages] == [10, 10, 2]
    assert refused(ec2.describe_instance_types, NextToken="x") == "InvalidNextToken"


def test_types_are_offered_everywhere(ec2):
    """In the region, and in each of its zones."""
    found = ec2.describe_instance_type_offerings()["InstanceTypeOfferings"]
    assert {(each["LocationType"], each["Location"]) for each in found} == {("region", "us-east-1")}
    wanted = [{"Name": "instance-type", "Values": ["t3.micro"]}]
    zones = ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=wanted)
    assert len(zones["InstanceTypeOfferings"]) == 6
    ids = ec2.describe_instance_type_offerings(
        LocationType="availability-zone-id",
        Filters=[*wanted, {"Name": "location", "Values": ["use1-az1"]}],
    )
    assert len(ids["InstanceTypeOfferings"]) == 1
