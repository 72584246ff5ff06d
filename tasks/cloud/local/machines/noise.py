"""A volume made of a snapshot: blocks that were never written hold noise, as an encrypted volume shows them.

It is a qcow2 file with clusters as large as EBS's blocks, to be read only. However large the volume, there is little noise
in it: the blocks without data share a few clusters of it. docs/interop/qcow2.txt of QEMU has the format. Sizes are bytes.
"""

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

BITS = 19
BLOCK = 1 << BITS  # of EBS
ENTRY = 8
PER_TABLE = BLOCK // ENTRY  # blocks that a second-level table leads to
GRAINS = 16  # clusters of noise
FIRST, REFCOUNTS, TABLES = BLOCK, 2 * BLOCK, 3 * BLOCK  # the first cluster is the header's
HEADER = ">4sIQIIQIIQQIIQQQQII"


@dataclass(frozen=True)
class Layout:
    """Where things lie in the file of a volume of `size` bytes."""

    size: int

    @property
    def blocks(self) -> int:
        return -(-self.size // BLOCK)

    @property
    def tables(self) -> int:
        return -(-self.blocks // PER_TABLE)

    @property
    def noise(self) -> int:
        return TABLES + self.tables * BLOCK

    @property
    def data(self) -> int:
        return self.noise + GRAINS * BLOCK

    def header(self) -> bytes:
        """Version 3, without a backing file, encryption, snapshots or any feature; 16-bit reference counts."""
        first = (b"QFI\xfb", 3, 0, 0, BITS, self.size, 0, self.tables, FIRST)
        return struct.pack(HEADER, *first, REFCOUNTS, 1, 0, 0, 0, 0, 0, 4, struct.calcsize(HEADER))

    def entry(self, block: int) -> int:
        """Where the second-level entry of a block lies."""
        return TABLES + block * ENTRY


def volume(path: Path, size: int, seed: bytes, blocks: Iterable[tuple[int, bytes]]) -> None:
    """`blocks`: what was written, by index, a block each. Equal seeds give equal noise."""
    layout = Layout(size)
    with path.open("wb") as file:
        file.write(layout.header())
        file.seek(FIRST)
        file.write(
            struct.pack(f">{layout.tables}Q", *(TABLES + n * BLOCK for n in range(layout.tables)))
        )
        file.seek(layout.noise)
        for grain in range(GRAINS):
            file.write(hashlib.shake_128(seed + bytes((grain,))).digest(BLOCK))
        for table in range(layout.tables):
            last = min(layout.blocks, (table + 1) * PER_TABLE)
            entries = [layout.noise + n % GRAINS * BLOCK for n in range(table * PER_TABLE, last)]
            file.seek(TABLES + table * BLOCK)
            file.write(struct.pack(f">{len(entries)}Q", *entries))
        for count, (index, data) in enumerate(blocks):
            at = layout.data + count * BLOCK
            file.seek(at)
            file.write(data)
            file.seek(layout.entry(index))
            file.write(struct.pack(">Q", at))
        file.seek(0, 2)
        file.truncate(-(-file.tell() // BLOCK) * BLOCK)
