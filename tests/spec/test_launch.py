"""The keys of `launch:`."""

import pytest
from pydantic import ValidationError

from tasks.cloud.local.ec2.types import FAMILIES, TYPES
from tasks.spec.launch import Launch, usual_type


def test_without_a_word_one_instance_is_started():
    """Of a type that follows from the image, with what is safe today."""
    made = Launch()
    assert (made.type, made.count, made.groups, made.imds) == (None, 1, ("default",), "v2")
    assert (made.user_data, made.subnet, made.tags, made.timeout) == (None, None, {}, 900)


@pytest.mark.parametrize(
    ("architecture", "ebs", "kind"),
    [
        ("x86_64", True, "t3.micro"),
        ("arm64", True, "t4g.micro"),
        ("i386", True, "t2.micro"),
        ("x86_64", False, "m1.small"),
        ("i386", False, "m1.small"),
    ],
)
def test_the_usual_type_can_run_the_image(architecture, ebs, kind):
    """As the local cloud, which has EC2's own table, describes it."""
    assert usual_type(architecture, ebs=ebs) == kind
    size = TYPES[kind]
    family = FAMILIES[size.family or kind.partition(".")[0]]
    assert architecture in family.architectures
    assert ("hvm" if ebs else "paravirtual") in family.virtualization
    assert ebs or size.disks[0], "the root of what is S3-backed lies on a disk of the instance's own"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("type", "small"),
        ("type", "m1.small; rm"),
        ("count", 0),
        ("groups", []),
        ("groups", [""]),
        ("subnet", "vpc-1"),
        ("timeout", 0),
        ("user_data", ""),
        ("imds", "v1"),
        ("tags", {"doit-ami:image": "x"}),
        ("tags", {"aws:x": "x"}),
        ("colour", "red"),
    ],
)
def test_what_cannot_be_is_refused(key, value):
    with pytest.raises(ValidationError, match=key):
        Launch.model_validate({key: value})
