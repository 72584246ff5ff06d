"""Instances as EC2's clients see them: what a launch takes and refuses, what is told of them, what they can be told to do."""

import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tasks.cloud.local.ec2 import fitting
from tests import bootsector
from tests.localcloud import LocalCloud, refused

TINY = "t2.micro"


class Cloud:
    """A local cloud with an AMI that boots in a second, and what tests ask of it."""

    def __init__(self, local: LocalCloud) -> None:
        self.local = local
        self.ec2, self.ebs = local.client("ec2"), local.client("ebs")
        self.ami = bootsector.register(self.ec2, self.ebs)

    def run(self, **asked: Any) -> str:
        return str(self.launch(**asked)["Instances"][0]["InstanceId"])

    def launch(self, **asked: Any) -> Any:
        usual = {"ImageId": self.ami, "InstanceType": TINY, "MinCount": 1, "MaxCount": 1}
        return self.ec2.run_instances(**usual | asked)

    def refusal(self, **asked: Any) -> str:
        usual = {"ImageId": self.ami, "InstanceType": TINY, "MinCount": 1, "MaxCount": 1}
        return refused(self.ec2.run_instances, **usual | asked)

    def told(self, identity: str) -> Any:
        (reservation,) = self.ec2.describe_instances(InstanceIds=[identity])["Reservations"]
        return reservation["Instances"][0]

    def state(self, identity: str) -> str:
        return str(self.told(identity)["State"]["Name"])

    def until(self, identity: str, state: str) -> Any:
        wait(lambda: self.state(identity) == state, f"{identity} is {self.told(identity)}")
        return self.told(identity)

    def said(self, identity: str) -> list[tuple[str, str]]:
        """Every boot: its number, and the noise that it saw."""
        output = self.ec2.get_console_output(InstanceId=identity).get("Output", "")
        return bootsector.SAID.findall(output)

    def booted(self, identity: str, times: int = 1) -> None:
        wait(lambda: len(self.said(identity)) >= times, "it does not boot")


def wait(happened: Callable[[], object], otherwise: str, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


@pytest.fixture
def cloud(localcloud: LocalCloud) -> Cloud:
    return Cloud(localcloud)


def message(call: Callable[..., Any], **asked: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**asked)
    return str(caught.value.response["Error"]["Message"])


def test_an_instance_boots_the_very_blocks_of_its_snapshot(cloud: Cloud) -> None:
    """And sees noise where nobody wrote; another of the same AMI sees other noise."""
    one, other = (each["InstanceId"] for each in cloud.launch(MinCount=2, MaxCount=2)["Instances"])
    for each in (one, other):
        cloud.booted(each)
    ((count, noise),), ((_, others),) = cloud.said(one), cloud.said(other)
    assert count == "01"
    assert len({"0" * 16, noise, others}) == 3


def test_what_is_told_of_an_instance_is_what_ec2_tells(cloud: Cloud) -> None:
    """Addresses, devices, network, options; and nothing of what EC2 does not show."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJx0iEl6Kd8qPTmWhBvGf3r6Ix5u0LhO2n1nRr6tC9mJ"
    cloud.ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=key)
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "one"}]}]
    identity = cloud.run(
        KeyName="mine",
        TagSpecifications=[*tags, {"ResourceType": "volume", "Tags": [{"Key": "a", "Value": "b"}]}],
    )
    told = cloud.until(identity, "running")
    assert told["PublicIpAddress"] == "127.0.0.1"
    assert told["PrivateIpAddress"].startswith("172.31.")
    assert told["PrivateDnsName"] == f"ip-{told['PrivateIpAddress'].replace('.', '-')}.ec2.internal"
    assert told["RootDeviceType"] == "ebs"
    assert told["BlockDeviceMappings"][0]["DeviceName"] == told["RootDeviceName"] == "/dev/xvda"
    assert told["SecurityGroups"][0]["GroupName"] == "default"
    assert told["NetworkInterfaces"][0]["Association"]["PublicIp"] == "127.0.0.1"
    assert told["MetadataOptions"]["HttpTokens"] == "optional"
    assert (told["KeyName"], told["Architecture"], told["AmiLaunchIndex"]) == ("mine", "x86_64", 0)
    assert told["Tags"] == [{"Key": "Name", "Value": "one"}]
    volume = told["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    rows = cloud.ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [volume]}])["Tags"]
    assert [(each["Key"], each["Value"]) for each in rows] == [("a", "b")]


@pytest.mark.parametrize(
    ("code", "asked"),
    [
        ("InvalidAMIID.Malformed", {"ImageId": "debian-12"}),
        ("InvalidAMIID.NotFound", {"ImageId": "ami-0123456789abcdef0"}),
        ("InvalidParameterValue", {"InstanceType": "m5.wide"}),
        ("InvalidKeyPair.NotFound", {"KeyName": "nobody's"}),
        ("InvalidGroup.NotFound", {"SecurityGroupIds": ["sg-0123456789abcdef0"]}),
        ("InvalidGroupId.Malformed", {"SecurityGroupIds": ["front"]}),
        ("InvalidGroup.NotFound", {"SecurityGroups": ["front"]}),
        ("InvalidSubnetID.NotFound", {"SubnetId": "subnet-0123456789abcdef0"}),
        ("InvalidParameterValue", {"Placement": {"AvailabilityZone": "eu-west-1a"}}),
        ("InvalidParameterValue", {"UserData": "x" * 16385}),
        ("InvalidParameterValue", {"MinCount": 0}),
        ("InvalidParameterValue", {"MinCount": 2}),
        ("InvalidParameterValue", {"MetadataOptions": {"HttpPutResponseHopLimit": 65}}),
        ("InvalidParameterCombination", {"InstanceType": "t3.micro"}),  # ENA
        ("InvalidParameterValue", {"InstanceType": "m6g.medium"}),  # arm64
        ("InvalidParameterCombination", {"MetadataOptions": {"HttpEndpoint": "disabled", "HttpTokens": "required"}}),
        ("InvalidBlockDeviceMapping", {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-0123456789abcdef0"}}]}),
        ("UnsupportedOperation", {"BlockDeviceMappings": [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": False}}]}),
        ("MissingParameter", {"BlockDeviceMappings": [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeType": "gp3"}}]}),
        ("InvalidParameterValue", {"BlockDeviceMappings": [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 0, "VolumeType": "gp3"}}]}),
        ("UnsupportedOperation", {"Monitoring": {"Enabled": True}}),
        ("UnsupportedOperation", {"IamInstanceProfile": {"Name": "any"}}),
        ("VcpuLimitExceeded", {"MinCount": 33, "MaxCount": 33}),
        ("DryRunOperation", {"DryRun": True}),
    ],
)  # fmt: skip
def test_a_launch_that_ec2_would_refuse_is_refused(cloud: Cloud, code: str, asked: Any) -> None:
    """With its own code; and nothing is started."""
    assert cloud.refusal(**asked) == code
    assert cloud.ec2.describe_instances()["Reservations"] == []


def test_user_data_is_base64_and_of_16_kib_at_most(cloud: Cloud) -> None:
    """16384 bytes are taken, and told again as they were; what is no base64 is refused in EC2's words."""
    data = bytes(range(256)) * 64
    identity = cloud.run(UserData=data)
    told = cloud.ec2.describe_instance_attribute(InstanceId=identity, Attribute="userData")
    assert base64.b64decode(told["UserData"]["Value"]) == data
    plain = cloud.local.client("ec2")
    plain.meta.events.unregister("before-parameter-build.ec2.RunInstances", _encoder(plain))
    usual = {"ImageId": cloud.ami, "InstanceType": TINY, "MinCount": 1, "MaxCount": 1}
    assert (
        message(plain.run_instances, UserData="no base64!", **usual)
        == "Invalid BASE64 encoding of user data."
    )


def _encoder(client: Any) -> Any:
    from botocore.handlers import base64_encode_user_data

    return base64_encode_user_data


def test_an_image_and_a_type_that_do_not_fit_are_told_apart(cloud: Cloud) -> None:
    """Paravirtual on a type that has only hvm, UEFI on one that has only a BIOS: EC2's codes; what we cannot boot is said."""
    uefi = bootsector.register(cloud.ec2, cloud.ebs, "uefi", BootMode="uefi")
    para = bootsector.register(cloud.ec2, cloud.ebs, "para", VirtualizationType="paravirtual")
    assert cloud.refusal(ImageId=uefi) == "InvalidParameterCombination"
    assert cloud.refusal(ImageId=para) == "InvalidParameterCombination"
    assert cloud.refusal(ImageId=para, InstanceType="m1.small") == "UnsupportedOperation"


@pytest.mark.parametrize(
    ("mode", "kind", "current"),
    [
        ("uefi", "t3.micro", "uefi"),
        ("legacy-bios", "t3.micro", "legacy-bios"),
        ("uefi-preferred", "t3.micro", "uefi"),
        ("uefi-preferred", TINY, "legacy-bios"),
        (None, "t3.micro", "legacy-bios"),
    ],
)
def test_image_and_type_together_decide_the_firmware(
    cloud: Cloud, mode: str | None, kind: str, current: str
) -> None:
    """As EC2's user guide has it: the image's word, and where it has none or a choice, what the type can."""
    said: dict[str, Any] = {"BootMode": mode} if mode else {}
    ami = bootsector.register(cloud.ec2, cloud.ebs, "of a mode", EnaSupport=True, **said)
    told = cloud.launch(ImageId=ami, InstanceType=kind)["Instances"][0]
    assert (told.get("BootMode"), told["CurrentInstanceBootMode"]) == (mode, current)


def test_an_image_of_another_account_has_to_be_shared(cloud: Cloud) -> None:
    """Before that it may not be used; after it, it boots there."""
    theirs = cloud.local.client("ec2", account="210987654321")
    usual = {"ImageId": cloud.ami, "InstanceType": TINY, "MinCount": 1, "MaxCount": 1}
    assert refused(theirs.run_instances, **usual) == "AuthFailure"
    cloud.ec2.modify_image_attribute(
        ImageId=cloud.ami, LaunchPermission={"Add": [{"UserId": "210987654321"}]}
    )
    identity = theirs.run_instances(**usual)["Instances"][0]["InstanceId"]
    waiter = theirs.get_waiter("instance_running")
    waiter.wait(InstanceIds=[identity], WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    assert refused(cloud.ec2.describe_instances, InstanceIds=[identity]) == "InvalidInstanceID.NotFound"


def test_an_image_that_is_pending_cannot_be_launched_yet(cloud: Cloud) -> None:
    """EC2 says that it is not available."""
    cloud.local.settings(pending=60)
    assert cloud.refusal() == "InvalidAMIID.Unavailable"


def test_one_token_starts_one_instance(cloud: Cloud) -> None:
    """The same request again tells what became of it, another one is a mistake, and a token of what ended is spent."""
    identity = cloud.run(ClientToken="once")
    cloud.until(identity, "running")
    again = cloud.launch(ClientToken="once")["Instances"]
    assert [(each["InstanceId"], each["State"]["Name"]) for each in again] == [(identity, "running")]
    assert cloud.refusal(ClientToken="once", MaxCount=2) == "IdempotentParameterMismatch"
    assert cloud.refusal(ClientToken="twice", Monitoring={"Enabled": True}) == "UnsupportedOperation"
    cloud.ec2.terminate_instances(InstanceIds=[identity])
    assert cloud.refusal(ClientToken="once") == "IdempotentInstanceTerminated"
    assert cloud.refusal(ClientToken="t" * 65) == "InvalidParameterValue"


def test_quota_and_capacity_are_told_apart(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Between the least and the most, as many start as there is room for."""
    cloud.local.settings(vcpus=2)
    assert len(cloud.launch(MaxCount=5)["Instances"]) == 2
    assert cloud.refusal() == "VcpuLimitExceeded"
    cloud.local.settings(vcpus=32, machines=2)
    assert cloud.refusal() == "InsufficientInstanceCapacity"
    cloud.local.settings(machines=1000)
    for each in cloud.ec2.describe_instances()["Reservations"][0]["Instances"]:
        cloud.until(each["InstanceId"], "running")
    (tmp_path / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable:  {1500 << 10} kB\n")
    monkeypatch.setattr(fitting, "MEMINFO", tmp_path / "meminfo")
    assert cloud.refusal(MinCount=2, MaxCount=2) == "InsufficientInstanceCapacity"
    assert len(cloud.launch(MaxCount=2)["Instances"]) == 1


def test_the_interface_may_be_spelt_out(cloud: Cloud) -> None:
    """Its groups and its subnet; without a public address no port is led to it. Not beside what says the same otherwise."""
    group = cloud.ec2.create_security_group(GroupName="front", Description="any")["GroupId"]
    subnet = cloud.ec2.describe_subnets()["Subnets"][1]
    wish = {"DeviceIndex": 0, "Groups": [group], "SubnetId": subnet["SubnetId"]}
    told = cloud.launch(NetworkInterfaces=[{**wish, "AssociatePublicIpAddress": False}])["Instances"][0]
    assert told["SecurityGroups"][0]["GroupId"] == group
    assert told["Placement"]["AvailabilityZone"] == subnet["AvailabilityZone"]
    assert "PublicIpAddress" not in told
    assert (
        cloud.refusal(NetworkInterfaces=[wish], SubnetId=subnet["SubnetId"])
        == "InvalidParameterCombination"
    )
    assert (
        cloud.refusal(NetworkInterfaces=[wish], SecurityGroups=["front"])
        == "InvalidParameterCombination"
    )
    assert cloud.refusal(NetworkInterfaces=[{"Groups": [group]}]) == "InvalidParameterValue"
    assert cloud.refusal(NetworkInterfaces=[{**wish, "Ipv6AddressCount": 1}]) == "UnsupportedOperation"
    assert cloud.refusal(NetworkInterfaces=[wish, wish]) == "AttachmentLimitExceeded"


def test_an_image_that_wants_imds_v2_has_it(cloud: Cloud) -> None:
    """With two hops; the launch may say otherwise, and a later call as well."""
    strict = bootsector.register(cloud.ec2, cloud.ebs, "strict", ImdsSupport="v2.0")
    options = cloud.launch(ImageId=strict)["Instances"][0]["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 2)
    told = cloud.launch(ImageId=strict, MetadataOptions={"HttpTokens": "optional"})["Instances"][0]
    assert told["MetadataOptions"]["HttpTokens"] == "optional"
    change = cloud.ec2.modify_instance_metadata_options
    change(InstanceId=told["InstanceId"], HttpTokens="required")
    assert cloud.told(told["InstanceId"])["MetadataOptions"]["HttpTokens"] == "required"
    asked = {"InstanceId": told["InstanceId"], "HttpEndpoint": "disabled"}
    assert refused(change, **asked) == "UnsupportedOperation"


def test_instances_are_listed_by_id_by_filter_and_by_page(cloud: Cloud) -> None:
    """What is not there, is no id, or is no filter is refused; lists show late what was made, when they are told to."""
    ids = [each["InstanceId"] for each in cloud.launch(MinCount=6, MaxCount=6)["Instances"]]
    pages = cloud.ec2.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 5})
    listed = [
        each["InstanceId"]
        for page in pages
        for reservation in page["Reservations"]
        for each in reservation["Instances"]
    ]
    assert sorted(listed) == sorted(ids)
    asked = {"Filters": [{"Name": "launch-index", "Values": ["3"]}]}
    assert [
        each["Instances"][0]["InstanceId"]
        for each in cloud.ec2.describe_instances(**asked)["Reservations"]
    ] == [ids[3]]
    describe = cloud.ec2.describe_instances
    assert refused(describe, InstanceIds=["i-0123456789abcdef0"]) == "InvalidInstanceID.NotFound"
    assert refused(describe, InstanceIds=["one"]) == "InvalidInstanceID.Malformed"
    assert refused(describe, InstanceIds=ids, MaxResults=5) == "InvalidParameterCombination"
    assert refused(describe, Filters=[{"Name": "colour", "Values": ["red"]}]) == "InvalidParameterValue"
    cloud.local.settings(lag=60)
    assert describe()["Reservations"] == []
    assert refused(describe, InstanceIds=ids[:1]) == "InvalidInstanceID.NotFound"


def test_an_instance_is_well_once_its_console_asks_for_a_name(cloud: Cloud) -> None:
    """Initializing, then ok; of those that do not run nothing is told, unless it is asked for."""
    identity = cloud.run()
    cloud.booted(identity)
    cloud.until(identity, "running")
    wait(lambda: _status(cloud)["InstanceStatus"]["Status"] == "ok", "it is not ok")
    assert _status(cloud)["SystemStatus"]["Details"] == [{"Name": "reachability", "Status": "passed"}]
    cloud.ec2.terminate_instances(InstanceIds=[identity])
    assert cloud.ec2.describe_instance_status()["InstanceStatuses"] == []
    assert _status(cloud, IncludeAllInstances=True)["InstanceStatus"]["Status"] == "not-applicable"


def _status(cloud: Cloud, **asked: Any) -> Any:
    (status,) = cloud.ec2.describe_instance_status(**asked)["InstanceStatuses"]
    return status


def test_attributes_are_told_and_some_can_be_changed(cloud: Cloud) -> None:
    """One at a time; what is not known is refused."""
    identity = cloud.run(DisableApiTermination=True)
    change, told = cloud.ec2.modify_instance_attribute, cloud.ec2.describe_instance_attribute
    assert told(InstanceId=identity, Attribute="disableApiTermination")["DisableApiTermination"]["Value"]
    assert refused(cloud.ec2.terminate_instances, InstanceIds=[identity]) == "OperationNotPermitted"
    assert told(InstanceId=identity, Attribute="instanceType")["InstanceType"]["Value"] == TINY
    assert refused(told, InstanceId=identity, Attribute="sriovNetSupport") == "UnsupportedOperation"
    change(InstanceId=identity, DisableApiTermination={"Value": False})
    change(InstanceId=identity, Attribute="instanceInitiatedShutdownBehavior", Value="terminate")
    asked = {"InstanceId": identity, "Attribute": "instanceInitiatedShutdownBehavior"}
    assert told(**asked)["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    group = cloud.ec2.create_security_group(GroupName="front", Description="any")["GroupId"]
    change(InstanceId=identity, Groups=[group])
    assert cloud.told(identity)["SecurityGroups"] == [{"GroupId": group, "GroupName": "front"}]
    assert (
        refused(change, InstanceId=identity, InstanceType={"Value": "t2.small"})
        == "UnsupportedOperation"
    )
    assert refused(change, InstanceId=identity) == "InvalidParameterCombination"
    cloud.ec2.terminate_instances(InstanceIds=[identity])


def test_the_console_is_there_at_once_and_after_the_end(cloud: Cloud) -> None:
    """`Latest` is for instances of Nitro."""
    identity = cloud.run()
    cloud.booted(identity)
    assert (
        refused(cloud.ec2.get_console_output, InstanceId=identity, Latest=True) == "UnsupportedOperation"
    )
    cloud.ec2.terminate_instances(InstanceIds=[identity])
    cloud.until(identity, "terminated")
    assert cloud.said(identity)
    ena = bootsector.register(cloud.ec2, cloud.ebs, "ena", EnaSupport=True)
    nitro = cloud.run(ImageId=ena, InstanceType="t3.micro")
    cloud.booted(nitro)
    assert "boot 01" in cloud.ec2.get_console_output(InstanceId=nitro, Latest=True)["Output"]


def test_several_are_ended_all_or_none(cloud: Cloud) -> None:
    """One that is not there spoils the request; one that ended already does not."""
    one, other = cloud.run(), cloud.run()
    end = cloud.ec2.terminate_instances
    assert refused(end, InstanceIds=[one, "i-0123456789abcdef0"]) == "InvalidInstanceID.NotFound"
    assert cloud.state(one) in ("pending", "running")
    end(InstanceIds=[one])
    told = cloud.until(one, "terminated")
    assert told["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert "PublicIpAddress" not in told
    changes = {
        each["InstanceId"]: each for each in end(InstanceIds=[one, other])["TerminatingInstances"]
    }
    assert changes[one]["PreviousState"] == changes[one]["CurrentState"]
    cloud.until(other, "terminated")
