"""Parameter Store on the local cloud: names, versions, types, and images that exist."""

import pytest

from tests.localcloud import refused
from tests.localsnapshots import made

OTHER = "210987654321"
PREFIX = "arn:aws:ssm:us-east-1:123456789012:parameter"


@pytest.fixture
def ssm(localcloud):
    return localcloud.client("ssm")


def put(ssm, name: str, value: str = "x", **asked) -> int:
    return int(ssm.put_parameter(**{"Name": name, "Value": value, "Type": "String", **asked})["Version"])


def names(answer) -> list[str]:
    return [each["Name"] for each in answer["Parameters"]]


def test_a_parameter_is_got_as_it_was_put(ssm):
    """By name, by ARN, by version; spaces around the name do not count."""
    assert put(ssm, " /doit/ami ", "one") == 1
    assert put(ssm, "/doit/ami", "two", Overwrite=True) == 2
    found = ssm.get_parameter(Name="/doit/ami", WithDecryption=True)["Parameter"]
    assert found.pop("LastModifiedDate")
    assert found == {
        "Name": "/doit/ami", "Type": "String", "Value": "two", "Version": 2, "DataType": "text",
        "ARN": f"{PREFIX}/doit/ami",
    }  # fmt: skip
    first = ssm.get_parameter(Name="/doit/ami:1")["Parameter"]
    assert (first["Value"], first["Selector"]) == ("one", ":1")
    assert ssm.get_parameter(Name=f"{PREFIX}/doit/ami:2")["Parameter"]["Value"] == "two"
    put(ssm, "plain", "three")
    assert ssm.get_parameter(Name=f"{PREFIX}/plain")["Parameter"]["Name"] == "plain"


def test_what_is_not_there_is_told(ssm, localcloud):
    """A name, a version, another account's, another region's."""
    put(ssm, "a")
    assert refused(ssm.get_parameter, Name="b") == "ParameterNotFound"
    assert refused(ssm.get_parameter, Name="a:2") == "ParameterVersionNotFound"
    for client in (
        localcloud.client("ssm", account=OTHER),
        localcloud.client("ssm", region="eu-west-1"),
    ):
        assert refused(client.get_parameter, Name="a") == "ParameterNotFound"
        assert refused(client.get_parameter, Name=f"{PREFIX}/a") == "ParameterNotFound"
    assert refused(ssm.get_parameter_history, Name="b") == "ParameterNotFound"
    assert refused(ssm.delete_parameter, Name="b") == "ParameterNotFound"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"Name": "aws-thing"}, "ValidationException"),
        ({"Name": "/ssm/thing"}, "ValidationException"),
        ({"Name": "/aws/service/thing"}, "AccessDeniedException"),
        ({"Name": "a b"}, "ValidationException"),
        ({"Name": "a/b"}, "ValidationException"),
        ({"Name": "/a//b"}, "ValidationException"),
        ({"Name": "/a/"}, "ValidationException"),
        ({"Name": f"{PREFIX}/a"}, "ValidationException"),
        ({"Name": "a" * 1012}, "ValidationException"),
        ({"Name": "/a" * 16}, "HierarchyLevelLimitExceededException"),
        ({"Value": ""}, "ValidationException"),
        ({"Value": "x" * 4097}, "ValidationException"),
        ({"Value": "{{ssm:other}}"}, "ValidationException"),
        ({"Type": None}, "ValidationException"),
        ({"Type": "SecureString"}, "ValidationException"),
        ({"Type": "Number"}, "ValidationException"),
        ({"Tier": "Advanced"}, "ValidationException"),
        ({"KeyId": "alias/aws/ssm"}, "ValidationException"),
        ({"Policies": "[]"}, "ValidationException"),
        ({"Description": "x" * 1025}, "ValidationException"),
        ({"AllowedPattern": "x" * 1025}, "ValidationException"),
        ({"AllowedPattern": "(x"}, "InvalidAllowedPatternException"),
        ({"AllowedPattern": "[0-9]"}, "ParameterPatternMismatchException"),
        ({"DataType": "colour"}, "ValidationException"),
        ({"DataType": "aws:ec2:image"}, "ValidationException"),
        ({"Tags": [{"Key": "a", "Value": "b"}] * 2}, "ValidationException"),
        ({"Tags": [{"Key": "aws:a", "Value": "b"}]}, "ValidationException"),
        ({"Tags": [{"Key": "a!", "Value": "b"}]}, "ValidationException"),
        ({"Tags": [{"Key": f"{n}", "Value": "b"} for n in range(51)]}, "TooManyTagsError"),
        ({"Tags": [{"Key": "a", "Value": "b"}], "Overwrite": True}, "ValidationException"),
    ],
)
def test_put_refuses(ssm, asked, code):
    """And nothing is there afterwards."""
    told = {"Name": "/a", "Value": "x", "Type": "String", **asked}
    told = {key: value for key, value in told.items() if value is not None}
    assert refused(ssm.put_parameter, **told) == code
    assert names(ssm.describe_parameters()) == []


def test_overwriting_keeps_what_is_not_said(ssm):
    """Type, pattern and description; the type cannot be changed; without Overwrite, nothing can."""
    put(ssm, "a", "1", AllowedPattern="[0-9]+", Description="a number")
    assert refused(ssm.put_parameter, Name="a", Value="2", Type="String") == "ParameterAlreadyExists"
    ssm.put_parameter(Name="a", Value="2", Overwrite=True)
    (about,) = ssm.describe_parameters()["Parameters"]
    assert (about["Type"], about["Version"], about["Description"]) == ("String", 2, "a number")
    asked = {"Name": "a", "Overwrite": True}
    assert refused(ssm.put_parameter, **asked, Value="b") == "ParameterPatternMismatchException"
    assert (
        refused(ssm.put_parameter, **asked, Value="2", Type="StringList")
        == "HierarchyTypeMismatchException"
    )


def test_an_image_must_be_there(ssm, localcloud):
    """It is the caller's, or they may use it, and it is available; moto would take any word."""
    ec2 = localcloud.client("ec2")
    snapshot = made(localcloud.client("ebs"), {0: "a"})
    ami = ec2.register_image(
        Name="one", Architecture="x86_64", VirtualizationType="hvm", RootDeviceName="/dev/xvda",
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}],
    )["ImageId"]  # fmt: skip
    put(ssm, "/ami", ami, DataType="aws:ec2:image")
    assert ssm.get_parameter(Name="/ami")["Parameter"]["DataType"] == "aws:ec2:image"
    asked = {"Name": "/ami", "Overwrite": True}
    assert refused(ssm.put_parameter, **asked, Value="ami-0123456789abcdef0") == "ValidationException"
    theirs = localcloud.client("ssm", account=OTHER)
    other = {"Name": "/ami", "Value": ami, "Type": "String", "DataType": "aws:ec2:image"}
    assert refused(theirs.put_parameter, **other) == "ValidationException"
    ec2.modify_image_attribute(ImageId=ami, LaunchPermission={"Add": [{"UserId": OTHER}]})
    theirs.put_parameter(**other)
    assert (
        refused(ssm.put_parameter, **{**other, "Type": "StringList", "Name": "/l"})
        == "ValidationException"
    )
    ec2.deregister_image(ImageId=ami)
    assert refused(ssm.put_parameter, **asked, Value=ami) == "ValidationException"
    assert ssm.get_parameter(Name="/ami")["Parameter"]["Version"] == 1


def test_several_are_got_at_once(ssm):
    """Those that are none are named; ten at most."""
    put(ssm, "a", "1")
    put(ssm, "b", "2")
    told = ssm.get_parameters(Names=["b", "c", "a", "a:7"])
    assert names(told) == ["b", "a"]
    assert told["InvalidParameters"] == ["c", "a:7"]
    assert refused(ssm.get_parameters, Names=[f"{n}" for n in range(11)]) == "ValidationException"


def test_a_path_has_parameters_below_it(ssm):
    """One level or all; in pages of ten."""
    for name in ("/a/1", "/a/2", "/a/b/3", "/ab/4", "a"):
        put(ssm, name, Type="StringList" if name == "/a/2" else "String")
    assert names(ssm.get_parameters_by_path(Path="/a")) == ["/a/1", "/a/2"]
    assert names(ssm.get_parameters_by_path(Path="/a/", Recursive=True)) == ["/a/1", "/a/2", "/a/b/3"]
    assert names(ssm.get_parameters_by_path(Path="/", Recursive=True)) == [
        "/a/1",
        "/a/2",
        "/a/b/3",
        "/ab/4",
    ]
    lists = [{"Key": "Type", "Values": ["StringList"]}]
    assert names(ssm.get_parameters_by_path(Path="/a", ParameterFilters=lists)) == ["/a/2"]
    first = ssm.get_parameters_by_path(Path="/a", MaxResults=1)
    rest = ssm.get_parameters_by_path(Path="/a", NextToken=first["NextToken"])
    assert names(first) + names(rest) == ["/a/1", "/a/2"]
    assert refused(ssm.get_parameters_by_path, Path="a") == "ValidationException"
    assert refused(ssm.get_parameters_by_path, Path="/a", MaxResults=11) == "ValidationException"
    assert refused(ssm.get_parameters_by_path, Path="/a", NextToken="x") == "InvalidNextToken"
    assert refused(ssm.describe_parameters, NextToken=first["NextToken"]) == "InvalidNextToken"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"Key": "Name", "Values": ["/a/1", "/b"]}, ["/a/1", "/b"]),
        ({"Key": "Name", "Option": "BeginsWith", "Values": ["/a"]}, ["/a/1", "/a/x/2"]),
        ({"Key": "Name", "Option": "Contains", "Values": ["x"]}, ["/a/x/2"]),
        ({"Key": "Path", "Values": ["/a"]}, ["/a/1"]),
        ({"Key": "Path", "Option": "Recursive", "Values": ["/a"]}, ["/a/1", "/a/x/2"]),
        ({"Key": "Type", "Values": ["StringList"]}, ["/b"]),
        ({"Key": "tag:k", "Values": ["v"]}, ["/b"]),
        ({"Key": "tag:k"}, ["/b"]),
        ({"Key": "tag:k", "Values": ["w"]}, []),
        ({"Key": "Tier", "Values": ["Advanced"]}, []),
        ({"Key": "DataType", "Values": ["text"]}, ["/a/1", "/a/x/2", "/b"]),
    ],
)
def test_filters_choose(ssm, asked, found):
    """As DescribeParameters has them."""
    put(ssm, "/a/x/2")
    put(ssm, "/a/1")
    put(ssm, "/b", Type="StringList", Tags=[{"Key": "k", "Value": "v"}])
    assert names(ssm.describe_parameters(ParameterFilters=[asked])) == found


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"Key": "Label", "Values": ["x"]}, "InvalidFilterKey"),
        ({"Key": "Type", "Option": "BeginsWith", "Values": ["x"]}, "InvalidFilterOption"),
        ({"Key": "Name"}, "InvalidFilterValue"),
    ],
)
def test_filters_are_refused(ssm, asked, code):
    """A key, an option, no value; by path there are fewer."""
    assert refused(ssm.describe_parameters, ParameterFilters=[asked]) == code
    by_name = [{"Key": "Name", "Values": ["x"]}]
    assert refused(ssm.get_parameters_by_path, Path="/", ParameterFilters=by_name) == "InvalidFilterKey"


def test_history_goes_back_a_hundred_versions(ssm):
    """The oldest go; the count goes on."""
    for number in range(102):
        put(ssm, "a", f"{number}", Overwrite=True, Description=f"v{number}")
    versions = [
        each
        for page in ssm.get_paginator("get_parameter_history").paginate(Name="a")
        for each in page["Parameters"]
    ]
    assert [each["Version"] for each in versions] == list(range(3, 103))
    assert (versions[0]["Value"], versions[0]["Description"]) == ("2", "v2")
    assert refused(ssm.get_parameter, Name="a:1") == "ParameterVersionNotFound"


def test_deleted_is_gone(ssm):
    """One, or several; its versions with it."""
    for name in ("a", "b", "c"):
        put(ssm, name)
    ssm.delete_parameter(Name="a")
    told = ssm.delete_parameters(Names=["b", "x"])
    assert (told["DeletedParameters"], told["InvalidParameters"]) == (["b"], ["x"])
    assert names(ssm.describe_parameters()) == ["c"]
    assert put(ssm, "a") == 1


def test_tags_are_changed_later(ssm):
    """Added, written over, removed; fifty at most."""
    put(ssm, "/a", Tags=[{"Key": "k", "Value": "v"}])
    here = {"ResourceType": "Parameter", "ResourceId": "/a"}
    ssm.add_tags_to_resource(**here, Tags=[{"Key": "k", "Value": "w"}, {"Key": "l", "Value": "x"}])
    assert ssm.list_tags_for_resource(**here)["TagList"] == [
        {"Key": "k", "Value": "w"},
        {"Key": "l", "Value": "x"},
    ]
    more = [{"Key": f"{n}", "Value": "x"} for n in range(49)]
    assert refused(ssm.add_tags_to_resource, **here, Tags=more) == "TooManyTagsError"
    ssm.remove_tags_from_resource(**here, TagKeys=["k", "z"])
    assert ssm.list_tags_for_resource(**here)["TagList"] == [{"Key": "l", "Value": "x"}]
    missing = {"ResourceType": "Parameter", "ResourceId": "/b"}
    assert refused(ssm.list_tags_for_resource, **missing) == "InvalidResourceId"
    strange = {"ResourceType": "Document", "ResourceId": "/a"}
    assert refused(ssm.list_tags_for_resource, **strange) == "ValidationException"


def test_what_it_does_not_know_it_refuses(ssm):
    """The old kind of filter, labels."""
    old = [{"Key": "Name", "Values": ["a"]}]
    assert refused(ssm.describe_parameters, Filters=old) == "ValidationException"
    assert refused(ssm.describe_parameters, Shared=True) == "ValidationException"
    assert refused(ssm.label_parameter_version, Name="a", Labels=["l"]) == "ValidationException"


def test_all_of_it_is_there_after_a_restart(ssm, localcloud):
    """Versions and tags."""
    put(ssm, "/a", "1", Tags=[{"Key": "k", "Value": "v"}])
    put(ssm, "/a", "2", Overwrite=True)
    localcloud.restart()
    ssm = localcloud.client("ssm")
    assert ssm.get_parameter(Name="/a")["Parameter"]["Value"] == "2"
    assert ssm.get_parameter(Name="/a:1")["Parameter"]["Value"] == "1"
    tags = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId="/a")["TagList"]
    assert tags == [{"Key": "k", "Value": "v"}]
