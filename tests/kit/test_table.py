"""Tables for people."""

from tasks.kit.table import table


def test_columns_are_as_wide_as_what_is_in_them():
    """And no line ends in spaces."""
    assert table(("id", "name"), [("i-1", "x"), ("i-22", "a longer one")]).splitlines() == [
        "id    name",
        "i-1   x",
        "i-22  a longer one",
    ]


def test_without_rows_there_is_the_head():
    assert table(("id", "name"), []) == "id  name\n"
