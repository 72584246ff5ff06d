"""Debian: mmdebstrap inside the sandbox, from any mirror that apt can read."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from tasks.distro import Wanted
from tasks.distro.complaints import Complaint, explained
from tasks.distro.systems import OWN_UNITS, SYSTEMD, System, layouts
from tasks.kit.fault import ConfigFault, HostFault, ToolFault
from tasks.kit.proc import ROOM, Command
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
KERNEL_HOOK = "debian/kernel-hook"
SYSTEM = System(
    skeleton=(*SYSTEMD, Laid("/etc/apt/sources.list.d/0000main.sources", "debian/sources")),
    units=("systemd-networkd.service", *OWN_UNITS),
    era="today",
    package_query=r"dpkg-query -W -f '${Package}\t${Version}\t${Architecture}\n'",
    layouts=layouts(
        Laid("/etc/kernel/postinst.d/zz-doit-ami", KERNEL_HOOK, mode=0o755),
        Laid("/etc/kernel/postrm.d/zz-doit-ami", KERNEL_HOOK, mode=0o755),
    ),
)

# A mirror that says nothing for so long gives way to the next try.
PATIENCE = ('--aptopt=Acquire::Retries "3"', '--aptopt=Acquire::http::Timeout "30"')
ARCHIVE_KEY = "archive-key.asc"  # in a mirror: what its index is signed with
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
    Complaint(
        re.compile(r"E: You don't have enough free space in (\S+?)\.?$"),
        HostFault,
        "no space is left for the packages",
        ROOM,
    ),
    Complaint(re.compile(r"(?:E|W): Failed to fetch (\S+)"), HostFault, "the mirror did not give {0}"),
)


def tools(_: Wanted) -> tuple[Tool, ...]:
    return TOOLS


def system(_name: str, _release: str) -> System:
    return SYSTEM


def populate(
    wanted: Wanted,
    tar: Path,
    *,
    hooks: Mapping[str, Path],
    log: Path,
    report: Report,
    mirror: Path | None = None,
) -> tuple[Package, ...]:
    tar = tar.absolute()  # inside the sandbox, the working directory is another
    memory = tar.with_name("tree")
    command = _mmdebstrap(in_mirror(wanted) if mirror else wanted, tar, hooks, memory)
    if mirror:
        # What the image says of its sources is the same wherever its packages came from.
        env = {**command.env, "DOIT_AMI_SOURCES": sources(_apt(wanted))}
        # apt's own user could not read a mirror in a folder that is private.
        argv = (*command.argv, '--aptopt=APT::Sandbox::User "root"')
        command = replace(command, argv=argv, stdin=mirrored(mirror, wanted.release), env=env)
    else:
        command = replace(command, stdin=sources(repositories(wanted)))

    def seen(line: str) -> None:
        if line.startswith("I: "):
            report.said(line.removeprefix("I: ").rstrip("."))

    bootstrap(command, memory, log=log, network=mirror is None, seen=seen)
    report.said("reading what was installed")
    return _installed(tar)


def bootstrap(
    command: Command, memory: Path, *, log: Path, network: bool, seen: Callable[[str], None]
) -> None:
    """mmdebstrap in a sandbox, with memory for its trees. Raises faults in the words of the configuration."""
    said: list[str] = []

    def heard(line: str) -> None:
        said.append(line)
        seen(line)

    with mount_point(memory), sandbox(log=log, network=network) as box:
        mount_memory(box, memory, mode="01777")
        # mmdebstrap binds the host's /dev/shm, and may not when anything is mounted below that.
        mount_memory(box, Path("/dev/shm"), mode="01777")  # noqa: S108 - the sandbox's own
        try:
            box.run(command, seen=heard)
        except ToolFault as fault:
            raise explained(fault, said, KNOWN) from fault


def _apt(wanted: Wanted) -> tuple[AptRepository, ...]:
    return tuple(each for each in wanted.repositories if isinstance(each, AptRepository))


def repositories(wanted: Wanted) -> tuple[AptRepository, ...]:
    """Raises ConfigFault when there are none, or when a keyring is not where they say."""
    found = _apt(wanted)
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


def _mmdebstrap(wanted: Wanted, tar: Path, hooks: Mapping[str, Path], memory: Path) -> Command:
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
            *PATIENCE,
            f"--essential-hook={essential}",
            f"--customize-hook={customize}",
            *(wanted.release, str(tar), "-"),
        ),
        "populate the root file system",
        env={"SOURCE_DATE_EPOCH": str(wanted.epoch), "TMPDIR": str(memory)},
    )


def sources(repositories: Iterable[AptRepository]) -> str:
    """A deb822 sources file."""
    return "\n".join(
        f"Types: deb\nURIs: {each.uri}\nSuites: {' '.join(each.suites)}\nComponents: {' '.join(each.components)}\n"
        + (f"Signed-By: {each.signed_by}\n" if each.signed_by else "")
        for each in repositories
    )


def mirrored(mirror: Path, release: str) -> str:
    """A sources file for a mirror of one's own, as mirror.py makes it: with its key, but no path that has spaces."""
    armour = (mirror / ARCHIVE_KEY).read_text().splitlines()
    key = "".join(f" {line or '.'}\n" for line in armour)
    uri = f"copy:{quote(str(mirror.absolute()))}"
    return f"Types: deb\nURIs: {uri}\nSuites: {release}\nComponents: main\nSigned-By:\n{key}"


def in_mirror(wanted: Wanted) -> Wanted:
    """The same without the suites that packages are to be from ("name/suite"): a mirror has one, and one version of each."""
    packages = tuple(re.sub(r"^([a-z0-9][^/]*)/.*", r"\1", each) for each in wanted.packages)
    return wanted.model_copy(update={"packages": packages})


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
