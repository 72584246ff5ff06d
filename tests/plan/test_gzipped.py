import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.plan import gzipped


@pytest.mark.parametrize(("compression", "level"), [("fast", 4), ("small", 0)])
@given(pieces=st.lists(st.binary(max_size=3000) | st.just(bytes(5000)), min_size=1, max_size=8))
def test_blocks_join_to_one_member_with_all_their_bytes(compression, level, pieces):
    """Another library finds one stream, its checksum right, and nothing behind it; the header is that of a pipe."""
    blocks = [gzipped.block(piece, compression) for piece in pieces[:-1]]
    blocks.append(gzipped.block(pieces[-1], compression, last=True))
    whole = b"".join(gzipped.member(blocks, compression))
    inflater = zlib.decompressobj(31)
    assert inflater.decompress(whole) == b"".join(pieces)
    assert (inflater.eof, inflater.unused_data) == (True, b"")
    assert whole[:10] == bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, level, 3])
    assert gzip.decompress(whole) == b"".join(pieces)
