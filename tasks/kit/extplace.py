"""Gives every file of an ext4 file system a place that depends on its name and hardly on what else there is.

mke2fs writes one file behind the other, so that one that grows by a block moves all that follow: an EBS snapshot whose parent
holds the image before would have nearly everything to send again. After `place`, what is to be sent is little more than what
changed; tests/bench/bench_delta.py has figures.

What moves: the content of files, folders and links whose block map lies in their inode, their blocks of extended attributes,
and inodes, which get other numbers. What stays: all that is in no folder (superblocks, descriptors, bitmaps, tables, journal,
reserved blocks), the root folder and lost+found. How many blocks and inodes are in use does not change.

Two things that mke2fs leaves to the order of events are set: backups of the superblock and of the descriptors count what is free
as if there were no files (so that they never change; the kernel and e2fsck count anew when they must turn to a backup), and
blocks that are free hold zeros.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tasks.kit.ext import Entry, Ext
from tasks.kit.extlayout import EXTENTS, SUPERBLOCK_AT, SUPERBLOCK_SIZE, Inode, Volume, u16, u32, volume
from tasks.kit.extmap import IN_EXTENTS
from tasks.kit.extmove import (
    ATTRIBUTES_AT,
    ATTRIBUTES_HIGH_AT,
    File,
    Plan,
    inode_at,
    ones,
    rewrite,
)
from tasks.kit.extnumbers import numbered
from tasks.kit.extslots import SLOT, Load, Space, flip, settled
from tasks.kit.exttree import Tree, needs, read
from tasks.kit.fault import ImageFault
from tasks.kit.files import scratch_of

BLOCK = 4096  # bytes
SLOT_BYTES = SLOT * BLOCK
FIXED = 11  # inodes up to this one keep number and place; the last of them is lost+found
OLD = 128  # bytes of an inode that all sizes of inodes have
SHARERS_AT = 4  # in a block of extended attributes: how many inodes have it
# Features that name no block and no inode where we would not find it: has_journal, ext_attr, resize_inode, dir_index;
# filetype, extent, flex_bg; sparse_super, large_file, btree_dir, huge_file, dir_nlink, extra_isize
COMPATIBLE = 0x4 | 0x8 | 0x10 | 0x20
INCOMPATIBLE = 0x2 | EXTENTS | 0x200
READ_ONLY = 0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x40
ORPHANS_AT = 0xE8  # byte of a superblock


def place(path: Path, *, offset: int = 0) -> bool:
    """Move the files of the ext4 that begins at byte `offset`; False when the disk is too full to, and all stays as it was.

    The file at `path` is replaced by another: let it be a scratch file that nobody has open. Whatever it holds besides the
    file system is kept. Raises ImageFault for a file system that is damaged, or has features that this code does not know.
    """
    with volume(path, offset) as fs:
        _understood(fs)
        plan = planned(fs)
        if plan is None:
            return False
        scratch = scratch_of(path)
        scratch.unlink(missing_ok=True)
        status = os.fstat(fs.handle)
        handle = os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(handle, status.st_mode & 0o7777)
            os.truncate(handle, status.st_size)
            rewrite(fs, plan, handle)
            scratch.replace(path)
        finally:
            os.close(handle)
            scratch.unlink(missing_ok=True)
    return True


def _understood(fs: Volume) -> None:
    own = fs.superblock
    masks = (
        ("compatible", own.compatible & ~COMPATIBLE),
        ("incompatible", own.incompatible & ~INCOMPATIBLE),
        ("read-only compatible", own.read_only & ~READ_ONLY),
    )
    strange = [f"{name} features {bits:#x}" for name, bits in masks if bits]
    if not own.incompatible & EXTENTS:
        strange.append("no extents")
    if own.block_size != BLOCK or own.blocks_per_group != 8 * BLOCK:
        strange.append(f"groups of {own.blocks_per_group} blocks of {own.block_size} B")
    if fs.offset % SLOT_BYTES:
        strange.append(f"its beginning at byte {fs.offset}, no multiple of {SLOT_BYTES}")
    if u32(fs.at(SUPERBLOCK_AT, SUPERBLOCK_SIZE), ORPHANS_AT):
        strange.append("files that were deleted while open")
    if strange:
        raise ImageFault(
            f"the files of {fs.path.name} cannot be given stable places: it has {', '.join(strange)}",
            where=str(fs.path),
            hint="make it by mke2fs with templates/mke2fs.conf, or leave its files where they are",
        )


def planned(fs: Volume) -> Plan | None:
    """Where everything goes; None when it does not fit."""
    files = tuple(_files(fs))
    taken = bytearray().join(fs.block(group.block_bitmap) for group in fs.groups)
    left = ones(taken)
    for at, blocks in (held for file in files for held in _held(file)):
        flip(taken, at, blocks)
        left -= blocks
    if ones(taken) != left:
        raise fs.fault("two files have the same block, or a file one that is called free")
    fixed = bytes(taken)
    spots = settled(
        [load for file in files for load in _loads(file)], Space(taken, fs.superblock.blocks)
    )
    if spots is None:
        return None
    places = iter(spots)
    content, attributes = {}, {}
    for file in files:
        if file.content:
            content[file.number] = next(places)
        if file.attributes:
            attributes[file.number] = next(places)[0].at
    return Plan(files, content, attributes, _numbers(fs, files), fixed, bytes(taken))


def _loads(file: File) -> Iterator[Load]:
    """What is to be placed of a file: its content, and the tree over it; its attributes."""
    needed = needs(file.content.content, BLOCK) if file.content else None
    if file.content and needed:
        nodes, pieces = needed
        yield Load(file.name, nodes + sum(run.blocks for run in file.content.content), pieces)
    if file.attributes:
        yield Load(file.name + b"\0", 1, 1)


def _held(file: File) -> Iterator[tuple[int, int]]:
    """(first, blocks) of what it takes up and leaves."""
    if file.content:
        yield from ((run.at, run.blocks) for run in file.content.content)
        yield from ((node, 1) for node in file.content.nodes)
    if file.attributes:
        yield file.attributes, 1


def _files(fs: Volume) -> Iterator[File]:
    """Each file once, by the first of its paths."""
    entries: dict[int, Entry] = {}
    for entry in Ext(fs).walk():
        entries.setdefault(entry.inode, entry)
    raws = {number: fs.at(inode_at(fs, number), OLD) for number in entries}
    sharers = Counter(_attributes(raw) for raw in raws.values())
    for number, entry in entries.items():
        name = entry.path.encode("utf-8", "surrogateescape")
        block = _attributes(raws[number])
        if number <= FIXED:
            yield File(name, number, entry.is_dir, None, 0)
            continue
        if block and (sharers[block] > 1 or u32(fs.block(block), SHARERS_AT) != 1):
            block = 0
        yield File(name, number, entry.is_dir, _content(fs, fs.inode(number)), block)


def _attributes(raw: bytes) -> int:
    return u32(raw, ATTRIBUTES_AT) | u16(raw, ATTRIBUTES_HIGH_AT) << 32


def _content(fs: Volume, inode: Inode) -> Tree | None:
    """What its extents say; nothing when it has none, or too many to be laid anew."""
    if not inode.flags & IN_EXTENTS:
        return None
    tree = read(fs, inode)
    return tree if tree and tree.content and needs(tree.content, BLOCK) else None


def _numbers(fs: Volume, files: Iterable[File]) -> dict[int, int]:
    """What each inode in use becomes."""
    wanted = {file.name: file.number for file in files if file.number > FIXED}
    per_group = fs.superblock.inodes_per_group
    used = [fs.block(group.inode_bitmap)[: per_group // 8] for group in fs.groups]
    kept = [
        number for number in range(1, FIXED + 1) if used[0][(number - 1) >> 3] >> (number - 1 & 7) & 1
    ]
    if sum(map(ones, used)) != len(kept) + len(wanted):
        raise fs.fault("it has files that are in no folder")
    new = numbered(tuple(wanted), _buckets(fs, fs.superblock.inodes))
    return dict(zip(kept, kept, strict=True)) | {number: new[name] for name, number in wanted.items()}


def _buckets(fs: Volume, inodes: int) -> list[list[range]]:
    """Inode numbers by the slot of the disk that holds them, but for those that are spoken for."""
    found: dict[int, list[range]] = {}
    per_group, size = fs.superblock.inodes_per_group, fs.superblock.inode_size
    for begin in range(1, inodes + 1, per_group):
        number, end = max(begin, FIXED + 1), begin + per_group
        at = inode_at(fs, number)
        while number < end:
            slot = at // SLOT_BYTES
            stop = min(end, number + ((slot + 1) * SLOT_BYTES - at) // size)
            found.setdefault(slot, []).append(range(number, stop))
            number, at = stop, (slot + 1) * SLOT_BYTES
    return [found[slot] for slot in sorted(found)]
