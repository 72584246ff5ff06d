"""A mirror of what a Debian image needs: chosen and fetched by apt, indexed by apt-ftparchive, signed by a key of ours.

Priorities and sections come from upstream's index, not from the packages, which know older ones: mmdebstrap goes by them.
"""

import gzip
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from tasks.distro import Wanted, apt
from tasks.distro.held import Held, fresh, put
from tasks.kit import files, openpgp
from tasks.kit.fault import HostFault, ToolFault
from tasks.kit.proc import Command, ask
from tasks.kit.report import Report
from tasks.spec.record import Package
from tasks.spec.tool import Tool

FETCH = "debian/fetch-hook"
HOOKS = (FETCH,)
TOOLS = (
    Tool("apt-ftparchive", "to index a mirror of Debian packages", "apt-utils", "apt-utils"),
    Tool("gpg", "to sign that index", "gpg", "gnupg2"),
)
OWNER = "doit-ami mirror"
# Others are weak, or twice as long for nothing.
SHA256_ALONE = tuple(f"-oAPT::FTPArchive::{each}=false" for each in ("MD5", "SHA1", "SHA512"))
COUNTED = re.compile(r" (\d+) newly installed")

Fields = Mapping[str, str]


@dataclass(frozen=True)
class Errand:
    """What apt is asked to find, and who is told of it."""

    wanted: Wanted
    hook: Path
    log: Path
    report: Report


def tools(wanted: Wanted) -> tuple[Tool, ...]:
    return (*apt.tools(wanted), *TOOLS)


def repository(
    wanted: Wanted, work: Path, *, key: Path, hooks: Mapping[str, Path], log: Path, report: Report
) -> tuple[Path, tuple[Held, ...]]:
    errand = Errand(wanted, hooks[FETCH].absolute(), log, report)
    sources = apt.sources(apt.repositories(wanted))
    openpgp.keep(key, OWNER)
    work = work.absolute()  # inside the sandbox, the working directory is another
    archives, new = work / "archives", work / "repository"
    archives.mkdir(parents=True, exist_ok=True)
    debs = _resolved(errand, work, sources, archives)
    report.said("indexing the mirror")
    chosen = list(_chosen(debs, archives, _stanzas(work / "available")))
    held = tuple(_pool(chosen, fresh(new), work, wanted.epoch))
    _index(new, [stanza for _, stanza in chosen], wanted, key)
    trial, there = fresh(work / "trial"), apt.mirrored(new, wanted.release)
    again = _resolved(replace(errand, wanted=apt.in_mirror(wanted)), trial, there, None)
    names = {each.name for each in debs}
    differ = names ^ {each.name for each in again}
    if differ:
        raise ToolFault("the mirror would make another image", evidence=sorted(differ), where=str(new))
    for each in archives.glob("*.deb"):
        if each.name not in names:
            each.unlink()
    shutil.rmtree(trial)
    return new, held


def _resolved(errand: Errand, folder: Path, sources: str, archives: Path | None) -> list[Path]:
    """What apt would install, in its order, as paths in the tree or outside; `available` in `folder` says more of it.

    Fetched into `archives`, or, without them, taken from a mirror that needs no network.
    """
    wanted, report, progress = errand.wanted, errand.report, Progress(errand.report)
    report.said("fetching packages" if archives else "trying the mirror")
    architecture = apt.ARCHITECTURES[wanted.architecture]
    memory = folder / "tree"
    command = Command(
        (
            *("mmdebstrap", "--mode=root", "--variant=extract", "--format=null"),
            *("--skip=cleanup,check/qemu", f"--architectures={architecture}", *apt.PATIENCE),
            *(f"--extract-hook={errand.hook}", wanted.release, "-", "-"),
        ),
        "fetch packages",
        stdin=sources,
        env={
            "FOLDER": str(folder),
            "ARCHIVES": str(archives) if archives else "",
            "SUITE": wanted.release,
            "ARCHITECTURE": architecture,
            "PACKAGES": " ".join(wanted.packages),
            "TMPDIR": str(memory),
        },
    )
    apt.bootstrap(command, memory, log=errand.log, network=archives is not None, seen=progress)
    return [Path(line) for line in (folder / "debs").read_text().splitlines()]


@dataclass
class Progress:
    """Takes apt's output line by line."""

    report: Report
    total: int = 0
    done: int = 0

    def __call__(self, line: str) -> None:
        counted = COUNTED.search(line)
        if counted:
            self.total += int(counted[1])
        elif line.startswith("Get:") and self.total:
            self.done += 1
            self.report.moved(self.done, max(self.done, self.total), "packages")


def _stanzas(available: Path) -> dict[str, Fields]:
    """What the signed indexes say of packages, by the SHA-256 of their files."""
    parts = available.read_text().split("\n\n")
    stanzas = (dict(re.findall(r"^([\w-]+): (.*)$", part, re.MULTILINE)) for part in parts)
    return {each["SHA256"]: each for each in stanzas if "SHA256" in each}


def _chosen(
    debs: Iterable[Path], archives: Path, known: Mapping[str, Fields]
) -> Iterator[tuple[Path, Fields]]:
    """Each file, and what the index says of it. Raises HostFault for files that have changed since they were fetched."""
    damaged = []
    for deb in debs:
        # apt looks at sizes alone when it finds a file that it fetched before.
        file = archives / deb.name if (archives / deb.name).exists() else deb
        stanza = known.get(files.sha256(file))
        if stanza:
            yield file, stanza
        else:
            damaged.append(file)
    for each in damaged:
        if each.is_relative_to(archives):
            each.unlink()
    if damaged:
        raise HostFault(
            f"{len(damaged)} package(s) have changed on this disk since they were fetched",
            evidence=[each.name for each in damaged],
            where=str(archives),
            hint="run doit again: they were thrown away, and are fetched anew",
        )


def _pool(chosen: Iterable[tuple[Path, Fields]], new: Path, work: Path, epoch: int) -> Iterator[Held]:
    """In the places that an archive gives them: the epoch of a version is no part of a file's name."""
    for file, stanza in chosen:
        name, version, architecture = (stanza[key] for key in ("Package", "Version", "Architecture"))
        place = f"pool/{name}_{version.rpartition(':')[2]}_{architecture}.deb"
        digest = put(file, new / place, ours=work, epoch=epoch)
        package = Package(name=name, version=version, architecture=architecture)
        yield Held(package, place, digest)


def _index(new: Path, stanzas: Iterable[Fields], wanted: Wanted, key: Path) -> None:
    """dists/ as apt reads it, and the key: the same packages, the same bytes."""
    override = new.with_name("override")
    lines = (
        f"{each['Package']} {each.get('Priority', 'optional')} {each.get('Section', 'misc')}\n"
        for each in stanzas
    )
    override.write_text("".join(lines))
    architecture = apt.ARCHITECTURES[wanted.architecture]
    dist = new / "dists" / wanted.release
    binary = dist / "main" / f"binary-{architecture}"
    binary.mkdir(parents=True)
    listed = _ftparchive(new, "packages", "pool", str(override))
    packages = "\n\n".join(sorted(filter(None, listed.split("\n\n")))) + "\n"
    (binary / "Packages").write_text(packages)
    (binary / "Packages.gz").write_bytes(gzip.compress(packages.encode(), mtime=0))
    # apt refuses what was made in the future.
    when = min(wanted.epoch, int(time.time()))
    values = {
        "Origin": "doit-ami",
        "Suite": wanted.release,
        "Codename": wanted.release,
        "Architectures": architecture,
        "Components": "main",
        "Date": format_datetime(datetime.fromtimestamp(when, UTC)),
        "Acquire-By-Hash": "yes",
    }
    said = (f"-oAPT::FTPArchive::Release::{name}={value}" for name, value in values.items())
    release = _ftparchive(
        new, "-oAPT::FTPArchive::DoByHash=true", *said, "release", str(dist.relative_to(new))
    )
    inrelease, public = openpgp.signed(release, key, when)
    (dist / "InRelease").write_text(inrelease)
    (new / apt.ARCHIVE_KEY).write_text(public)


def _ftparchive(folder: Path, *argv: str) -> str:
    inside = ("env", "--chdir", str(folder), "apt-ftparchive", *SHA256_ALONE)
    return ask(Command((*inside, *argv), "index the mirror"))
