"""Kernels that the local cloud lends to images without one, as EC2 did in 2008, by the ids that it had for them."""

from pathlib import Path

from tasks.cloud.local.machines.den import KERNELS
from tasks.kit import files
from tasks.plan import bootmenu


def lend(home: Path, identity: str, lender: Path, layout: str) -> None:
    """The kernel and the initrd of an image of ours, as the kernel `identity` (aki-...). It counts once the kernel is there."""
    found = bootmenu.start(lender, layout)
    there = home / KERNELS / identity
    if found.initrd is not None:
        files.write(there / "initrd", found.initrd)
    files.write(there / "kernel", found.kernel)
