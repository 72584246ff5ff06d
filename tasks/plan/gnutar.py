"""The archive around a disk image: one member, to the byte what `tar -c -h -S --owner 0 --group 0` of GNU tar writes; and its reader.

A file with holes becomes an old-GNU sparse member (type 'S': the map of its data stands in the header and in extension
blocks), one without a plain one (type '0'). Sizes and offsets are bytes.
"""

import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from tasks.kit.fault import ImageFault

BLOCK = 512
RECORD = 20 * BLOCK  # GNU tar's blocking factor: an archive is padded to whole records
END = 2 * BLOCK  # of zeros: so an archive says that it ends
NAME = 100  # bytes of the name field; longer ones need a member of their own before the file, which we do not write
MODES = 0o7777  # permissions and the three bits above them

# name mode uid gid size mtime chksum type linkname magic uname gname devices times sparse-map extended real-size padding
HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s16s41s96s1s12s17s")
CHECKSUM = slice(148, 156)
GNU, USTAR = b"ustar  \0", b"ustar\x0000"
PLAIN, OLD_PLAIN, SPARSE = b"0", b"\0", b"S"
IN_HEADER, IN_EXTENSION = 4, 21  # entries of the sparse map; of 24 bytes each
ENTRY = struct.Struct("12s12s")
EXTENSION = struct.Struct("504s1s7s")
MOST_ENTRIES = 1 << 20  # 10 GiB with a hole at every 5th page; a longer map is meant to fill our memory

Extent = tuple[int, int]  # offset, length


@dataclass(frozen=True)
class Member:
    """A file as its header tells of it. `extents` is the map of its data, the last one empty and at the end; None without holes."""

    name: str
    size: int
    mode: int
    mtime: int
    extents: tuple[Extent, ...] | None = None

    @property
    def runs(self) -> tuple[Extent, ...]:
        """What follows the header: the runs of data, each beginning at a whole block."""
        every = ((0, self.size),) if self.extents is None else self.extents
        return tuple((start, length) for start, length in every if length)

    @property
    def stored(self) -> int:
        return sum(length for _, length in self.runs)


def member(name: str, *, size: int, mode: int, mtime: int, data: Iterable[Extent]) -> Member:
    """A file whose runs of data are known, as the kernel tells them. Raises ImageFault for a name that does not fit."""
    if not 0 < len(name.encode()) <= NAME or "/" in name or "\0" in name:
        raise ImageFault(
            f"{name!r} cannot be the name inside a bundle",
            hint=f"a name of 1 to {NAME} bytes without a slash",
        )
    extents = tuple(_whole_blocks(data, size))
    whole = size == 0 or extents == ((0, size),)
    return Member(name, size, mode & MODES, mtime, None if whole else (*extents, (size, 0)))


def _whole_blocks(data: Iterable[Extent], size: int) -> Iterator[Extent]:
    """Runs widened to block boundaries (but for the end of the file) and joined where they then meet."""
    begun: Extent | None = None
    for start, length in data:
        first, end = start - start % BLOCK, min(start + length + padded(start + length), size)
        if begun and first <= sum(begun):
            first = begun[0]
        elif begun:
            yield begun
        begun = (first, end - first)
    if begun:
        yield begun


def padded(length: int, to: int = BLOCK) -> int:
    """How many bytes are missing to a multiple of `to`."""
    return -length % to


def header(file: Member) -> bytes:
    """All that stands before the data."""
    entries = b"".join(
        ENTRY.pack(number(start, 12), number(length, 12)) for start, length in file.extents or ()
    )
    here, beyond = entries[: IN_HEADER * ENTRY.size], entries[IN_HEADER * ENTRY.size :]
    sparse = file.extents is not None
    blank = HEADER.pack(
        file.name.encode(),
        number(file.mode, 8),
        number(0, 8),
        number(0, 8),
        number(file.stored, 12),
        number(file.mtime, 12),
        b" " * 8,  # the checksum counts itself as spaces
        SPARSE if sparse else PLAIN,
        b"",
        GNU,
        b"root",
        b"root",
        b"",
        b"",
        here,
        b"\1" if beyond else b"\0",
        number(file.size, 12) if sparse else b"",
        b"",
    )
    checksum = f"{sum(blank):06o}\0 ".encode()
    return blank[: CHECKSUM.start] + checksum + blank[CHECKSUM.stop :] + _extensions(beyond)


def _extensions(entries: bytes) -> bytes:
    step = IN_EXTENSION * ENTRY.size
    starts = range(0, len(entries), step)
    return b"".join(
        EXTENSION.pack(entries[at : at + step], b"\1" if at != starts[-1] else b"\0", b"")
        for at in starts
    )


def trailer(file: Member) -> bytes:
    """All that stands behind the data: the rest of its last block, the end mark, and the rest of the record."""
    inside = padded(file.stored)
    length = len(header(file)) + file.stored + inside + END
    return bytes(inside + END + padded(length, RECORD))


def number(value: int, width: int) -> bytes:
    """Octal with a NUL behind it while that fits, else GNU's base 256: the top bit set, then the number itself."""
    if 0 <= value < 8 ** (width - 1):
        return f"{value:0{width - 1}o}\0".encode()
    plain = bytearray(value.to_bytes(width, "big", signed=True))
    plain[0] |= 0x80
    return bytes(plain)


def figure(field: bytes) -> int:
    """The reverse of `number`, and as forgiving of blanks as GNU tar."""
    if field[0] == 0x80:  # noqa: PLR2004 - the mark of base 256, said in `number`
        return int.from_bytes(field[1:], "big")
    if field[0] == 0xFF:  # noqa: PLR2004 - the same below zero
        return int.from_bytes(field, "big", signed=True)
    octal = re.fullmatch(rb" *([0-7]*)[ \0]*", field)
    if octal is None:
        raise broken(f"{field!r} is not a number")
    return int(octal[1] or b"0", 8)


def parse(take: Callable[[int], bytes]) -> Member:
    """Read a header; `take(n)` gives the next n bytes, no fewer. Raises ImageFault unless it is one plain or sparse file."""
    block = take(BLOCK)
    (
        name,
        mode,
        _,
        _,
        stored,
        mtime,
        checksum,
        kind,
        _,
        magic,
        _,
        _,
        _,
        prefix,
        entries,
        extended,
        size,
        _,
    ) = HEADER.unpack(block)
    if figure(checksum) != sum(block[: CHECKSUM.start] + b" " * 8 + block[CHECKSUM.stop :]):
        raise broken("the checksum of its header is wrong")
    if magic not in (GNU, USTAR):
        raise broken("it is neither GNU tar nor ustar")
    if magic == USTAR and prefix.strip(b"\0"):
        raise broken("its file lies in a directory")
    file = Member(_text(name), figure(stored), figure(mode) & MODES, figure(mtime))
    if file.size < 0:
        raise broken("its file has less than no bytes")
    if kind in (PLAIN, OLD_PLAIN):
        return file
    if kind == SPARSE and magic == GNU:
        found = tuple(islice(_map(entries, extended, take), MOST_ENTRIES + 1))
        return _sparse(file, figure(size), found)
    raise broken(f"its first member is of type {kind!r}, not a file")


def _text(name: bytes) -> str:
    try:
        return name.split(b"\0", 1)[0].decode()
    except UnicodeDecodeError:
        raise broken(f"the name {name!r} is not UTF-8") from None


def _map(entries: bytes, extended: bytes, take: Callable[[int], bytes]) -> Iterator[Extent]:
    """The sparse map, as far as it goes: a blank entry ends it, and nothing may follow one."""
    ended = False
    while True:
        for start, length in ENTRY.iter_unpack(entries):
            blank = not (start + length).strip(b"\0")
            if ended and not blank:
                raise broken("its sparse map goes on behind its end")
            ended = ended or blank
            if not blank:
                yield figure(start), figure(length)
        if extended == b"\0":
            return
        if ended:
            raise broken("its sparse map goes on behind its end")
        entries, extended, _ = EXTENSION.unpack(take(BLOCK))


def _sparse(file: Member, size: int, extents: tuple[Extent, ...]) -> Member:
    """Raises ImageFault unless the map runs forward, within the file, and accounts for every stored byte."""
    if len(extents) > MOST_ENTRIES:
        raise broken(f"its sparse map has more than {MOST_ENTRIES} entries")
    at = 0
    for start, length in extents:
        if start < at or length < 0:
            raise broken("its sparse map overlaps or runs backwards")
        if length and (start % BLOCK or (length % BLOCK and start + length != size)):
            raise broken("its sparse map is not in whole blocks")
        at = start + length
    if at > size:
        raise broken("its sparse map reaches beyond the end of the file")
    if sum(length for _, length in extents) != file.size:
        raise broken("its sparse map and its size contradict each other")
    return Member(file.name, size, file.mode, file.mtime, extents)


def broken(what: str) -> ImageFault:
    return ImageFault(f"the archive inside the bundle is not one that we can trust: {what}")
