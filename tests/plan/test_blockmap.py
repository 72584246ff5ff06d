import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.plan.blockmap import touched

SIZE, BLOCK = 1000, 64


@given(st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).filter(lambda r: sum(r) <= SIZE)))
def test_a_block_is_touched_exactly_if_a_range_has_a_byte_in_it(ranges):
    """By counting every byte; ranges in any order, empty ones among them."""
    expected = bytearray(-(-SIZE // BLOCK))
    for at, length in ranges:
        for byte in range(at, at + length):
            expected[byte // BLOCK] = 1
    assert touched(ranges, size=SIZE, block=BLOCK) == expected


@pytest.mark.parametrize("wrong", [(-1, 5), (0, SIZE + 1), (SIZE, 1), (5, -1)])
def test_a_range_beyond_the_volume_is_refused(wrong):
    """It would be a block that is not there."""
    with pytest.raises(ValueError, match="not in a volume of 1000"):
        touched([wrong], size=SIZE, block=BLOCK)
