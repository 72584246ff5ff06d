"""The hybrid disk: a GUID partition table, started by BIOS, by UEFI, or by both. Pure; places and sizes are bytes.

     0        protective table, GRUB's boot sector around it; the table itself
     1 MiB    14: GRUB's core image, for BIOS
     2 MiB    15: EFI system partition, FAT32: GRUB under the name that firmware looks for
    64 MiB    1: root, up to 1 MiB before the end: the last one, so that it can grow
    -1 MiB    the table's copy

An architecture that one of the firmwares does not start lacks its partition; the others are at the same places.
"""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.kit.grub import SECTOR, Plan
from tasks.kit.proc import Command
from tasks.spec import names
from tasks.spec.model import FIRMWARES, Architecture, Disk
from tasks.spec.tool import Tool
from tasks.spec.units import UNITS

MIB = UNITS["MiB"]
CORE_AT, ESP_AT, ROOT_AT = MIB, 2 * MIB, 64 * MIB
TAIL = MIB  # for the copy of the table
ROOT, CORE, ESP = 1, 14, 15  # the numbers that cloud images of Debian's and Ubuntu's give them
CORE_TYPE = "21686148-6449-6E6F-744E-656564454649"
ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
# The Discoverable Partitions Specification of uapi-group.org.
ROOT_TYPES: Mapping[Architecture, str] = {
    "i386": "44479540-F297-41B2-9AF7-D131D5F0458A",
    "x86_64": "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
    "arm64": "B921B045-1DF0-41C3-AF44-4C6F280D3FAE",
}

# In each image of GRUB: what finds the root file system and its menu, starts a kernel, and lets a person look around.
MODULES = (
    *("part_gpt", "ext2", "search_fs_uuid", "configfile", "normal", "linux", "gzio", "test", "echo"),
    *("search", "ls", "cat", "help", "reboot", "halt"),
)


@dataclass(frozen=True)
class Loader:
    """GRUB for a firmware. `beside`: modules that only it has; `name`: the file that UEFI looks for."""

    target: str
    apt: str
    dnf: str
    beside: tuple[str, ...]
    name: str = ""

    @property
    def tool(self) -> Tool:
        """Its modules. Debian's are packages of the architecture that they are for, and may be foreign to the host's."""
        listed = f"/usr/lib/grub/{self.target}/moddep.lst"
        return Tool(f"GRUB for {self.target}", "to start the disk", self.apt, self.dnf, (listed,))

    @property
    def plan(self) -> Plan:
        """Raises HostFault where the modules are not there."""
        return Plan(self.target, self.tool.path.parent, (*MODULES, *self.beside))


PC = Loader("i386-pc", "grub-pc-bin:amd64", "grub2-pc-modules", ("biosdisk", "serial", "terminal"))
VIDEO = ("efi_gop", "all_video")
X64 = Loader("x86_64-efi", "grub-efi-amd64-bin:amd64", "grub2-efi-x64-modules", VIDEO, "BOOTX64.EFI")
AA64 = Loader("arm64-efi", "grub-efi-arm64-bin:arm64", "grub2-efi-aa64-modules", VIDEO, "BOOTAA64.EFI")
EFI: Mapping[Architecture, Loader] = {"x86_64": X64, "arm64": AA64}

MKIMAGE = Tool(
    "grub-mkimage",
    "to make what starts the disk",
    "grub-common",
    "grub2-tools",
    ("/usr/bin/grub-mkimage", "/usr/bin/grub2-mkimage"),
)
SFDISK = Tool("sfdisk", "to partition the disk", "fdisk", "util-linux")
FAT = (
    Tool("mkfs.fat", "to make the EFI system partition", "dosfstools", "dosfstools"),
    Tool("mcopy", "to write GRUB into it", "mtools", "mtools"),
)


def root_at(layout: str) -> int:
    """Where the root file system begins on a disk of this layout."""
    return ROOT_AT if layout == "hybrid" else 0


def root_size(disk: Disk) -> int:
    """What the root file system has to itself."""
    return disk.size - (ROOT_AT + TAIL if disk.layout == "hybrid" else 0)


def bios(architecture: Architecture) -> Loader | None:
    return PC if "bios" in FIRMWARES[architecture] else None


def uefi(architecture: Architecture) -> Loader | None:
    return EFI[architecture] if "uefi" in FIRMWARES[architecture] else None


def tools(architecture: Architecture) -> tuple[Tool, ...]:
    loaders = [each for each in (bios(architecture), uefi(architecture)) if each]
    fat = FAT if uefi(architecture) else ()
    return (SFDISK, MKIMAGE, *(each.tool for each in loaders), *fat)


def partition(disk: Disk, image: Path, *, name: str, architecture: Architecture) -> Command:
    """Write the table: every id in it follows from the image's `name`."""
    head = f"label: gpt\nlabel-id: {names.disk_id(name, 'disk')}\nunit: sectors\n"
    lines = "".join(f"{line}\n" for line in _partitions(disk, name, architecture))
    return Command(("sfdisk", "--quiet", str(image)), "partition the disk", stdin=head + lines)


def _partitions(disk: Disk, name: str, architecture: Architecture) -> Iterator[str]:
    def line(number: int, start: int, size: int, kind: str, called: str) -> str:
        where = f"start={start // SECTOR}, size={size // SECTOR}"
        return f"{number} : {where}, type={kind}, uuid={names.disk_id(name, called)}, name={called}"

    if bios(architecture):
        yield line(CORE, CORE_AT, ESP_AT - CORE_AT, CORE_TYPE, "bios")
    if uefi(architecture):
        yield line(ESP, ESP_AT, ROOT_AT - ESP_AT, ESP_TYPE, "esp")
    yield line(ROOT, ROOT_AT, root_size(disk), ROOT_TYPES[architecture], "root")


def early(loader: Loader, filesystem: uuid.UUID) -> str:
    """What GRUB does first: find the root file system by its id, and the menu in it. Looked for at its usual place first:
    another disk may hold a copy of it.
    """
    # A BIOS's console is a screen, which nobody sees; UEFI's own is on the serial line as well.
    serial = "" if loader.name else "serial --unit=0 --speed=115200\nterminal_output serial console\n"
    keys = "" if loader.name else "terminal_input serial console\n"
    find = f"search.fs_uuid {filesystem} root hd0,gpt{ROOT}\n"
    return f"{serial}{keys}{find}set prefix=($root)/boot/grub\nconfigfile ($root)/boot/grub/grub.cfg\n"


def system_partition(
    image: Path, program: Path, name: str, loader: Loader, *, epoch: int
) -> list[Command]:
    """Make the EFI system partition of the image called `name`, with GRUB's `program` in it. Its time is copied, too."""
    env = {"SOURCE_DATE_EPOCH": str(epoch)}
    number = names.disk_id(name, "esp").hex[:8]
    kilobytes = str((ROOT_AT - ESP_AT) >> 10)
    there = ("-i", f"{image}@@{ESP_AT}")
    # One sector to a cluster: FAT32 has 65525 of them or more.
    form = ("--invariant", "-F", "32", "-s", "1", "-S", str(SECTOR), "-i", number, "-n", "ESP")
    make = ("mkfs.fat", *form, f"--offset={ESP_AT // SECTOR}", str(image), kilobytes)
    return [
        Command(make, "make the EFI system partition"),
        Command(("mmd", *there, "::/EFI", "::/EFI/BOOT"), "make the folders in it", env=env),
        Command(
            ("mcopy", "-m", *there, str(program), f"::/EFI/BOOT/{loader.name}"),
            "write GRUB into it",
            env=env,
        ),
    ]
