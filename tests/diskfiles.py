"""Small disks with real content, in the formats that VM Import takes, and snapshots read back to compare."""

import base64
import hashlib
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.localsnapshots import SIZE

GIB = 1 << 30
VMDK = ("-O", "vmdk", "-o", "adapter_type=lsilogic,subformat=streamOptimized")
VHD = ("-O", "vpc", "-o", "force_size=on")


LENGTHS = (1, 512, 70_000)  # bytes of noise, in a block or over its end


def disk(
    path: Path, *, size: int = GIB, blocks: int = 12, seed: int = 1, lengths: Sequence[int] = LENGTHS
) -> Path:
    """A raw disk: noise here and there, zeros that were written, and holes."""
    noise = random.Random(seed)
    with path.open("wb") as file:
        file.truncate(size)
        for index in {0, size // SIZE - 1, *(noise.randrange(size // SIZE) for _ in range(blocks))}:
            file.seek(index * SIZE + noise.choice((0, 1, 4096)))
            file.write(noise.randbytes(noise.choice(lengths)))
        file.seek(5 * SIZE)
        file.write(bytes(4096))
        file.truncate(size)
    return path


def converted(source: Path, target: Path, *words: str) -> Path:
    command = ["qemu-img", "convert", "-f", "raw", *words, str(source), str(target)]
    subprocess.run(command, check=True)
    return target


def same(ebs: Any, snapshot: str, raw: Path, *, size: int = GIB) -> None:
    """Every block of the snapshot is there, and what the disk has in its place; behind the disk's end there are zeros."""
    told = ebs.list_snapshot_blocks(SnapshotId=snapshot)
    assert told["VolumeSize"] * GIB == size
    found = {each["BlockIndex"]: each["BlockToken"] for each in told["Blocks"]}
    assert sorted(found) == list(range(size // SIZE))
    zeros = base64.b64encode(hashlib.sha256(bytes(SIZE)).digest()).decode()
    with raw.open("rb") as file:
        for index, token in sorted(found.items()):
            file.seek(index * SIZE)
            data = file.read(SIZE).ljust(SIZE, b"\0")
            checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
            if checksum == zeros and index % 97:  # not each of two thousand
                continue
            block = ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=index, BlockToken=token)
            assert block["Checksum"] == checksum, index
            assert block["BlockData"].read() == data
