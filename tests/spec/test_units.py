"""Sizes are written with their unit, or refused."""

import pytest

from tasks.spec.units import size, written


@pytest.mark.parametrize(
    ("text", "number"), [("2 GiB", 2 << 30), ("2000MiB", 2000 << 20), ("0 B", 0), ("1 TiB", 1 << 40)]
)
def test_binary_units_are_read(text, number):
    """With or without a space."""
    assert size(text) == number


@pytest.mark.parametrize(
    "text", ["2 GB", "2", "2 gib", "-1 MiB", "1.5 GiB", "", "GiB", 5, None, "1 MiB 2"]
)
def test_anything_else_is_refused_with_what_to_write(text):
    """A GB is 7 % less than a GiB: nobody should guess."""
    with pytest.raises(ValueError, match="is not a size; write a whole number"):
        size(text)


@pytest.mark.parametrize("text", ["2 GiB", "2000 MiB", "1 TiB", "513 B"])
def test_a_size_is_written_as_it_is_read(text):
    """In the largest unit that divides it."""
    assert written(size(text)) == text
