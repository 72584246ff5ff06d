"""The package database of an RPM image: what it says, and whether the image's own rpm can read it.

rpm has kept its database in four formats, and one of today writes only the newer: Berkeley DB, all that EL 3 to 7 know,
is no longer among them. So the image's own rpm is asked. When it does not see what was installed, it makes a database of
its own from the packages' headers. (A database made so holds the time it was made: an image of such a distribution is
not the same to the byte when it is built again.)
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tasks.kit.fault import ToolFault
from tasks.kit.proc import Command
from tasks.kit.sandbox import Sandbox
from tasks.spec.record import Package

QUERY = r"%{NAME}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\t%{ARCH}\n"
KEYS = "gpg-pubkey"  # keys lie in the database as if they were packages
QUERY_IN_SHELL = f"rpm -qa --qf '{QUERY}' | grep -v '^{KEYS}'"
OLD_PLACE, NEW_PLACE = "/var/lib/rpm", "/usr/lib/sysimage/rpm"


def place(distribution: str, release: str) -> str:
    """Where the database lies; it moved in Fedora 36 and in EL 10."""
    since = {"fedora": 36, "centos-stream": 10, "rocky": 10, "almalinux": 10}.get(distribution)
    moved = since is not None and int(release.partition(".")[0]) >= since
    return NEW_PLACE if moved else OLD_PLACE


def settle(
    box: Sandbox, tree: Path, *, home: Path, cache: Path, others: Sequence[str], place: str
) -> tuple[Package, ...]:
    """Every package that is installed, sorted; the image's own rpm, if it has one, says the same.

    `home`: where our rpm's settings lie; `cache`: a folder of the tree with the packages themselves; `others`: folders
    of the host's with more of them; `place`: of the database, in the tree. Raises ToolFault when the image's rpm cannot
    be made to agree.
    """
    packages = noted(box, tree, home)
    inside = ("chroot", str(tree))
    if not _has_rpm(box, inside):
        return packages
    if _own_list(box, inside) == packages:
        return packages
    own = box.ask(Command((*inside, "rpm", "--eval", "%{_dbpath}"), "ask rpm for its database")).strip()
    for each in {place, own}:
        argv = ("find", f"{tree}{each}", "-mindepth", "1", "-delete")
        box.run(Command(argv, f"clear {each}"))
    files = _files(box, packages, (str(cache), *others), home)
    outside = [each for each in files if not each.is_relative_to(cache)]
    if outside:
        bring = ("cp", "--target-directory", str(cache), *map(str, outside))
        box.run(Command(bring, "bring the packages in"))
    within = [cache / each.name if each in outside else each for each in files]
    _remake(box, inside, [f"/{each.relative_to(tree)}" for each in within])
    if own != place:
        box.run(Command(("rmdir", f"{tree}{place}"), f"remove {place}"))
    found = _own_list(box, inside)
    if found != packages:
        lacking = [
            f"{each.name}-{each.version}.{each.architecture}" for each in packages if each not in found
        ]
        raise ToolFault("the image's own rpm cannot read the package database", evidence=lacking[:10])
    return packages


def noted(box: Sandbox, tree: Path, home: Path) -> tuple[Package, ...]:
    """Every package in the database of a tree, as our own rpm reads it."""
    argv = ("rpm", f"--root={tree}", *_all())
    return _packages(box.ask(Command(argv, "list what was installed", env={"HOME": str(home)})))


def _all() -> Sequence[str]:
    return ("-qa", "--qf", QUERY)


def _packages(text: str) -> tuple[Package, ...]:
    fields = (line.split("\t") for line in text.splitlines() if not line.startswith(KEYS))
    found = (
        Package(name=each[0], version=each[1], architecture=each[2])
        for each in fields
        if len(each) == 3  # noqa: PLR2004 - QUERY's
    )
    return tuple(sorted(found, key=lambda each: (each.name, each.architecture, each.version)))


def _has_rpm(box: Sandbox, inside: Sequence[str]) -> bool:
    try:
        box.ask(Command((*inside, "rpm", "--version"), "look for the image's own rpm"))
    except ToolFault:
        return False
    return True


def _own_list(box: Sandbox, inside: Sequence[str]) -> tuple[Package, ...]:
    """What the image's own rpm sees; nothing when it cannot read the database at all."""
    try:
        return _packages(box.ask(Command((*inside, "rpm", *_all()), "ask the image's own rpm")))
    except ToolFault:
        return ()


def _files(box: Sandbox, packages: Iterable[Package], folders: Iterable[str], home: Path) -> list[Path]:
    """The package file of each that is installed; a failed run before, or a repository, may have others."""
    argv = ("find", "-L", *folders, "-name", "*.rpm")
    found = box.ask(Command(argv, "find the packages")).splitlines()
    one_of_each = {package: Path(file) for file in found for package in _header(box, file, home)}
    return sorted(file for package, file in one_of_each.items() if package in set(packages))


def _header(box: Sandbox, file: str, home: Path) -> tuple[Package, ...]:
    """What a package file says it is; nothing when it came here in part only."""
    argv = ("rpm", "-qp", "--nosignature", "--nodigest", "--qf", QUERY, file)
    try:
        return _packages(box.ask(Command(argv, "read a package's header", env={"HOME": str(home)})))
    except ToolFault:
        return ()


def _remake(box: Sandbox, inside: Sequence[str], files: Iterable[str]) -> None:
    """By the image's own rpm, from the packages' headers alone: nothing is unpacked and no script runs twice."""
    rpm = (*inside, "rpm")
    quietly = ("--justdb", "--nodeps", "--noscripts", "--notriggers", "--nosignature", "--ignorearch")
    box.run(Command((*rpm, "--initdb"), "begin a database by the image's own rpm"))
    box.run(Command((*rpm, "-i", *quietly, *files), "make the database by the image's own rpm"))
