"""Kernels that the local cloud lends to images without one, as EC2 did in 2008, by the ids that it had for them."""

from pathlib import Path

from tasks.cloud.local.machines.den import KERNELS
from tasks.kit import files
from tasks.kit.ext import Ext
from tasks.plan import pvgrub


def lend(home: Path, identity: str, lender: Path) -> None:
    """The kernel and the initrd of an image of ours, as the kernel `identity` (aki-...). It counts once the kernel is there."""
    with Ext.open(lender) as fs:
        found = pvgrub.start(fs)
    there = home / KERNELS / identity
    if found.initrd is not None:
        files.write(there / "initrd", found.initrd)
    files.write(there / "kernel", found.kernel)
