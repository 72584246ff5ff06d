"""GRUB 2 on a disk that lies in a file: its images by grub-mkimage, and their places by plain writes. Places are bytes.

What BIOS starts is what grub-install would write. Source: GRUB's grub-core/boot/i386/pc/boot.S and diskboot.S,
include/grub/i386/pc/boot.h, util/setup.c.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

from tasks.kit.fault import ToolFault
from tasks.kit.proc import Command, run

SECTOR = 512
TABLE_AT = 440  # in the first sector, what is the partition table's own: the disk's signature, entries, the mark at the end
KERNEL_SECTOR_AT = 0x5C  # in boot.img: where the core image begins
DRIVE_CHECK_AT = (
    0x66  # in boot.img: a jump over what mends the number of the drive, for BIOSes that give a wrong one
)
BLOCK_LIST_AT = (
    0x1F4  # in the core image's first sector: where the rest of it lies, and where it is to go
)
SEGMENT = 0x820  # of memory: right behind the first sector

KERNEL_SECTOR = Struct("<Q")
BLOCK_LIST = Struct("<QHH")  # first sector, how many, segment
NO_JUMP = b"\x90\x90"


@dataclass(frozen=True)
class Plan:
    """`target`: as grub-mkimage calls it (i386-pc); `modules`: where those for it lie; `built_in`: their names."""

    target: str
    modules: Path
    built_in: tuple[str, ...]


def made(program: Path, plan: Plan, early: str, folder: Path, *, epoch: int, log: Path) -> Path:
    """An image with modules in it, and a configuration, `early`, that runs before any other; it lies in `folder`, and its
    time is the epoch, in seconds since 1970.
    """
    config, output = folder / f"{plan.target}.cfg", folder / plan.target
    config.write_text(early)
    where = ("--directory", str(plan.modules), "--prefix", "/boot/grub", "--config", str(config))
    make = (str(program), "--format", plan.target, *where, "--output", str(output), *plan.built_in)
    run(Command(make, f"make GRUB's image for {plan.target}"), log=log)
    os.utime(output, (epoch, epoch))
    return output


def first_sector(boot: bytes, table: bytes, core_at: int) -> bytes:
    """`boot` (boot.img) around the partition table of the sector that is there, `table`: it loads what begins at `core_at`."""
    sector = bytearray(boot[:TABLE_AT] + table[TABLE_AT:SECTOR])
    KERNEL_SECTOR.pack_into(sector, KERNEL_SECTOR_AT, core_at // SECTOR)
    sector[DRIVE_CHECK_AT : DRIVE_CHECK_AT + len(NO_JUMP)] = NO_JUMP
    return bytes(sector)


def core_sectors(core: bytes, core_at: int) -> bytes:
    """The core image in whole sectors, told that the rest of it lies right behind the first."""
    sectors = bytearray(core + bytes(-len(core) % SECTOR))
    count = len(sectors) // SECTOR - 1
    BLOCK_LIST.pack_into(sectors, BLOCK_LIST_AT, core_at // SECTOR + 1, count, SEGMENT)
    return bytes(sectors)


def place(disk: Path, boot: Path, core: Path, *, core_at: int, room: int) -> None:
    """Write both to a disk that has its partition table. Raises ToolFault where the core image is larger than its room."""
    sectors = core_sectors(core.read_bytes(), core_at)
    if len(sectors) > room:
        raise ToolFault(
            f"GRUB's core image takes {len(sectors)} B, its partition has {room}", where=str(core)
        )
    handle = os.open(disk, os.O_RDWR)
    try:
        table = os.pread(handle, SECTOR, 0)
        os.pwrite(handle, first_sector(boot.read_bytes(), table, core_at), 0)
        os.pwrite(handle, sectors, core_at)
    finally:
        os.close(handle)
