"""Debian: mmdebstrap inside the sandbox, from any mirror that apt can read."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tasks.distro import Wanted
from tasks.distro.complaints import Complaint, explained
from tasks.distro.system import OWN_UNITS, SYSTEMD, System
from tasks.kit.fault import ConfigFault, HostFault, ToolFault
from tasks.kit.proc import Command
from tasks.kit.report import Report
from tasks.kit.sandbox import mount_memory, mount_point, sandbox
from tasks.plan.content import Laid
from tasks.spec.record import Package
from tasks.spec.source import AptRepository
from tasks.spec.tool import SANDBOX, TAR, Tool

TOOLS = (
    Tool("mmdebstrap", "to populate a Debian root file system", "mmdebstrap", "mmdebstrap"),
    Tool("apt-get", "to resolve and fetch Debian packages", "apt", "apt"),
    TAR,
    *SANDBOX,
)
HOOKS = ("debian/essential-hook", "debian/customize-hook")
SYSTEM = System(
    skeleton=(*SYSTEMD, Laid("/etc/apt/sources.list.d/0000main.sources", "debian/sources")),
    units=("systemd-networkd.service", *OWN_UNITS),
    era="today",
    package_query=r"dpkg-query -W -f '${Package}\t${Version}\t${Architecture}\n'",
)

ARCHITECTURES = {"i386": "i386", "x86_64": "amd64", "arm64": "arm64"}
KNOWN = (
    Complaint(
        re.compile(r"E: Unable to locate package (\S+)"),
        ConfigFault,
        "packages: no mirror has a package {0}",
    ),
    Complaint(
        re.compile(r"E: Package '(\S+)' has no installation candidate"),
        ConfigFault,
        "packages: {0} cannot be installed",
    ),
    Complaint(
        re.compile(r"E: The repository '([^']+)' .*(?:Release|signed)"),
        ConfigFault,
        "repositories: no signed release at {0}",
    ),
    Complaint(re.compile(r"(?:E|W): Failed to fetch (\S+)"), HostFault, "the mirror did not give {0}"),
)


def tools(_: Wanted) -> tuple[Tool, ...]:
    return TOOLS


def system(_name: str, _release: str) -> System:
    return SYSTEM


def populate(
    wanted: Wanted, tar: Path, *, hooks: Mapping[str, Path], log: Path, report: Report
) -> tuple[Package, ...]:
    said: list[str] = []
    repositories = _repositories(wanted)

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
            box.run(_mmdebstrap(wanted, tar, hooks, temporary, stdin=sources(repositories)), seen=seen)
        except ToolFault as fault:
            raise explained(fault, said, KNOWN) from fault
    report.said("reading what was installed")
    return _installed(tar)


def _repositories(wanted: Wanted) -> tuple[AptRepository, ...]:
    """Raises ConfigFault when there are none, or when a keyring is not where they say."""
    found = tuple(each for each in wanted.repositories if isinstance(each, AptRepository))
    if not found:
        raise ConfigFault(
            f"this machine has no apt sources for {wanted.release}",
            hint=f"write where its packages come from: repositories: [{{uri: ..., suites: [{wanted.release}]}}]",
        )
    lacking = sorted(
        {each.signed_by for each in found if each.signed_by and not Path(each.signed_by).is_file()}
    )
    if lacking:
        raise ConfigFault(
            "a keyring of `repositories` is not here",
            evidence=lacking,
            hint="install the package that brings it (ubuntu-archive-keyring, debian-archive-keyring), or correct `signed_by`",
        )
    return found


def _mmdebstrap(
    wanted: Wanted, tar: Path, hooks: Mapping[str, Path], temporary: Path, *, stdin: str
) -> Command:
    essential, customize = (hooks[name].absolute() for name in HOOKS)
    return Command(
        (
            "mmdebstrap",
            *("--mode=root", "--variant=minbase", "--format=tar"),
            "--skip=cleanup/apt",  # the customize hook does it, in a way that does not depend on who may enter our folder
            "--skip=check/qemu",  # by arch-test, which is one more program; tasks/distro/foreign.py looks at the kernel's own list
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
        stdin=stdin,
        env={"SOURCE_DATE_EPOCH": str(wanted.epoch), "TMPDIR": str(temporary)},
    )


def sources(repositories: Iterable[AptRepository]) -> str:
    """A deb822 sources file."""
    return "\n".join(
        f"Types: deb\nURIs: {each.uri}\nSuites: {' '.join(each.suites)}\nComponents: {' '.join(each.components)}\n"
        + (f"Signed-By: {each.signed_by}\n" if each.signed_by else "")
        for each in repositories
    )


def _installed(tar: Path) -> tuple[Package, ...]:
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
