"""Rows as a table for people: columns as wide as what is in them."""

from collections.abc import Iterable, Sequence

GAP = "  "


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The head and a line for each row; the head alone when there is none."""
    lines = [tuple(columns), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(GAP.join(map(str.ljust, line, widths)).rstrip() + "\n" for line in lines)
