"""The keys of `launch:`."""

import pytest
from pydantic import ValidationError

from tasks.spec.launch import Launch


def test_without_a_word_one_m1_small_is_started():
    """The recipe's own, with what is safe today."""
    made = Launch()
    assert (made.type, made.count, made.groups, made.imds) == ("m1.small", 1, ("default",), "v2")
    assert (made.user_data, made.subnet, made.tags, made.timeout) == (None, None, {}, 900)


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
