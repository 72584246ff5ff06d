"""The machine that proves an image, as a command line of QEMU. Pure; sizes are bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.kit.proc import Command
from tasks.spec.model import Architecture
from tasks.spec.units import UNITS

Accelerator = Literal["kvm", "tcg"]
ACCEL: Mapping[Accelerator, str] = {"kvm": "kvm", "tcg": "tcg,thread=multi"}
ACCELERATORS: tuple[Accelerator, ...] = ("kvm", "tcg")  # in order of preference
CORES = 2
QEMU = {"i386": "qemu-system-i386", "x86_64": "qemu-system-x86_64"}


@dataclass(frozen=True)
class Machine:
    architecture: Architecture
    memory: int
    disk: Path  # qcow2: an overlay, so that the image itself is not changed
    kernel: Path
    initrd: Path | None
    arguments: str
    port: int  # on the loopback, forwarded to the guest's 22
    console: Path

    def command(self, accelerator: Accelerator) -> Command:
        """Restricted user network: the guest reaches nothing, and is reached on one loopback port."""
        return Command(
            (
                QEMU[self.architecture],
                *("-accel", ACCEL[accelerator], "-cpu", "max", "-smp", str(CORES)),
                *("-m", f"{self.memory // UNITS['MiB']}M", "-machine", "pc"),
                *("-nodefaults", "-display", "none", "-no-reboot", "-monitor", "none"),
                *("-serial", f"file:{self.console}"),
                *("-drive", f"file={self.disk},format=qcow2,if=none,id=root,cache=unsafe,discard=unmap"),
                *("-device", "virtio-blk-pci,drive=root"),
                *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:22"),
                *("-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"),
                *("-kernel", str(self.kernel), "-append", self.arguments),
                *(("-initrd", str(self.initrd)) if self.initrd else ()),
            ),
            "boot the image",
        )


def overlay(image: Path, disk: Path, *, size: int) -> Command:
    """A disk of `size` bytes on top of the image: what the guest writes goes there, and it has room to grow."""
    backing = ("-b", str(image.resolve()), "-F", "raw")
    return Command(
        ("qemu-img", "create", "-q", "-f", "qcow2", *backing, str(disk), str(size)),
        "make a disk over the image",
    )
