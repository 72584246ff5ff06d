"""The rules of `authorize:`: who may come in is written, never assumed."""

import pytest
from pydantic import ValidationError

from tasks.spec.cloud import CloudSpec, Rule

RULE = {"ports": 22, "cidr": "192.0.2.7/32"}


def test_a_rule_is_as_it_is_written():
    made = Rule.model_validate(RULE)
    assert (made.group, made.protocol, made.span, made.cidr) == (
        "default",
        "tcp",
        (22, 22),
        "192.0.2.7/32",
    )
    assert Rule.model_validate({**RULE, "ports": "8000-8010"}).span == (8000, 8010)
    assert Rule.model_validate({**RULE, "cidr": "2001:db8::/32"}).cidr == "2001:db8::/32"


@pytest.mark.parametrize("key", ["ports", "cidr"])
def test_what_and_to_whom_must_be_written(key):
    """There is no default that would open anything."""
    with pytest.raises(ValidationError, match=f"(?s){key}.*required"):
        Rule.model_validate({name: value for name, value in RULE.items() if name != key})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("cidr", "192.0.2.7", "write 192.0.2.7/32"),
        ("cidr", "192.0.2.7/24", "write 192.0.2.0/24"),
        ("cidr", "everybody", "is no network"),
        ("ports", "ssh", "is no port"),
        ("ports", 65536, "ports go from 0 to 65535"),
        ("ports", "90-80", "the lower first"),
        ("protocol", "icmp", "tcp"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_write(key, value, said):
    with pytest.raises(ValidationError, match=said):
        Rule.model_validate({**RULE, key: value})


def test_rules_are_no_part_of_what_is_built():
    """An upload is not stale because a port was opened."""
    bare = CloudSpec(name="local", kind="local")
    open_ = CloudSpec.model_validate({"name": "local", "kind": "local", "authorize": [RULE]})
    assert open_.authorize
    assert open_.model_dump() == bare.model_dump()
