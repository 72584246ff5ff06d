"""Disk images as VM Import takes them: raw, VHD, and VMDK that is optimized for streams. Sizes are bytes.

Looked at before qemu-img sees them: a VMDK may name files of this machine as its extents.
"""

import struct
from pathlib import Path

from tasks.kit.proc import Command

QEMU = {"RAW": "raw", "VMDK": "vmdk", "VHD": "vpc"}  # what qemu-img calls them
# VMware, "Virtual Disk Format 5.0": magic, version, flags, sectors, sectors of a grain, descriptor's place and size, ...
VMDK = struct.Struct("<4sIIQQQQIQQQB4sH")
COMPRESSED, MARKED = 1 << 16, 1 << 17
DEFLATE = 1
FOOTER = 512  # of a VHD: at its end, and a copy at its beginning when it is dynamic
SECTOR = 512


class Unfit(Exception):
    """It is not what it is said to be. The text is what VM Import says, where that is known."""


def judge(path: Path, form: str) -> None:
    """Raises Unfit."""
    if form not in QEMU:
        raise Unfit("Unsupported specified file format")
    size = path.stat().st_size
    if not size:
        raise Unfit("Invalid S3 source location: the file is empty")
    with path.open("rb") as file:
        head = file.read(SECTOR)
        file.seek(max(0, size - FOOTER))
        tail = file.read()
    if form == "VMDK":
        _judge_vmdk(head)
    if form == "VHD" and not tail.startswith(b"conectix"):
        raise Unfit("Unsupported VHD File Format")


def _judge_vmdk(head: bytes) -> None:
    """One file, compressed in the order in which it is read: what VM Import asks for."""
    if len(head) < VMDK.size:
        raise Unfit("Unsupported VMDK File Format")
    magic, version, flags, sectors, *_, compression = VMDK.unpack_from(head)
    streamed = flags & COMPRESSED and flags & MARKED and compression == DEFLATE
    if magic != b"KDMV" or version > 3 or not sectors or not streamed:  # noqa: PLR2004 - the last one there is
        raise Unfit("Unsupported VMDK File Format")


def conversion(source: Path, form: str, target: Path) -> Command:
    """To a raw file, with holes where there are zeros."""
    return Command(
        ("qemu-img", "convert", "-f", QEMU[form], "-O", "raw", str(source), str(target)),
        "import a disk image",
    )
