"""What an image is besides its packages: the files that it gets, the services that it starts, how it is asked for its packages."""

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.plan.content import Laid
from tasks.plan.machine import Era
from tasks.spec.model import KeyFrom


@dataclass(frozen=True)
class Way:
    """How an instance comes by its key and its user data: what that needs beside the rest."""

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

    def way(self, key_from: KeyFrom) -> Way | None:
        """None where nothing in such an image could go that way."""
        return WAYS[self.era].get(key_from)


SYSTEMD = (
    Laid("/boot/grub/menu.lst", "menu.lst"),
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
