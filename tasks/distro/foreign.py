"""Whether this machine runs the programs of an image: packages have scripts, and those run in the image's own tree."""

import os
from pathlib import Path

from tasks.kit.fault import HostFault
from tasks.plan.machine import NATIVE
from tasks.spec.model import Architecture

BINFMT = Path("/proc/sys/fs/binfmt_misc")
# The kernel's entries for QEMU's emulators, as Debian's and Fedora's packages call them.
EMULATORS = {"i386": "qemu-i386", "x86_64": "qemu-x86_64", "arm64": "qemu-aarch64"}


def check(architecture: Architecture, *, host: str = "", binfmt: Path | None = None) -> None:
    """Raises HostFault unless the `host` (uname -m) runs it by itself or by an emulator that works in any tree."""
    host = host or os.uname().machine
    if architecture in NATIVE.get(host, ()):
        return
    lacking = _lacking((binfmt or BINFMT) / EMULATORS[architecture])
    if lacking:
        raise HostFault(
            f"this machine ({host}) does not run the programs of an {architecture} image",
            evidence=[lacking],
            hint="apt-get install qemu-user-static binfmt-support, or dnf install qemu-user-static; they tell the kernel",
        )


def _lacking(entry: Path) -> str:
    """Why the kernel's entry for an emulator will not do, or nothing."""
    if not (entry.parent / "status").exists():
        return f"{entry.parent} is not mounted: the kernel knows no emulator"
    try:
        lines = entry.read_text().splitlines()
    except OSError:
        return f"there is no {entry}: the kernel knows no emulator for it"
    if "enabled" not in lines:
        return f"{entry} is disabled"
    flags = next((line.removeprefix("flags: ") for line in lines if line.startswith("flags: ")), "")
    # Without F the kernel looks for the emulator in the image's tree, where it is not.
    return (
        "" if "F" in flags else f"{entry} lacks the flag F: the emulator works outside of images alone"
    )
