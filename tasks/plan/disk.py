"""The root file system inside the image, as commands of the tools that make it. Sizes are bytes, times seconds since 1970."""

import uuid
from collections.abc import Iterable
from pathlib import Path

from tasks.kit.proc import Command
from tasks.plan import hybrid
from tasks.spec.model import Disk
from tasks.spec.units import UNITS, written

# Documentation/admin-guide/devices.txt of the kernel: major, minor; and the mode that udev gives.
NODES = {
    "console": (5, 1, 0o600),
    "full": (1, 7, 0o666),
    "null": (1, 3, 0o666),
    "random": (1, 8, 0o666),
    "tty": (5, 0, 0o666),
    "urandom": (1, 9, 0o666),
    "zero": (1, 5, 0o666),
}
RESERVED = 1  # percent kept for root: the 5 of old are much on a disk of today


def mke2fs(
    disk: Disk, tree: Path, image: Path, *, ids: tuple[uuid.UUID, uuid.UUID], epoch: int, profile: Path
) -> Command:
    """Make the file system from a tree. `ids`: of the file system, and the seed of its directory index."""
    options = f"hash_seed={ids[1]},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,nodiscard"
    if at := hybrid.root_at(disk.layout):
        options += f",offset={at}"
    return Command(
        (
            *("mke2fs", "-q", "-F", "-t", disk.filesystem, "-m", str(RESERVED)),
            *("-U", str(ids[0]), "-L", "root", "-E", options),
            *("-d", str(tree), str(image), f"{hybrid.root_size(disk) >> 10}k"),
        ),
        "make the file system",
        env=settings(epoch) | {"MKE2FS_CONFIG": str(profile.absolute())},
    )


def mknods(disk: Disk, devices: Iterable[str], image: Path, *, epoch: int) -> Command:
    """Device nodes, written into the file system: no root is needed where nothing is mounted."""
    lines = ["cd /dev"]
    for name in sorted(devices):
        major, minor, mode = NODES[name]
        lines += [f"mknod {name} c {major} {minor}", f"sif {name} mode 02{mode:04o}"]
    script = "\n".join(lines) + "\n"
    return Command(
        ("debugfs", "-w", "-f", "/dev/stdin", within(disk, image)),
        "make the device nodes",
        stdin=script,
        env=settings(epoch),
    )


def check(disk: Disk, image: Path, *, epoch: int) -> Command:
    return Command(
        ("e2fsck", "-f", "-n", within(disk, image)), "check the file system", env=settings(epoch)
    )


def within(disk: Disk, image: Path) -> str:
    """The root file system, as the tools of e2fsprogs are told where it is."""
    at = hybrid.root_at(disk.layout)
    return f"{image}?offset={at}" if at else str(image)


def settings(epoch: int) -> dict[str, str]:
    """mke2fs 1.47.0 does not honour SOURCE_DATE_EPOCH; libext2fs reads this."""
    return {"E2FSPROGS_FAKE_TIME": str(epoch)}


def too_small(disk: Disk, used: int) -> str:
    """What to say when content that takes `used` bytes does not fit."""
    room = hybrid.root_size(disk)
    whole = UNITS["GiB" if disk.layout == "hybrid" else "MiB"]  # volumes of EBS have no other sizes
    need = -(-(used * 105 // 100 + disk.size - room) // whole) * whole  # and a twentieth to breathe
    lack = -(-(used - room) // UNITS["MiB"])
    return (
        f"the content takes {used // UNITS['MiB']} MiB, the disk has room for {room // UNITS['MiB']}: {max(1, lack)} MiB"
        f" too small; write disk.size: {written(need)} or more"
    )
