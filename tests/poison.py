"""What an encrypted volume shows of a snapshot: the blocks that were written to it, and noise wherever none was."""

import hashlib
import random
from pathlib import Path

from tasks.spec.record import BlockList

POOL = (
    4 << 20
)  # bytes of noise that all of it is cut from: drawing each block anew takes a minute for 8 GiB


def poisoned(image: Path, blocks: BlockList, target: Path, seed: int) -> Path:
    """A disk made of what the list says of an image, and of nothing else. Fails if the list says what is not there."""
    noise = random.Random(seed)
    pool = noise.randbytes(POOL)
    written = dict(blocks.blocks)
    size = blocks.block_size
    with image.open("rb") as source, target.open("wb") as sink:
        for index in range(blocks.volume_size // size):
            if index not in written:
                at = noise.randrange(POOL - size)
                sink.write(pool[at : at + size])
                continue
            source.seek(index * size)
            data = source.read(size)
            assert hashlib.sha256(data).hexdigest() == written[index], f"block {index}"
            sink.write(data)
    return target
