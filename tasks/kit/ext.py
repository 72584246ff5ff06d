"""Reads ext2, ext3 and ext4 file systems that lie in files: no root, no mount, no kernel.

Paths are absolute, as the image's own users see them; names that are not UTF-8 keep their bytes (surrogateescape). Links are
followed inside the image only. Source: the kernel's Documentation/filesystems/ext4 (directory.rst).
"""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import Struct
from typing import NamedTuple, Self

from tasks.kit.extlayout import Inode, Volume, volume
from tasks.kit.extmap import IN_EXTENTS, runs
from tasks.kit.fault import ImageFault

ROOT = 2  # the inode of the root directory
DIRENT = Struct("<IHB")  # inode, length of the record, length of the name
NAME_AT = 8  # in a record
SHORT_LINK = 60  # bytes: a target shorter than this lies in the inode
LONGEST_LINK = 4096  # bytes, as in the kernel's PATH_MAX
MOST_LINKS = 40  # followed for one path, as in the kernel's namei.c
PIECE = 4 << 20  # bytes handed out at once
READ_MOST = 256 << 20  # bytes read into memory at once


class Entry(NamedTuple):
    path: str
    inode: int
    mode: int
    uid: int
    gid: int
    size: int
    links: int
    mtime: int  # seconds since 1970

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)


class Ext:
    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        own = volume.superblock
        self.uuid = str(own.uuid)
        self.label = own.label
        self.block_size = own.block_size
        self.blocks = own.blocks
        self.free_blocks = own.free_blocks

    @classmethod
    @contextmanager
    def open(cls, path: Path, offset: int = 0) -> Iterator[Self]:
        """The file system that begins at byte `offset` of a file. Raises ImageFault where there is none we understand."""
        with volume(path, offset) as found:
            yield cls(found)

    def walk(self) -> Iterator[Entry]:
        """Everything there is, the root first, a directory before what it holds, names in the order of their bytes."""
        seen: set[int] = set()
        todo = [self._entry("/", ROOT)]
        while todo:
            entry = todo.pop()
            yield entry
            if entry.is_dir:
                if entry.inode in seen:
                    raise self.volume.fault(f"directory {entry.path} lies in two places at once")
                seen.add(entry.inode)
                todo += reversed(self._children(entry))

    def exists(self, path: str) -> bool:
        return self._find(path, follow=True) is not None

    def lookup(self, path: str, *, follow: bool = True) -> Entry:
        """What a path leads to; its links are followed, the last one unless told not to. Raises ImageFault when it is nothing."""
        entry = self._find(path, follow=follow)
        if entry is None:
            raise ImageFault(
                f"{path} is not in the image, or is a link to nothing", where=str(self.volume.path)
            )
        return entry

    def target(self, link: Entry) -> str:
        inode = self.volume.inode(link.inode)
        if not stat.S_ISLNK(inode.mode) or not 0 < inode.size <= LONGEST_LINK:
            raise self.volume.fault(f"{link.path} is not a link, or a damaged one")
        short = inode.size < SHORT_LINK and not inode.flags & IN_EXTENTS
        return name(inode.map[: inode.size] if short else b"".join(self._chunks(inode)))

    def read(self, which: str | Entry) -> bytes:
        """The whole content of a regular file, by its path or its entry."""
        inode = self._file(which)
        if inode.size > READ_MOST:
            raise self.volume.fault(
                f"file {inode.number} is too large to be read at once: {inode.size} B"
            )
        return b"".join(self._chunks(inode))

    def chunks(self, which: str | Entry) -> Iterator[bytes]:
        """The whole content of a regular file, holes as zeros, in pieces of at most PIECE bytes."""
        yield from self._chunks(self._file(which))

    def data(self, which: str | Entry) -> Iterator[tuple[int, bytes]]:
        """(offset, piece) of what is stored of a regular file; the holes between are left out."""
        yield from self._data(self._file(which))

    def _file(self, which: str | Entry) -> Inode:
        entry = self.lookup(which) if isinstance(which, str) else which
        inode = self.volume.inode(entry.inode)
        if not stat.S_ISREG(inode.mode):
            raise ImageFault(f"{entry.path} is not a regular file", where=str(self.volume.path))
        return inode

    def _data(self, inode: Inode) -> Iterator[tuple[int, bytes]]:
        size = self.block_size
        for run in runs(self.volume, inode):
            begin, at = run.first * size, run.at * size
            length = min(run.blocks * size, inode.size - begin)
            for step in range(0, length, PIECE):
                yield begin + step, self.volume.at(at + step, min(PIECE, length - step))

    def _chunks(self, inode: Inode) -> Iterator[bytes]:
        at = 0
        for offset, piece in self._data(inode):
            yield from zeros(offset - at)
            yield piece
            at = offset + len(piece)
        yield from zeros(inode.size - at)

    def _find(self, path: str, *, follow: bool) -> Entry | None:
        trail = [self._entry("/", ROOT)]
        todo = path.split("/")[::-1]
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                trail = trail[:1] + trail[1:-1]  # above the root there is the root
            elif part not in ("", "."):
                child = self._child(trail[-1], part)
                if child is None:
                    return None
                if not child.is_link or not (follow or todo):
                    trail.append(child)
                    continue
                links += 1
                if links > MOST_LINKS:
                    return None
                target = self.target(child)
                todo += target.split("/")[::-1]
                if target.startswith("/"):
                    del trail[1:]
        return trail[-1]

    def _entry(self, path: str, number: int) -> Entry:
        inode = self.volume.inode(number)
        if not inode.mode or not inode.links or (number == ROOT and not stat.S_ISDIR(inode.mode)):
            raise self.volume.fault(f"{path} is damaged: its inode, {number}, is not in use")
        return Entry(
            path, number, inode.mode, inode.uid, inode.gid, inode.size, inode.links, inode.mtime
        )

    def _child(self, parent: Entry, wanted: str) -> Entry | None:
        if not parent.is_dir:
            return None
        raw = wanted.encode("utf-8", "surrogateescape")
        for own, number in self._names(parent):
            if own == raw:
                return self._entry(f"{parent.path.rstrip('/')}/{wanted}", number)
        return None

    def _children(self, parent: Entry) -> list[Entry]:
        above = parent.path.rstrip("/")
        return [
            self._entry(f"{above}/{name(own)}", number) for own, number in sorted(self._names(parent))
        ]

    def _names(self, directory: Entry) -> Iterator[tuple[bytes, int]]:
        """(name, inode) of what a directory holds, in its own order.

        A hashed directory reads as a plain one: its index hides in records without an inode, as do checksums.
        """
        inode = self.volume.inode(directory.inode)
        if inode.size > self.volume.superblock.size:
            raise self.volume.fault(f"directory {directory.path} is damaged: larger than the image")
        for chunk in self._chunks(inode):
            for at in range(0, len(chunk), self.block_size):
                yield from self._records(chunk[at : at + self.block_size], directory.path)

    def _records(self, block: bytes, path: str) -> Iterator[tuple[bytes, int]]:
        at = 0
        while at < len(block):
            if at + NAME_AT > len(block):
                raise self.volume.fault(f"directory {path} is damaged")
            number, length, letters = DIRENT.unpack_from(block, at)
            own = block[at + NAME_AT : at + NAME_AT + letters]
            if length < NAME_AT + letters or length % 4 or at + length > len(block):
                raise self.volume.fault(f"directory {path} is damaged")
            at += length
            if not number or own in (b".", b".."):
                continue
            if not own or b"/" in own or b"\0" in own:
                raise self.volume.fault(f"directory {path} is damaged: it holds the name {own!r}")
            yield own, number


def name(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def zeros(length: int) -> Iterator[bytes]:
    for at in range(0, length, PIECE):
        yield bytes(min(PIECE, length - at))
