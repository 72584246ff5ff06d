import hashlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.kit import files
from tasks.kit.cut import cut


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(1, 30))
def test_pieces_laid_end_to_end_are_the_stream(tmp_path_factory, stream, size):
    """All of one size but the last, none empty, each with its own digests."""
    home = tmp_path_factory.mktemp("cut")
    pieces = cut(stream, size, lambda index: home / str(index))
    data = [piece.path.read_bytes() for piece in pieces]
    assert b"".join(data) == b"".join(stream)
    assert all(len(each) == size for each in data[:-1])
    assert all(0 < len(each) <= size for each in data[-1:])
    for piece, each in zip(pieces, data, strict=True):
        assert piece.size == len(each)
        assert piece.sha1 == hashlib.sha1(each).hexdigest()  # noqa: S324 - what is tested
        assert piece.sha256 == hashlib.sha256(each).hexdigest()


def test_a_stream_that_breaks_is_told_as_it_is(tmp_path):
    """And no thread waits for what does not come."""
    before = set(threading.enumerate())

    def stream():
        yield b"abc"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cut(stream(), 2, lambda index: tmp_path / str(index))
    assert set(threading.enumerate()) <= before


def test_a_disk_that_fails_is_told(tmp_path, monkeypatch):
    """Even though a thread of its own waited for it."""

    def broken(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files, "settle", broken)
    with pytest.raises(OSError, match="Input/output error"):
        cut([b"abc"], 2, lambda index: tmp_path / str(index))
