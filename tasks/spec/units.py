"""Quantities as people write them, and as programs need them: sizes are bytes."""

import re

UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def size(text: object) -> int:
    """'2 GiB' -> 2147483648. Raises ValueError for anything that is not a whole number and one of the binary units."""
    match = re.fullmatch(r"\s*(\d+)\s*([A-Za-z]+)\s*", text) if isinstance(text, str) else None
    if not match or match[2] not in UNITS:
        raise ValueError(
            f"{text!r} is not a size; write a whole number and one of B, KiB, MiB, GiB, TiB: '2 GiB'"
        )
    return int(match[1]) * UNITS[match[2]]


def written(number: int) -> str:
    """2147483648 -> '2 GiB': the largest unit that divides it."""
    unit = next(name for name in reversed(UNITS) if number % UNITS[name] == 0)
    return f"{number // UNITS[unit]} {unit}"
