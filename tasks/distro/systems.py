"""What an image is besides its packages: the files that it gets, the services that it starts, how it is asked for its packages."""

from dataclasses import dataclass

from tasks.plan.content import Laid
from tasks.plan.machine import Era


@dataclass(frozen=True)
class System:
    skeleton: tuple[Laid, ...]  # templates that every such image gets, and where
    units: tuple[str, ...]  # services to enable
    era: Era  # whose machine it expects to find itself on
    package_query: (
        str  # a shell command that prints name, version and architecture of every package, between tabs
    )


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
