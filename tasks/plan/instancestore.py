"""The disks that EC2 gave an m1.small in 2008, as one: the image is sda1, an empty file system sda2, swap sda3. Sizes are bytes."""

from pathlib import Path

from tasks.kit.proc import Command
from tasks.spec.tool import Tool
from tasks.spec.units import UNITS

TOOLS = (
    Tool("sfdisk", "to partition the disk of an image of 2008", "fdisk", "util-linux"),
    Tool("mke2fs", "to make a file system beside it", "e2fsprogs", "e2fsprogs"),
    Tool("mkswap", "to make swap beside it", "util-linux", "util-linux"),
    Tool("dd", "to put them together", "coreutils", "coreutils"),
)
MIB = UNITS["MiB"]
SECTOR = 512
BESIDE = 64 * MIB  # of sda2, and of sda3


def size(image: int) -> int:
    """Of the whole disk, with an image of so many bytes: whole MiB, as ours are. The first MiB is the table's."""
    return MIB + image + 2 * BESIDE


def commands(img: Path, image: int, disk: Path) -> tuple[Command, ...]:
    """What puts it together on `disk`, an empty file of the whole size. Its folder takes what lies beside the image."""
    mnt, swap = disk.with_name("sda2"), disk.with_name("sda3")
    kilobytes = str(BESIDE >> 10)
    return (
        Command(("sfdisk", "--quiet", str(disk)), "partition the disk", stdin=_table(image)),
        Command(
            ("mke2fs", "-q", "-F", "-t", "ext3", str(mnt), f"{kilobytes}k"),
            "make a file system for /mnt",
        ),
        Command(("truncate", f"--size={BESIDE}", str(swap)), "make room for swap"),
        Command(("mkswap", str(swap)), "make swap"),
        _place(img, disk, MIB),
        _place(mnt, disk, MIB + image),
        _place(swap, disk, MIB + image + BESIDE),
    )


def _table(image: int) -> str:
    """sfdisk's script. Nothing in it is left to chance."""
    starts = (MIB, MIB + image, MIB + image + BESIDE)
    parts = zip(starts, (image, BESIDE, BESIDE), ("83", "83", "82"), strict=True)
    lines = (
        f"start={start // SECTOR}, size={length // SECTOR}, type={kind}" for start, length, kind in parts
    )
    return "label: dos\nlabel-id: 0x20081204\n" + "".join(f"{line}\n" for line in lines)


def _place(source: Path, disk: Path, at: int) -> Command:
    where = (f"if={source}", f"of={disk}", "bs=1M", f"seek={at // MIB}")
    return Command(
        ("dd", *where, "conv=notrunc,sparse", "status=none"), f"place {source.name} on the disk"
    )
