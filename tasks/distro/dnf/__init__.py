"""RPM distributions, from CentOS 4 to those of today: dnf inside the sandbox, told everything by a yum.conf of our own."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tasks.distro import Wanted
from tasks.distro.complaints import listed
from tasks.distro.dnf import aged, database, keys, upstream
from tasks.distro.dnf.release import BASEARCH, is_sysv
from tasks.distro.dnf.transaction import install
from tasks.distro.systems import OWN_UNITS, SYSTEMD, SYSV, System, Way, layouts
from tasks.kit import files
from tasks.kit.fault import ConfigFault, ToolFault
from tasks.kit.proc import Command
from tasks.kit.report import Report
from tasks.kit.sandbox import Sandbox, inhabited, lent, mount_memory, mount_point, sandbox
from tasks.plan.content import Laid, rendered
from tasks.spec import names
from tasks.spec.record import Package
from tasks.spec.source import YumRepository
from tasks.spec.tool import SANDBOX, TAR, Tool

SETTINGS = "rpm/yum.conf"
CUSTOMIZE = "rpm/customize-hook"
DRACUT = "rpm/dracut.conf"
DRACUT_CONF = "/etc/dracut.conf.d/10-doit-ami.conf"
HOOKS = (SETTINGS, CUSTOMIZE, DRACUT)
TOOLS = (
    Tool("dnf", "to resolve and install RPM packages", "dnf", "dnf"),
    Tool("rpm", "to read RPM packages and their database", "rpm", "rpm"),
    keys.GPG,
    TAR,
    *SANDBOX,
)
CACHE = "var/cache/dnf"  # in the root file system: every dnf looks for it below there
KEY = "RPM-GPG-KEY-"  # in a repository of a mirror: how the names of its keys begin
# The transaction is checked and written to rpm's database, and that is all; and groups come in a form that every dnf reads.
NOTED_ONLY = ("--setopt=tsflags=justdb", "--setopt=zchunk=0")
# Not for rpm to make: what is mounted or lent while packages are installed, and nodes that a user may not make.
NOT_RPMS = "/proc:/sys:/dev"
# What brings the network up, where it is not NetworkManager, which is enabled by its own package.
NETWORK = {"amazon": ("systemd-networkd.service", "systemd-resolved.service")}


def tools(_: Wanted) -> tuple[Tool, ...]:
    return TOOLS


def system(name: str, release: str) -> System:
    query = database.QUERY_IN_SHELL
    if is_sysv(name, release):
        return System(SYSV, (), "2008", query, {"none": Way((), ())})
    hook = Laid("/etc/kernel/install.d/95-doit-ami.install", "rpm/kernel-hook", mode=0o755)
    return System(SYSTEMD, (*NETWORK.get(name, ()), *OWN_UNITS), "today", query, layouts(hook))


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
    work = tar.with_name(names.YUM)
    wanted = mirrored(wanted, mirror) if mirror else wanted
    settings = _begun(wanted, hooks, work, report)
    report.said("installing packages")
    with mount_point(tar.with_name("tree")) as tree, sandbox(log=log, network=mirror is None) as box:
        mount_memory(box, tree)
        _prepare(box, tree, wanted)
        if not is_sysv(wanted.distro, wanted.release):  # before the kernel: it comes with its initramfs
            conf = ("install", "-D", "-m", "644", str(hooks[DRACUT].absolute()), f"{tree}{DRACUT_CONF}")
            box.run(Command(conf, "say what belongs into an initramfs"))
        with inhabited(box, tree):
            # What was fetched lies outside: when a run fails, the next one goes on from it.
            with lent(box, work / "cache", tree / CACHE):
                install(box, wanted, tree, settings, report)
                report.said("settling the package database")
                place = database.place(wanted.distro, wanted.release)
                packages = database.settle(
                    box, tree, home=work, cache=tree / CACHE, others=_local(wanted), place=place
                )
            if wanted.tls == "disabled":
                _disable_tls(box, tree)
            customize = ("sh", str(hooks[CUSTOMIZE].absolute()), str(tree))
            box.run(Command(customize, "clean the root file system up"))
        report.said("packing the root file system")
        _pack(box, tree, tar, wanted.epoch)
    for each in (work / "cache").rglob("*.rpm"):  # yum clean packages
        each.unlink()
    return packages


def resolve(
    wanted: Wanted,
    work: Path,
    *,
    hooks: Mapping[str, Path],
    log: Path,
    report: Report,
    network: bool,
) -> tuple[Package, ...]:
    """Every package that `populate` would install: fetched to the cache in `work`, checked, and none of them unpacked."""
    settings = _begun(wanted, hooks, work, report)
    report.said("fetching packages" if network else "trying the mirror")
    with mount_point(work / "tree") as tree, sandbox(log=log, network=network) as box:
        mount_memory(box, tree)
        with lent(box, work / "cache", tree / CACHE):
            install(box, wanted, tree, settings, report, *NOTED_ONLY)
            return database.noted(box, tree, work)


def mirrored(wanted: Wanted, mirror: Path) -> Wanted:
    """The same from a mirror of one's own, as mirror.py makes it: the same repositories at other places."""
    there = [_there(each, mirror.absolute() / each.id) for each in repositories_of(wanted)]
    return wanted.model_copy(update={"repositories": tuple(there)})


def _there(repository: YumRepository, folder: Path) -> YumRepository:
    keys = tuple(path.as_uri() for path in sorted(folder.glob(f"{KEY}*")))
    elsewhere = {"baseurl": (folder.as_uri(),), "mirrorlist": None, "metalink": None, "gpgkey": keys}
    # The metadata is ours, and nobody has signed it; packages are checked as ever.
    return repository.model_copy(update={**elsewhere, "repo_gpgcheck": False})


def _begun(wanted: Wanted, hooks: Mapping[str, Path], work: Path, report: Report) -> Path:
    """What `_settings` makes, once there is a prospect of success."""
    _names(wanted)
    settings = _settings(wanted, hooks, work)
    report.said("looking for the mirrors")
    upstream.look(repositories_of(wanted), _variables(wanted))
    return settings


def _settings(wanted: Wanted, hooks: Mapping[str, Path], work: Path) -> Path:
    """The yum.conf, rendered; beside it the keys, what was fetched, and rpm's own settings."""
    (work / "cache").mkdir(parents=True, exist_ok=True)
    repositories = repositories_of(wanted)
    values = {
        "cachedir": f"/{CACHE}",
        "yum": wanted.yum,
        "repositories": repositories,
        "keys": keys.gather(repositories, work / "keys"),
    }
    settings = work / "yum.conf"
    files.write(settings, rendered(SETTINGS, hooks[SETTINGS].read_text(), values), mode=0o600)
    # Debian's rpm keeps its database in the user's home, and dnf has no option to say where.
    macros = {"_dbpath": database.place(wanted.distro, wanted.release), "_netsharedpath": NOT_RPMS}
    if is_sysv(wanted.distro, wanted.release):
        macros |= aged.MACROS
    text = "".join(f"%{name} {value}\n" for name, value in macros.items())
    files.write(work / ".rpmmacros", text)
    return settings


def _names(wanted: Wanted) -> None:
    """Raises ConfigFault for those that dnf would take for options."""
    options = [each for each in wanted.packages if each.startswith("-")]
    if options:
        raise ConfigFault(
            f"packages: no name of a package begins with a dash: {listed(options)}",
            hint="what `dnf` is told besides names stands under `yum` and `repositories`",
        )


def repositories_of(wanted: Wanted) -> list[YumRepository]:
    """As we read them ourselves: variables filled into keys, and every proxy their own."""
    values = _variables(wanted)
    return [
        each.model_copy(
            update={
                "gpgkey": tuple(upstream.filled(key, values) for key in each.gpgkey),
                "proxy": each.proxy or wanted.yum.proxy,
            }
        )
        for each in wanted.repositories
        if isinstance(each, YumRepository)
    ]


def _variables(wanted: Wanted) -> dict[str, str]:
    return {"releasever": wanted.release, "basearch": BASEARCH[wanted.architecture]}


def _prepare(box: Sandbox, tree: Path, wanted: Wanted) -> None:
    """Folders that must be there before the first package; what rpm is told not to make is ours to make."""
    made = {"proc": "0555", "sys": "0555", "dev": "0755", "etc": "0755"}
    if is_sysv(wanted.distro, wanted.release):
        made["var/lock/rpm"] = "0755"  # rpm of then cannot take its lock without
    for name, mode in made.items():
        argv = ("install", "-d", "-m", mode, f"{tree}/{name}")
        box.run(Command(argv, f"make /{name}"))


def _disable_tls(box: Sandbox, tree: Path) -> None:
    argv = ("mv", "--no-target-directory", f"{tree}/lib/tls", f"{tree}/lib/tls-disabled")
    try:
        box.run(Command(argv, "disable TLS"))
    except ToolFault as fault:
        raise ConfigFault(
            "tls: `disabled` is about /lib/tls, and no package of the image brings that",
            evidence=fault.evidence,
            hint="write `tls: enabled`, or nothing",
        ) from fault


def _local(wanted: Wanted) -> list[str]:
    return [folder for each in repositories_of(wanted) for folder in local(each)]


def local(repository: YumRepository) -> list[str]:
    """Folders of this machine that are the repository: dnf takes packages from there as they lie."""
    return [unquote(urlsplit(url).path) for url in repository.addresses if url.startswith("file:")]


def _pack(box: Sandbox, tree: Path, tar: Path, epoch: int) -> None:
    argv = (
        *("tar", "--create", "--file", str(tar), "--directory", str(tree), "--exclude=./dev/*"),
        *("--sort=name", "--numeric-owner", f"--mtime=@{epoch}", "--clamp-mtime", "--format=posix"),
        "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
        *("--xattrs", "--xattrs-include=*", "--xattrs-exclude=security.selinux", "."),
    )
    box.run(Command(argv, "pack the root file system"))
