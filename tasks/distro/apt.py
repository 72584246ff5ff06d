"""Debian: mmdebstrap inside the sandbox, from any mirror that apt can read."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.kit.fault import ConfigFault, Fault, HostFault, ToolFault
from tasks.kit.proc import Command
from tasks.kit.report import Report
from tasks.kit.sandbox import mount_memory, mount_point, sandbox
from tasks.plan.content import Laid
from tasks.spec.model import Repository
from tasks.spec.record import Package
from tasks.spec.tool import SANDBOX, TAR, Tool

if TYPE_CHECKING:
    from tasks.distro import Wanted

TOOLS = (
    Tool("mmdebstrap", "to populate a Debian root file system", "mmdebstrap", "mmdebstrap"),
    Tool("apt-get", "to resolve and fetch Debian packages", "apt", "apt"),
    TAR,
    *SANDBOX,
)
HOOKS = ("debian/essential-hook", "debian/customize-hook")
SKELETON = (
    Laid("/etc/fstab", "fstab"),
    Laid("/etc/hostname", "hostname"),
    Laid("/etc/hosts", "hosts"),
    Laid("/etc/machine-id", "machine-id"),
    Laid("/etc/ssh/sshd_config.d/10-doit-ami.conf", "sshd.conf"),
    Laid("/etc/systemd/network/80-dhcp.network", "dhcp.network"),
    Laid("/etc/systemd/system/host-keys.service", "host-keys.service"),
    Laid("/usr/local/lib/doit-ami/host-keys", "host-keys.sh", mode=0o755),
    Laid("/etc/systemd/system/first-boot.service", "first-boot.service"),
    Laid("/etc/apt/sources.list.d/0000main.sources", "debian/sources"),
)
UNITS = ("systemd-networkd.service", "host-keys.service", "first-boot.service")
PACKAGE_QUERY = r"dpkg-query -W -f '${Package}\t${Version}\t${Architecture}\n'"

ARCHITECTURES = {"i386": "i386", "x86_64": "amd64"}
# What apt says, and what it means to somebody who wrote an image's configuration.
KNOWN = (
    (
        re.compile(r"E: Unable to locate package (\S+)"),
        ConfigFault,
        "packages: no mirror has a package {0}",
    ),
    (
        re.compile(r"E: Package '(\S+)' has no installation candidate"),
        ConfigFault,
        "packages: {0} cannot be installed",
    ),
    (
        re.compile(r"E: The repository '([^']+)' .*(?:Release|signed)"),
        ConfigFault,
        "repositories: no signed release at {0}",
    ),
    (re.compile(r"(?:E|W): Failed to fetch (\S+)"), HostFault, "the mirror did not give {0}"),
)


def populate(
    wanted: "Wanted", tar: Path, *, hooks: Mapping[str, Path], log: Path, report: Report
) -> None:
    said: list[str] = []

    def seen(line: str) -> None:
        said.append(line)
        if line.startswith("I: "):
            report.said(line.removeprefix("I: ").rstrip("."))

    tar = tar.absolute()  # inside the sandbox, the working directory is another
    with mount_point(tar.with_name("tree")) as temporary, sandbox(log=log, network=True) as box:
        mount_memory(box, temporary, mode="01777")
        # mmdebstrap binds the host's /dev/shm, and may not when anything is mounted below that.
        mount_memory(box, Path("/dev/shm"), mode="01777")  # noqa: S108 - the sandbox's own
        try:
            box.run(_mmdebstrap(wanted, tar, hooks, temporary), seen=seen)
        except ToolFault as fault:
            raise _explained(fault, said) from fault


def _mmdebstrap(wanted: "Wanted", tar: Path, hooks: Mapping[str, Path], temporary: Path) -> Command:
    essential, customize = (hooks[name].absolute() for name in HOOKS)
    return Command(
        (
            "mmdebstrap",
            *("--mode=root", "--variant=minbase", "--format=tar"),
            "--skip=cleanup/apt",  # the customize hook does it, in a way that does not depend on who may enter our folder
            "--skip=output/dev",  # nodes come by `devices:`, and a user could not make them anyway
            f"--architectures={ARCHITECTURES[wanted.architecture]}",
            f"--include={','.join(wanted.packages)}",
            "--dpkgopt=force-unsafe-io",  # the tree lies in memory and is worth nothing until it is whole
            '--aptopt=Acquire::Retries "3"',
            '--aptopt=Acquire::http::Timeout "30"',
            f"--essential-hook={essential}",
            f"--customize-hook={customize}",
            *(wanted.release, str(tar), "-"),
        ),
        "populate the root file system",
        stdin=sources(wanted.repositories),
        env={"SOURCE_DATE_EPOCH": str(wanted.epoch), "TMPDIR": str(temporary)},
    )


def sources(repositories: Iterable[Repository]) -> str:
    """A deb822 sources file."""
    return "\n".join(
        f"Types: deb\nURIs: {each.uri}\nSuites: {' '.join(each.suites)}\nComponents: {' '.join(each.components)}\n"
        + (f"Signed-By: {each.signed_by}\n" if each.signed_by else "")
        for each in repositories
    )


def _explained(fault: ToolFault, said: Iterable[str]) -> Fault:
    """The same fault in the user's words, where apt's are known."""
    for line in said:
        for pattern, kind, meaning in KNOWN:
            match = pattern.search(line)
            if match:
                return kind(
                    meaning.format(*match.groups()), evidence=(line,), where=fault.where, hint=fault.hint
                )
    return fault


def installed(tar: Path) -> tuple[Package, ...]:
    import tarfile

    with tarfile.open(tar) as archive:
        status = archive.extractfile("./var/lib/dpkg/status")
        text = status.read().decode() if status else ""
    stanzas = (
        dict(re.findall(r"^(Package|Version|Architecture|Status): (.*)$", part, re.MULTILINE))
        for part in text.split("\n\n")
    )
    found = (
        Package(name=fields["Package"], version=fields["Version"], architecture=fields["Architecture"])
        for fields in stanzas
        if fields.get("Status") == "install ok installed"
    )
    return tuple(sorted(found, key=lambda each: (each.name, each.architecture)))
