"""<image>.img -> <image>.blocks.json: which blocks of an EBS-backed image must be written to a snapshot, and their digests.

In:    a disk image with its stamp, whole GiB long
Out:   the block list: index and SHA-256 of every block of 512 KiB that somebody may read, zero or not
Needs: nothing: no root, no program; memory for one block per core, and 700 bytes for each block in the list

A block that is left out of a snapshot reads as zeros from an ordinary volume and as noise from an encrypted one. So only those are left
out that the partition table and the file systems' own maps call free (kit/diskuse.py); neither zeros nor holes are a reason. The volume is
whole GiB, so that block `index` is the 524288 bytes of the image from `index * 524288` on, the last one too.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import compress, islice
from pathlib import Path

from tasks.kit import diskuse, files
from tasks.kit.blocks import Buffers, Extent
from tasks.kit.fault import ConfigFault
from tasks.kit.parallel import in_order
from tasks.kit.report import Report, amount
from tasks.plan.blockmap import touched
from tasks.spec.part import Part
from tasks.spec.record import BlockList, ImgStamp
from tasks.spec.tool import Tool

RECIPE = 1  # raise when the same order ought to give another list
VERSION = 1  # of what the list says, and how

BLOCK = 512 << 10  # the only size that EBS direct takes
ZEROS = "07854d2fef297a06ba81685e660c332de36d5d18d546927d30daad6d7fda1541"  # SHA-256 of such a block
GIB = 1 << 30
MOST_GIB = 65536  # of StartSnapshot's VolumeSize
BATCH = 8  # blocks for one thread at a time: handing over a single one costs a tenth of hashing it
MOST_THREADS = 16  # more than any disk keeps busy, at 1.4 GB/s each
AHEAD = 4  # batches begun beyond one per thread: nobody waits

Found = tuple[int, str]  # index and SHA-256


class Order(Part):
    """All this stage may know: what is read follows from the image alone."""

    image: str


def tools(_: Order) -> tuple[Tool, ...]:
    return ()


def body(order: Order, *, report: Report, image: Path, stamp: Path, blocks: Path) -> None:
    stamped = ImgStamp.read(stamp).file
    stamped.check(image)
    _volume(order, image, stamped.size)
    report.said("reading the maps of free blocks")
    found = diskuse.use(image)
    for reason in found.whole:
        report.noted(f"sent whole, {reason}")
    report.said("hashing blocks")
    listed = tuple(_digests(image, stamped.size, found.read, report))
    stamped.check(image)
    said = {"version": VERSION, "block_size": BLOCK, "volume_size": stamped.size, "blocks": listed}
    BlockList(**said, sha256=stamped.sha256, digest=files.digest(said), unread=found.maps).write(blocks)
    report.said(f"{len(listed)} of {stamped.size // BLOCK} blocks to send")


def _volume(order: Order, image: Path, size: int) -> None:
    """Raises ConfigFault unless EBS has volumes of this size."""
    if 0 < size <= MOST_GIB * GIB and size % GIB == 0:
        return
    fit = min(max(-(-size // GIB), 1), MOST_GIB)
    raise ConfigFault(
        f"{image.name} has {size} B ({amount(size)}): EBS volumes are 1 to {MOST_GIB} whole GiB",
        where=f"config/images/{order.image}.yaml: disk.size",
        hint=f"disk.size: {fit} GiB, and run doit again",
    )


def _digests(image: Path, size: int, read: Iterable[Extent], report: Report) -> Iterator[Found]:
    """Of each block that is read, ascending. Holes have a digest that is known."""
    needed = touched(read, size=size, block=BLOCK)
    handle = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        stored = touched(files.stored(handle, size), size=size, block=BLOCK)
        threads = min(len(os.sched_getaffinity(0)), MOST_THREADS)
        jobs = _jobs(handle, needed, stored, Buffers(threads, BLOCK))
        done, total = 0, sum(needed)
        with closing(in_order(jobs, threads=threads, ahead=AHEAD)) as batches:
            for batch in batches:
                yield from batch
                done += len(batch)
                report.moved(done * BLOCK, total * BLOCK)
    finally:
        os.close(handle)


def _jobs(
    handle: int, needed: bytearray, stored: bytearray, buffers: Buffers
) -> Iterator[Callable[[], list[Found]]]:
    indices = compress(range(len(needed)), needed)
    while batch := list(islice(indices, BATCH)):
        yield partial(_hashed, handle, batch, stored, buffers)


def _hashed(handle: int, batch: Iterable[int], stored: bytearray, buffers: Buffers) -> list[Found]:
    return [(index, _sha256(handle, index, buffers) if stored[index] else ZEROS) for index in batch]


def _sha256(handle: int, index: int, buffers: Buffers) -> str:
    data = buffers.filled(handle, ((index * BLOCK, BLOCK),))
    digest = hashlib.sha256(data).hexdigest()
    buffers.back(data)
    return digest
