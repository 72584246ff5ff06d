"""What an image is besides its packages: the files that it gets, the services that it starts, how it is asked for its packages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tasks.plan.content import Laid
from tasks.plan.machine import Era
from tasks.spec.model import KeyFrom

Layout = Literal["hybrid", "none"]


@dataclass(frozen=True)
class Way:
    """How an instance comes by its key and its user data, or how its disk is booted: what that needs beside the rest."""

    skeleton: tuple[Laid, ...]
    units: tuple[str, ...]


@dataclass(frozen=True)
class System:
    skeleton: tuple[Laid, ...]  # templates that every such image gets, and where
    units: tuple[str, ...]  # services to enable
    era: Era  # whose machine it expects to find itself on
    package_query: (
        str  # a shell command that prints name, version and architecture of every package, between tabs
    )
    layouts: Mapping[Layout, Way]  # of the disks that it can be booted from

    def way(self, key_from: KeyFrom) -> Way | None:
        """None where nothing in such an image could go that way."""
        return WAYS[self.era].get(key_from)


SYSTEMD = (
    Laid("/etc/fstab", "fstab"),
    Laid("/etc/hostname", "hostname"),
    Laid("/etc/hosts", "hosts"),
    Laid("/etc/machine-id", "machine-id"),
    Laid("/etc/ssh/sshd_config.d/10-doit-ami.conf", "sshd.conf"),
    Laid("/etc/systemd/network/80-dhcp.network", "dhcp.network"),
    Laid("/etc/systemd/system/host-keys.service", "host-keys.service"),
    Laid("/usr/local/lib/doit-ami/host-keys", "host-keys.sh", mode=0o755),
    Laid("/etc/systemd/system/first-boot.service", "first-boot.service"),
)
PV_GRUB = Way((Laid("/boot/grub/menu.lst", "menu.lst"),), ())
BOOT_MENU = "/usr/local/lib/doit-ami/boot-menu"
GRUB = (
    Laid("/etc/kernel/cmdline", "cmdline"),
    Laid(BOOT_MENU, "boot-menu.sh", mode=0o755),
    Laid("/etc/systemd/system/grow-root.service", "grow-root.service"),
    Laid("/usr/local/lib/doit-ami/grow-root", "grow-root.sh", mode=0o755),
)
OWN_UNITS = ("host-keys.service", "first-boot.service")

# The files of the recipe of 2008, no more and no fewer.
SYSV = (
    Laid("/etc/fstab", "sysv/fstab"),
    Laid("/etc/ssh/sshd_config", "sysv/sshd_config", append=True),
    Laid("/etc/sysconfig/network", "sysv/network"),
    Laid("/etc/sysconfig/network-scripts/ifcfg-eth0", "sysv/ifcfg-eth0"),
)

USER_DATA = (
    Laid("/usr/local/lib/doit-ami/imds", "imds.sh"),
    Laid("/usr/local/lib/doit-ami/user-data", "user-data.sh", mode=0o755),
    Laid("/etc/systemd/system/user-data.service", "user-data.service"),
)
METADATA_KEY = (
    Laid("/usr/local/lib/doit-ami/metadata-key", "metadata-key.sh", mode=0o755),
    Laid("/etc/systemd/system/metadata-key.service", "metadata-key.service"),
)
CLOUD_INIT = (Laid("/etc/cloud/cloud.cfg.d/90_doit-ami.cfg", "cloud-init.cfg"),)
WAYS: Mapping[Era, Mapping[KeyFrom, Way]] = {
    "today": {
        "image": Way(USER_DATA, ("user-data.service",)),
        "metadata": Way((*USER_DATA, *METADATA_KEY), ("user-data.service", "metadata-key.service")),
        "cloud-init": Way(CLOUD_INIT, ()),
    },
    "2008": {"image": Way((), ())},
}


def layouts(*hooks: Laid) -> Mapping[Layout, Way]:
    """`hooks`: by which the packages of kernels, of one package manager, have the boot menu written."""
    return {"none": PV_GRUB, "hybrid": Way((*GRUB, *hooks), ("grow-root.service",))}
