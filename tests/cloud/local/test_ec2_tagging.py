"""Tags: with what is made, afterwards, taken away, listed."""

import pytest

from tests import localimages
from tests.localcloud import refused

MANY = [{"Key": f"key {number}", "Value": "v"} for number in range(51)]


def told(ec2, identity):
    [image] = ec2.describe_images(ImageIds=[identity])["Images"]
    return {tag["Key"]: tag["Value"] for tag in image.get("Tags", [])}


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ([{"Key": "aws:mine", "Value": ""}], "InvalidParameterValue"),
        ([{"Key": "AWS:mine", "Value": ""}], "InvalidParameterValue"),
        ([{"Key": "", "Value": ""}], "InvalidParameterValue"),
        ([{"Value": "v"}], "InvalidParameterValue"),
        ([{"Key": "k" * 128, "Value": ""}], "InvalidParameterValue"),
        ([{"Key": "k", "Value": "v" * 257}], "InvalidParameterValue"),
        ([{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}], "InvalidParameterValue"),
        (MANY, "TagLimitExceeded"),
    ],
)
def test_a_tag_that_cannot_be_is_refused_with_what_it_is_for(localcloud, tags, code):
    """And by CreateTags; nothing is made, nothing is changed."""
    ec2 = localcloud.client("ec2")
    group = {"GroupName": "g", "Description": "d"}
    asked = group | {"TagSpecifications": [{"ResourceType": "security-group", "Tags": tags}]}
    assert refused(ec2.create_security_group, **asked) == code
    identity = ec2.create_security_group(**group)["GroupId"]
    assert refused(ec2.create_tags, Resources=[identity], Tags=tags) == code


@pytest.mark.parametrize(
    ("specifications", "code"),
    [
        ([{"ResourceType": "instance", "Tags": MANY[:1]}], "InvalidParameterValue"),
        ([{"ResourceType": "thing", "Tags": MANY[:1]}], "InvalidParameterValue"),
        ([{"Tags": MANY[:1]}], "MissingParameter"),
        ([{"ResourceType": "security-group", "Tags": MANY[:1]}] * 2, "InvalidParameterValue"),
    ],
)
def test_a_specification_is_of_what_is_made(localcloud, specifications, code):
    """Once, and of nothing else."""
    asked = {"GroupName": "g", "Description": "d", "TagSpecifications": specifications}
    assert refused(localcloud.client("ec2").create_security_group, **asked) == code


def test_tags_are_added_changed_and_taken_away(localcloud):
    """A value says which one goes; without any tags, all go."""
    ec2, identity = localcloud.client("ec2"), localimages.image(localcloud)
    ec2.create_tags(Resources=[identity], Tags=[{"Key": "a", "Value": "1"}, {"Key": "b"}])
    ec2.create_tags(Resources=[identity], Tags=[{"Key": "a", "Value": "2"}, {"Key": "c", "Value": "3"}])
    assert told(ec2, identity) == {"a": "2", "b": "", "c": "3"}
    ec2.delete_tags(Resources=[identity], Tags=[{"Key": "a", "Value": "1"}, {"Key": "c"}])
    assert told(ec2, identity) == {"a": "2", "b": ""}
    ec2.delete_tags(Resources=[identity], Tags=[{"Key": "b", "Value": ""}, {"Key": "none"}])
    localcloud.restart()
    ec2 = localcloud.client("ec2")
    assert told(ec2, identity) == {"a": "2"}
    ec2.delete_tags(Resources=[identity])
    assert told(ec2, identity) == {}


def test_fifty_are_enough(localcloud):
    """Counted with those that are there."""
    ec2, identity = localcloud.client("ec2"), localimages.image(localcloud)
    ec2.create_tags(Resources=[identity], Tags=MANY[:50])
    assert refused(ec2.create_tags, Resources=[identity], Tags=MANY[50:]) == "TagLimitExceeded"
    ec2.create_tags(Resources=[identity], Tags=[{"Key": MANY[0]["Key"], "Value": "new"}])
    assert len(told(ec2, identity)) == 50


def test_the_clouds_own_tags_are_nobodys_to_change(localcloud):
    """They are shown, count for nothing, and stay when all others go."""
    ec2, identity = localcloud.client("ec2"), localimages.image(localcloud)
    store = localcloud.server.store
    with store.change():
        things = store.things("image", "123456789012", "us-east-1")
        things.save(
            identity, {**things.get(identity), "Tags": [{"Key": "aws:local:tcp/22", "Value": "1"}]}
        )
    ec2.create_tags(Resources=[identity], Tags=MANY[:50])
    ec2.delete_tags(Resources=[identity])
    assert told(ec2, identity) == {"aws:local:tcp/22": "1"}
    own = {"Resources": [identity], "Tags": [{"Key": "aws:local:tcp/22"}]}
    assert refused(ec2.delete_tags, **own) == "InvalidParameterValue"


def test_one_that_is_not_there_leaves_all_as_they_were(localcloud):
    """By the code of its kind."""
    ec2, identity = localcloud.client("ec2"), localimages.image(localcloud)
    for absent, code in (
        ("ami-0123456789abcdef0", "InvalidAMIID.NotFound"),
        ("i-0123456789abcdef0", "InvalidInstanceID.NotFound"),
        ("snap-0123456789abcdef0", "InvalidSnapshot.NotFound"),
        ("sg-0123456789abcdef0", "InvalidGroup.NotFound"),
        ("key-0123456789abcdef0", "InvalidKeyPair.NotFound"),
        ("vol-0123456789abcdef0", "InvalidVolume.NotFound"),
        ("debian", "InvalidID"),
    ):
        asked = {"Resources": [identity, absent], "Tags": [{"Key": "a", "Value": "b"}]}
        assert refused(ec2.create_tags, **asked) == code
        assert refused(ec2.delete_tags, Resources=[absent]) == code
    assert told(ec2, identity) == {}
    other = localcloud.client("ec2", account="210987654321")
    assert refused(other.create_tags, Resources=[identity], Tags=MANY[:1]) == "InvalidAMIID.NotFound"


def test_tags_of_every_kind_are_listed(localcloud):
    """A row each, with filters and pages."""
    ec2 = localcloud.client("ec2")
    image, snapshot = localimages.image(localcloud), localimages.snapshot(localcloud)
    group = ec2.create_security_group(GroupName="g", Description="d")["GroupId"]
    ec2.create_tags(Resources=[image, snapshot, group], Tags=[{"Key": "a", "Value": "1"}])
    ec2.create_tags(Resources=[image], Tags=[{"Key": "b", "Value": "2"}])

    def rows(**asked):
        return {(row["ResourceId"], row["Key"]) for row in ec2.describe_tags(**asked)["Tags"]}

    def passing(name, *values):
        return rows(Filters=[{"Name": name, "Values": list(values)}])

    assert rows() == {(image, "a"), (image, "b"), (snapshot, "a"), (group, "a")}
    assert passing("resource-id", image) == {(image, "a"), (image, "b")}
    assert passing("resource-type", "snapshot", "security-group") == {(snapshot, "a"), (group, "a")}
    assert passing("key", "b") == passing("value", "2") == passing("tag:b", "2") == {(image, "b")}
    [row] = ec2.describe_tags(Filters=[{"Name": "key", "Values": ["b"]}])["Tags"]
    assert row == {"Key": "b", "Value": "2", "ResourceId": image, "ResourceType": "image"}
    ec2.create_tags(Resources=[group], Tags=MANY[:4])
    pages = list(ec2.get_paginator("describe_tags").paginate(PaginationConfig={"PageSize": 5}))
    assert [len(page["Tags"]) for page in pages] == [5, 3]
    assert refused(ec2.describe_tags, MaxResults=4) == "InvalidParameterValue"
