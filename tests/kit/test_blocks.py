import os
from queue import Empty

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.kit.blocks import Buffers, batches
from tasks.kit.fault import ImageFault


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 300)), max_size=20), st.integers(1, 100))
def test_batches_are_the_runs_in_blocks_of_one_size(loose, size):
    """Nothing lost, nothing twice, nothing empty; all but the last full."""
    runs, at = [], 0
    for gap, length in loose:
        runs.append((at + gap, length))
        at += gap + length
    found = list(batches(runs, size))
    every = [offset for start, length in runs for offset in range(start, start + length)]
    assert [
        offset for batch in found for start, length in batch for offset in range(start, start + length)
    ] == every
    assert all(sum(length for _, length in batch) == size for batch in found[:-1])
    assert all(length for batch in found for _, length in batch)


def test_a_buffer_holds_what_the_file_has_there_and_is_used_again(tmp_path):
    """Two runs in one; a second buffer there is not."""
    (tmp_path / "file").write_bytes(b"0123456789")
    handle = os.open(tmp_path / "file", os.O_RDONLY)
    buffers = Buffers(1, 8)
    data = buffers.filled(handle, [(1, 2), (7, 3)])
    assert bytes(data) == b"12789"
    with pytest.raises(Empty):
        buffers.filled(handle, [(0, 1)])
    buffers.back(data)
    buffers.back(b"not ours")
    assert bytes(buffers.filled(handle, [(0, 8)])) == b"01234567"
    os.close(handle)


def test_a_file_that_is_shorter_is_noticed(tmp_path):
    """Not read as something else."""
    (tmp_path / "file").write_bytes(b"0123")
    handle = os.open(tmp_path / "file", os.O_RDONLY)
    with pytest.raises(ImageFault, match="became shorter"):
        Buffers(1, 8).filled(handle, [(0, 8)])
    os.close(handle)
