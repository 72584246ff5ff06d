"""What RunInstances is asked for: all of it said, and equal wishes equal."""

from pathlib import Path

import pytest

from tasks.kit.fault import ConfigFault
from tasks.plan import launching
from tasks.plan.launching import Source
from tasks.spec.launch import Launch

SOURCE = Source("debian-12", "ami-1", "instance-store")


def wish(launch=None, source=SOURCE, kind="m1.small", **more):
    told = {"groups": ["sg-2", "sg-1"], "key_name": "", "data": "", **more}
    return launching.wished(source, launch or Launch(), kind, **told)


def test_everything_is_said():
    """IMDSv2 with one hop, tags from the first moment, as many as wanted or none."""
    launch = Launch(tags={"team": "images"}, subnet="subnet-0")
    made = wish(launch, kind="m1.medium", key_name="k", data="#!/bin/sh\n")
    assert made.of("token", 3) == {
        "ImageId": "ami-1",
        "InstanceType": "m1.medium",
        "SecurityGroupIds": ["sg-1", "sg-2"],
        "SubnetId": "subnet-0",
        "KeyName": "k",
        "UserData": "#!/bin/sh\n",
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
        },
        "TagSpecifications": [
            {
                "ResourceType": "instance",
                "Tags": [
                    {"Key": "Name", "Value": "debian-12"},
                    {"Key": "doit-ami:digest", "Value": made.digest},
                    {"Key": "doit-ami:image", "Value": "debian-12"},
                    {"Key": "team", "Value": "images"},
                ],
            }
        ],
        "ClientToken": "token",
        "MinCount": 3,
        "MaxCount": 3,
    }


def test_what_was_not_asked_for_is_not_sent():
    """RunInstances takes no empty key name, subnet or user data."""
    assert {"KeyName", "SubnetId", "UserData"} & wish().of("t", 1).keys() == set()


def test_volumes_are_tagged_where_there_are_any():
    """EC2 refuses tags of a volume that it does not make."""
    made = wish(source=Source("debian-12", "ami-1", "ebs")).of("t", 1)
    assert [each["ResourceType"] for each in made["TagSpecifications"]] == ["instance", "volume"]


def test_metadata_without_a_token_is_written_out():
    assert wish(Launch(imds="optional")).request["MetadataOptions"]["HttpTokens"] == "optional"


def test_a_users_name_is_the_instances():
    tags = wish(Launch(tags={"Name": "web"})).request["TagSpecifications"][0]["Tags"]
    assert {"Key": "Name", "Value": "web"} in tags
    assert len([each for each in tags if each["Key"] == "Name"]) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "m1.large"},
        {"launch": Launch(tags={"a": "b"})},
        {"launch": Launch(imds="optional")},
        {"source": Source("debian-12", "ami-2", "instance-store")},
        {"source": Source("debian-13", "ami-1", "instance-store")},
        {"groups": ["sg-1"]},
        {"key_name": "k"},
        {"data": "x"},
    ],
)
def test_another_wish_has_another_digest(other):
    assert wish(**other).digest != wish().digest


def test_the_number_and_the_patience_are_no_part_of_it():
    """Or two more would be two launches."""
    assert wish(Launch(count=3, timeout=5)).digest == wish().digest


def test_user_data_is_a_template():
    text = launching.user_data(
        Path("u.sh"), "#!/bin/sh\necho {{ image }} {{ region }}\n", {"image": "x", "region": "r"}
    )
    assert text == "#!/bin/sh\necho x r\n"


def test_user_data_that_does_not_render_is_told_with_its_line():
    with pytest.raises(
        ConfigFault, match=r"(?s)u.sh does not render.*'nobody' is undefined.*where: u.sh:2"
    ):
        launching.user_data(Path("u.sh"), "one\n{{ nobody }}\n", {})


def test_user_data_is_at_most_what_ec2_takes():
    """16384 bytes before base64; bytes, not letters; and the size is said."""
    assert launching.user_data(Path("u"), "x" * 16384, {})
    with pytest.raises(ConfigFault, match=r"the user data is 16385 bytes, and EC2 takes 16384"):
        launching.user_data(Path("u"), "x" * 16385, {})
    with pytest.raises(ConfigFault, match="32768 bytes"):
        launching.user_data(Path("u"), "ü" * 16384, {})
