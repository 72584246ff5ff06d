"""UEFI for machines: where the host has it, and which memory of variables belongs to which code."""

from collections.abc import Mapping
from pathlib import Path

from tasks.spec.model import Architecture
from tasks.spec.tool import Tool

# Code and, of the same size, what its variables start as. Debian's place first, then Fedora's.
PLACES: Mapping[Architecture, Mapping[str, str]] = {
    "x86_64": {
        "/usr/share/OVMF/OVMF_CODE_4M.fd": "/usr/share/OVMF/OVMF_VARS_4M.fd",
        "/usr/share/edk2/ovmf/OVMF_CODE.fd": "/usr/share/edk2/ovmf/OVMF_VARS.fd",
    },
    "arm64": {
        "/usr/share/AAVMF/AAVMF_CODE.fd": "/usr/share/AAVMF/AAVMF_VARS.fd",
        "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw": "/usr/share/edk2/aarch64/vars-template-pflash.raw",
    },
}
PACKAGES: Mapping[Architecture, tuple[str, str]] = {
    "x86_64": ("ovmf", "edk2-ovmf"),
    "arm64": ("qemu-efi-aarch64", "edk2-aarch64"),
}


def uefi(architecture: Architecture) -> Tool:
    """The code: a file of the host's."""
    apt, dnf = PACKAGES[architecture]
    places = tuple(PLACES[architecture])
    return Tool(f"UEFI for {architecture}", "to boot as by an instance's UEFI", apt, dnf, places)


def variables(architecture: Architecture, code: Path) -> Path:
    """What the variables of this code start as: to be copied, for the firmware writes there."""
    return Path(PLACES[architecture][str(code)])
