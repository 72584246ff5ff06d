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
# What an image expects to find: one disk, its own; or what EC2 gave an m1.small in 2008: the image as a first partition,
# an empty file system and swap beside it.
Era = Literal["today", "2008"]
DISKS: Mapping[Era, tuple[str, ...]] = {
    "today": ("-device", "virtio-blk-pci,drive=root"),
    "2008": ("-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=root"),
}
# For a kernel that knows nothing of the image. In 2008 they were EC2's own, but for the console.
LENT_ARGUMENTS: Mapping[Era, str] = {
    "today": "root=/dev/vda ro console=ttyS0,115200n8",
    "2008": "root=/dev/sda1 ro console=ttyS0,115200n8 net.ifnames=0",
}
# What a processor runs by itself, by the name that its kernel gives it (uname -m).
NATIVE: Mapping[str, tuple[Architecture, ...]] = {
    "x86_64": ("x86_64", "i386"),
    "i686": ("i386",),
    "aarch64": ("arm64",),
}


@dataclass(frozen=True)
class Model:
    """QEMU's machine for an architecture, and the packages that bring it."""

    program: str
    machine: str
    apt: str
    dnf: str
    emulated: str = "max"  # the processor, where it is not this machine's own


MODELS: Mapping[Architecture, Model] = {
    "i386": Model("qemu-system-i386", "pc", "qemu-system-x86", "qemu-system-x86-core"),
    "x86_64": Model("qemu-system-x86_64", "pc", "qemu-system-x86", "qemu-system-x86-core"),
    # An emulated processor that signs its pointers as real ones do spends most of its time at it.
    "arm64": Model(
        "qemu-system-aarch64",
        "virt",
        "qemu-system-arm",
        "qemu-system-aarch64-core",
        "max,pauth-impdef=on",
    ),
}


def accelerators(architecture: Architecture, host: str) -> tuple[Accelerator, ...]:
    """Those that may run it on a `host` (uname -m), in order of preference: KVM runs what the processor itself runs."""
    return ACCELERATORS if architecture in NATIVE.get(host, ()) else ("tcg",)


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
    era: Era = "today"

    def command(self, accelerator: Accelerator) -> Command:
        """Restricted user network: the guest reaches nothing, and is reached on one loopback port."""
        model = MODELS[self.architecture]
        processor = "max" if accelerator == "kvm" else model.emulated
        return Command(
            (
                model.program,
                *("-accel", ACCEL[accelerator], "-cpu", processor, "-smp", str(CORES)),
                *("-m", f"{self.memory // UNITS['MiB']}M", "-machine", model.machine),
                *("-nodefaults", "-display", "none", "-no-reboot", "-monitor", "none"),
                *("-serial", f"file:{self.console}"),
                *("-drive", f"file={self.disk},format=qcow2,if=none,id=root,cache=unsafe,discard=unmap"),
                *DISKS[self.era],
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
