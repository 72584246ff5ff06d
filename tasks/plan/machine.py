"""A machine that an image runs on, as a command line of QEMU. Pure; sizes are bytes.

To what runs on it, it is an instance of EC2's: its address, its firmware's words and its metadata service are.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from tasks.kit import imds
from tasks.kit.proc import Command
from tasks.kit.qmp import NETDEV
from tasks.spec.model import Architecture
from tasks.spec.units import UNITS

Accelerator = Literal["kvm", "tcg"]
ACCEL: Mapping[Accelerator, str] = {"kvm": "kvm", "tcg": "tcg,thread=multi"}
ACCELERATORS: tuple[Accelerator, ...] = ("kvm", "tcg")  # in order of preference
ROOM = (
    512 * UNITS["MiB"]
)  # by which a disk is larger than its image, so that it can grow, as on EC2's drives
# An instance of a default VPC's. The net is the widest that QEMU takes: the metadata service's address must lie in it, too.
ADDRESS = "172.31.0.15"
NET = "net=160.0.0.0/4,host=172.31.0.1,dns=172.31.0.2"
MAC = "52:54:00:12:34:56"
CACHE = "cache=unsafe,discard=unmap"
# What an image expects to find: one disk, its own; or what EC2 gave an m1.small in 2008: the image as a first partition,
# an empty file system and swap beside it.
Era = Literal["today", "2008"]
# How disks are attached. On Nitro types EBS's volumes are NVMe drives, though their model is "Amazon Elastic Block Store",
# which QEMU cannot say; the disks of Xen itself no QEMU has: virtio is as near.
Drive = Literal["virtio", "nvme", "scsi"]
BUSES: Mapping[Drive, tuple[str, ...]] = {
    "virtio": (),
    "nvme": (),
    "scsi": ("-device", "virtio-scsi-pci"),
}
DEVICES: Mapping[Drive, str] = {
    "virtio": "virtio-blk-pci,drive={id}",
    "nvme": "nvme,drive={id},serial={serial}",
    "scsi": "scsi-hd,drive={id}",
}
VOLUME = "vol-0123456789abcdef0"
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
class Flash:
    """UEFI: its code, and a copy of its variables that is this machine's own."""

    code: Path
    variables: Path

    @property
    def options(self) -> tuple[str, ...]:
        code = f"if=pflash,unit=0,format=raw,readonly=on,file={_value(self.code)}"
        return ("-drive", code, "-drive", f"if=pflash,unit=1,format=raw,file={_value(self.variables)}")


@dataclass(frozen=True)
class Beside:
    """A volume beside the root's."""

    disk: Path  # qcow2
    volume: str  # its id


@dataclass(frozen=True)
class Machine:
    """`ports`: of the guest's, and where on the loopback each is reached; `kernel`: without one, the disk boots by the
    firmware; `uefi`: without it, by a BIOS; `heard`: on the serial line, where it may get between the words of others;
    `metadata`: the folder that imds.lay wrote; `control`: a socket for kit/qmp.py, of at most 107 bytes.
    """

    architecture: Architecture
    memory: int
    disk: Path  # qcow2: an overlay, so that the image itself is not changed
    kernel: Path | None
    initrd: Path | None
    arguments: str
    ports: Mapping[int, int]
    console: Path
    drive: Drive = "virtio"
    uefi: Flash | None = None
    heard: bool = False
    volume: str = VOLUME
    beside: tuple[Beside, ...] = ()
    instance_id: str = "i-0"
    instance_type: str = "m5.large"
    cores: int = 2
    address: str = ADDRESS
    mac: str = MAC
    metadata: Path | None = None
    python: str = sys.executable  # runs the metadata service
    control: Path | None = None
    reboots: bool = False  # or a guest that reboots is switched off

    def command(self, accelerator: Accelerator) -> Command:
        """Restricted user network: the guest reaches nothing but its metadata, and is reached on loopback ports."""
        model = MODELS[self.architecture]
        processor = "max" if accelerator == "kvm" else model.emulated
        return Command(
            (
                model.program,
                *("-accel", ACCEL[accelerator], "-cpu", processor, "-smp", str(self.cores)),
                *("-m", f"{self.memory // UNITS['MiB']}M"),
                *("-machine", f"{model.machine}{',graphics=off' if self.heard else ''}"),
                *("-nodefaults", "-display", "none", "-monitor", "none"),
                *(() if self.reboots else ("-no-reboot",)),
                *("-smbios", f"type=1,{self._identity()}"),
                *("-serial", f"file:{self.console}"),
                *(self.uefi.options if self.uefi else ()),
                *BUSES[self.drive],
                *self._disk("root", self.disk, self.volume, ",bootindex=1"),
                *(
                    option
                    for number, each in enumerate(self.beside, 1)
                    for option in self._disk(f"disk{number}", each.disk, each.volume)
                ),
                *("-netdev", f"user,id={NETDEV},restrict=on,{','.join(self._network())}"),
                *("-device", f"virtio-net-pci,netdev={NETDEV},mac={self.mac},romfile="),
                *("-device", "virtio-rng-pci"),
                *(("-qmp", f"unix:{_value(self.control)},server=on,wait=off") if self.control else ()),
                *(("-kernel", str(self.kernel), "-append", self.arguments) if self.kernel else ()),
                *(("-initrd", str(self.initrd)) if self.kernel and self.initrd else ()),
            ),
            "boot the image",
        )

    def _disk(self, name: str, disk: Path, volume: str, more: str = "") -> tuple[str, ...]:
        """On EC2, an NVMe drive's serial number is its volume's id without the dash."""
        device = DEVICES[self.drive].format(id=name, serial=volume.replace("-", ""))
        drive = f"file={_value(disk)},format=qcow2,if=none,id={name},{CACHE}"
        return ("-drive", drive, "-device", f"{device}{more}")

    def _identity(self) -> str:
        """By this, those who look know an instance of EC2's: uuid and serial number are equal, and begin with ec2."""
        rest = sha256(self.instance_id.encode()).hexdigest()
        uuid = f"ec2{rest[:5]}-{rest[5:9]}-{rest[9:13]}-{rest[13:17]}-{rest[17:29]}"
        product = _value(self.instance_type)
        return f"manufacturer=Amazon EC2,product={product},uuid={uuid},serial={uuid}"

    def _network(self) -> list[str]:
        forwarded = [
            f"hostfwd=tcp:127.0.0.1:{here}-:{there}" for there, here in sorted(self.ports.items())
        ]
        program = _value(imds.command(self.metadata, self.python)) if self.metadata else ""
        served = [f"guestfwd=tcp:{imds.ADDRESS}:80-cmd:{program}"] if program else []
        return [f"{NET},dhcpstart={self.address}", *forwarded, *served]


def _value(text: object) -> str:
    """Of an option: QEMU takes two commas for one."""
    return str(text).replace(",", ",,")


def overlay(image: Path, disk: Path, *, size: int, form: Literal["raw", "qcow2"] = "raw") -> Command:
    """A disk of `size` bytes on top of the image: what the guest writes goes there, and it has room to grow."""
    backing = ("-b", str(image.resolve()), "-F", form)
    return Command(
        ("qemu-img", "create", "-q", "-f", "qcow2", *backing, str(disk), str(size)),
        "make a disk over the image",
    )
