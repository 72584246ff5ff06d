"""Ranges of bytes to blocks of a volume: which of them a snapshot must hold. Offsets, lengths and sizes are bytes."""

from collections.abc import Iterable

from tasks.kit.blocks import Extent


def touched(ranges: Iterable[Extent], *, size: int, block: int) -> bytearray:
    """A byte for each block of a volume, the last one perhaps short: 1 if any of the ranges has a byte in it.

    Ranges may come in any order, touch and overlap. Raises ValueError for one that reaches beyond the volume.
    """
    marks = bytearray(-(-size // block))
    for at, length in ranges:
        if not 0 <= at <= at + length <= size:
            raise ValueError(f"bytes {at} to {at + length} are not in a volume of {size}")
        if length:
            first, last = at // block, (at + length - 1) // block
            marks[first : last + 1] = b"\1" * (last + 1 - first)
    return marks
