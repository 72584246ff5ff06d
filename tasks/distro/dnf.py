"""RPM distributions, from CentOS 4 to those of today: dnf inside the sandbox, told everything by a yum.conf of our own."""

from collections.abc import Mapping
from pathlib import Path

from tasks.distro import Wanted, rpmdb, rpmkeys
from tasks.distro.complaints import explained
from tasks.distro.dnftalk import KNOWN, Listener, near
from tasks.distro.system import OWN_UNITS, SYSTEMD, SYSV, System
from tasks.kit import files
from tasks.kit.fault import ToolFault
from tasks.kit.proc import Command
from tasks.kit.report import Report
from tasks.kit.sandbox import Sandbox, inhabited, lent, mount_memory, mount_point, sandbox
from tasks.plan.content import rendered
from tasks.spec.record import Package
from tasks.spec.source import YumRepository
from tasks.spec.tool import SANDBOX, TAR, Tool

SETTINGS = "rpm/yum.conf"
CUSTOMIZE = "rpm/customize-hook"
HOOKS = (SETTINGS, CUSTOMIZE)
TOOLS = (
    Tool("dnf", "to resolve and install RPM packages", "dnf", "dnf"),
    Tool("rpm", "to read RPM packages and their database", "rpm", "rpm"),
    rpmkeys.GPG,
    TAR,
    *SANDBOX,
)
CACHE = "var/cache/dnf"  # in the root file system: every dnf looks for it below there
BASEARCH = {"i386": "i386", "x86_64": "x86_64", "arm64": "aarch64"}
# Not for rpm to make: what is mounted or lent while packages are installed, and nodes that a user may not make.
NOT_RPMS = "/proc:/sys:/dev"


def tools(_: Wanted) -> tuple[Tool, ...]:
    return TOOLS


def system(name: str, release: str) -> System:
    query = rpmdb.QUERY_IN_SHELL
    if is_sysv(name, release):
        return System(SYSV, (), query)
    return System(SYSTEMD, OWN_UNITS, query)


def is_sysv(name: str, release: str) -> bool:
    """Whether its init is System V's: CentOS before 7."""
    return name == "centos" and int(release.partition(".")[0]) < 7  # noqa: PLR2004 - a release, as they are called


def populate(
    wanted: Wanted, tar: Path, *, hooks: Mapping[str, Path], log: Path, report: Report
) -> tuple[Package, ...]:
    tar = tar.absolute()  # inside the sandbox, the working directory is another
    work = tar.with_name("yum")
    settings = _settings(wanted, hooks, work)
    with mount_point(tar.with_name("tree")) as tree, sandbox(log=log, network=True) as box:
        mount_memory(box, tree)
        _prepare(box, tree, wanted)
        with inhabited(box, tree):
            # What was fetched lies outside: when a run fails, the next one goes on from it.
            with lent(box, work / "cache", tree / CACHE):
                _install(box, wanted, tree, settings, report)
                report.said("settling the package database")
                place = rpmdb.place(wanted.distro, wanted.release)
                packages = rpmdb.settle(box, tree, home=work, cache=tree / CACHE, place=place)
            if wanted.tls == "disabled":
                argv = ("mv", "--no-target-directory", f"{tree}/lib/tls", f"{tree}/lib/tls-disabled")
                box.run(Command(argv, "disable TLS (tls: disabled)"))
            customize = ("sh", str(hooks[CUSTOMIZE].absolute()), str(tree))
            box.run(Command(customize, "clean the root file system up"))
        report.said("packing the root file system")
        _pack(box, tree, tar, wanted.epoch)
    for each in (work / "cache").rglob("*.rpm"):  # yum clean packages
        each.unlink()
    return packages


def _settings(wanted: Wanted, hooks: Mapping[str, Path], work: Path) -> Path:
    """The yum.conf, rendered; beside it the keys, what was fetched, and rpm's own settings."""
    (work / "cache").mkdir(parents=True, exist_ok=True)
    repositories = [each for each in wanted.repositories if isinstance(each, YumRepository)]
    values = {
        "cachedir": f"/{CACHE}",
        "yum": wanted.yum,
        "repositories": repositories,
        "keys": rpmkeys.gather(repositories, work / "keys"),
    }
    settings = work / "yum.conf"
    files.write(settings, rendered(SETTINGS, hooks[SETTINGS].read_text(), values), mode=0o600)
    # Debian's rpm keeps its database in the user's home, and dnf has no option to say where.
    macros = {"_dbpath": rpmdb.place(wanted.distro, wanted.release), "_netsharedpath": NOT_RPMS}
    text = "".join(f"%{name} {value}\n" for name, value in macros.items())
    files.write(work / ".rpmmacros", text)
    return settings


def _prepare(box: Sandbox, tree: Path, wanted: Wanted) -> None:
    """Folders that must be there before the first package; what rpm is told not to make is ours to make."""
    made = {"proc": "0555", "sys": "0555", "dev": "0755", "etc": "0755"}
    if is_sysv(wanted.distro, wanted.release):
        made["var/lock/rpm"] = "0755"  # rpm of then cannot take its lock without
    for name, mode in made.items():
        argv = ("install", "-d", "-m", mode, f"{tree}/{name}")
        box.run(Command(argv, f"make /{name}"))


def _install(box: Sandbox, wanted: Wanted, tree: Path, settings: Path, report: Report) -> None:
    """One transaction of all groups and packages. Raises faults in the words of the configuration."""
    listener = Listener(report)
    env = {
        "HOME": str(settings.parent),
        "SOURCE_DATE_EPOCH": str(wanted.epoch),
        "PYTHONUNBUFFERED": "1",
    }
    dnf = _dnf(box, wanted, tree, settings, env)

    def ask(*query: str) -> str:
        return box.ask(
            Command((*dnf, "-q", "-C", *query), "ask the repositories what they have", env=env)
        )

    what = (*(f"@{group}" for group in wanted.groups), *wanted.packages)
    try:
        box.run(Command((*dnf, "install", *what), "install the packages", env=env), seen=listener)
    except ToolFault as fault:
        raise (listener.fault() or near(explained(fault, listener.said, KNOWN), ask)) from fault
    failed = listener.fault(allowed=wanted.yum.allow_failing)
    if failed:
        raise failed


def _dnf(
    box: Sandbox, wanted: Wanted, tree: Path, settings: Path, env: Mapping[str, str]
) -> tuple[str, ...]:
    """The command without its verb, in the dialect of the dnf that is here."""
    version = box.ask(Command(("dnf", "--version"), "ask dnf for its version", env=env))
    five = version.startswith("dnf5")
    return (
        *("dnf", "-y", "-c", str(settings), f"--installroot={tree}"),
        *(("--use-host-config",) if five else ()),
        *(f"--releasever={wanted.release}", f"--forcearch={BASEARCH[wanted.architecture]}"),
    )


def _pack(box: Sandbox, tree: Path, tar: Path, epoch: int) -> None:
    argv = (
        *("tar", "--create", "--file", str(tar), "--directory", str(tree), "--exclude=./dev/*"),
        *("--sort=name", "--numeric-owner", f"--mtime=@{epoch}", "--clamp-mtime", "--format=posix"),
        "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
        *("--xattrs", "--xattrs-include=*", "--xattrs-exclude=security.selinux", "."),
    )
    box.run(Command(argv, "pack the root file system"))
