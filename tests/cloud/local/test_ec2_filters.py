"""Filters: wildcards, several values, several filters, limits."""

from typing import Any

import pytest

from tasks.cloud.local.body import Body
from tasks.cloud.local.call import Asked, Call
from tasks.cloud.local.ec2.filters import at, matching, plain, within
from tasks.cloud.local.refusal import Refusal

THINGS = [
    {"Name": "debian-12", "Size": 8, "Fast": True, "Parts": [{"Kind": {"Of": "a"}}, {"Kind": {"Of": "b"}}],
     "Tags": [{"Key": "Owner", "Value": "Team A"}, {"Key": "Old", "Value": ""}]},
    {"Name": "debian-13", "Size": 10, "Fast": False, "Parts": [{}], "Tags": [{"Key": "Owner", "Value": "Team B"}]},
    {"Name": "a*b?c\\d", "Size": 80},
]  # fmt: skip
TABLE = {
    **plain("name"),
    "size": at("Size"),
    "fast": lambda thing: thing.get("Fast"),
    "part": within("Parts", "Kind", "Of"),
}


def call(*filters: Any) -> Call:
    asked = Asked({"Filters": list(filters)})
    return Call("ec2", "DescribeThings", "1", "us-east-1", asked, Body(), None)  # type: ignore[arg-type]


def found(*filters: Any) -> list[str]:
    return [thing["Name"] for thing in matching(call(*filters), THINGS, TABLE)]


@pytest.mark.parametrize(
    ("name", "values", "names"),
    [
        ("name", ["debian-12"], [0]),
        ("name", ["debian-*"], [0, 1]),
        ("name", ["debian-1?"], [0, 1]),
        ("name", ["debian-12?"], [0]),  # one character or none, as EC2 has it
        ("name", ["DEBIAN-12"], []),
        ("name", ["*"], [0, 1, 2]),
        ("name", [r"a\*b\?c\\d"], [2]),
        ("name", ["a[*]b"], []),
        ("name", ["debian-12", "debian-13"], [0, 1]),
        ("size", ["8"], [0]),
        ("fast", ["true"], [0]),
        ("fast", ["false"], [1]),
        ("part", ["b"], [0]),
        ("part", ["*"], [0]),
        ("tag:Owner", ["Team ?"], [0, 1]),
        ("tag:Owner", ["Team B"], [1]),
        ("tag:Old", [""], [0]),
        ("tag:owner", ["*"], []),
        ("tag-key", ["O*"], [0, 1]),
        ("tag-key", ["Old"], [0]),
    ],
)
def test_a_filter_passes_what_has_one_of_its_values(name, values, names):
    """Stars are anything, question marks one character or none, backslashes take that from them."""
    assert found({"Name": name, "Values": values}) == [THINGS[index]["Name"] for index in names]


def test_all_filters_are_passed():
    """One after the other, of the same name too."""
    first = {"Name": "name", "Values": ["debian-*"]}
    assert found(first, {"Name": "tag:Owner", "Values": ["Team B"]}) == ["debian-13"]
    assert found(first, {"Name": "name", "Values": ["*12"]}) == ["debian-12"]
    assert len(found()) == 3


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"Name": "colour", "Values": ["red"]}, "InvalidParameterValue"),
        ({"Name": "Name", "Values": ["debian-12"]}, "InvalidParameterValue"),
        ({"Values": ["debian-12"]}, "InvalidParameterValue"),
        ({"Name": "name"}, "MissingParameter"),
        ({"Name": "name", "Values": ["a"] * 201}, "FilterLimitExceeded"),
        ({"Name": "name", "Values": ["a" * 256]}, "FilterLimitExceeded"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(asked, code):
    """By its name, and when there is nothing yet to be filtered too."""
    with pytest.raises(Refusal) as caught:
        matching(call(asked), [], TABLE)
    assert caught.value.code == code


def test_every_filter_of_a_call_counts_as_known():
    """So that none is refused for not being looked at."""
    one = call({"Name": "name", "Values": ["a"]}, {"Name": "tag:x", "Values": ["b"]})
    matching(one, [], TABLE)
    assert list(one.asked.unseen()) == []
