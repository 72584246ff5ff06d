"""A Debian tree, taken apart into RPMs: one of each package, with its files, owners, modes and dependencies.

What Debian's maintainer scripts made (users, alternatives, the configuration of PAM) lies in the tree when it is taken
apart, and goes to the package that it is about. A Shape says how the distribution differs from Debian.
"""

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path, PurePosixPath

from tasks.distro.apt import sources
from tasks.kit.proc import Command
from tasks.kit.sandbox import Sandbox, mount_memory, mount_point, sandbox
from tasks.spec.aptsources import host_repositories
from tests import rpms
from tests.trees import EPOCH

RELEASE = "bookworm"
UNWANTED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
FIRST = ("setup", "filesystem")  # before all others, in this order: users, and folders for them
BASE = FIRST[-1]  # what nobody claims is its
NOTHING = ""  # instead of a name: leave out
UNITS = ("/usr/lib/systemd/system", "/etc/systemd/system")
# What scriptlets may change: rpm --verify is not to wonder.
VOLATILE = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/shells")
LISTING = r"%y\t%m\t%u\t%g\t%p\t%l\0"


@dataclass(frozen=True)
class Member:
    """A path of the tree. `kind` is find's: f, d, l; `target` is of a link."""

    kind: str
    mode: str
    user: str
    group: str
    path: str
    target: str


@dataclass(frozen=True)
class Deb:
    name: str
    version: str
    noarch: bool
    depends: tuple[tuple[str, ...], ...]  # one of each
    provides: tuple[str, ...]
    lists: tuple[str, ...]  # every path that dpkg knows of it


@dataclass(frozen=True)
class Tree:
    """All that is known of a Debian tree."""

    members: Mapping[str, Member]
    debs: Mapping[str, Deb]

    def real(self, path: str) -> str:
        """The path with the links in its folders followed, as in a chroot."""
        at = PurePosixPath("/")
        for part in PurePosixPath(path).parent.parts[1:]:
            at = self.followed(str(at / part))
        return str(at / PurePosixPath(path).name)

    def followed(self, path: str, hops: int = 8) -> PurePosixPath:
        """Where a link leads, at last."""
        member = self.members.get(path)
        if not member or member.kind != "l" or not hops:
            return PurePosixPath(path)
        target = posixpath.normpath(PurePosixPath(path).parent / member.target)
        return self.followed(self.real(target), hops - 1)

    @cached_property
    def owners(self) -> Mapping[str, str]:
        """The Debian package that a path belongs to alone: not folders of many, nor the links that stand for some."""
        owned = [(self.real(path), deb.name) for deb in self.debs.values() for path in deb.lists]
        times = Counter(path for path, _ in owned)
        return {path: name for path, name in owned if times[path] == 1}


@dataclass
class Rpm:
    """A package in the making."""

    name: str
    version: str = "1"
    release: str = "1"
    epoch: str = ""
    noarch: bool = True
    requires: set[str] = field(default_factory=set)
    before: set[str] = field(default_factory=set)  # what must be whole before its first scriptlet
    provides: set[str] = field(default_factory=set)
    files: list[str] = field(default_factory=list)  # lines of %files
    scripts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Shape:
    """How a distribution differs from Debian."""

    arch: str
    architecture: str  # the same in Debian's words
    wanted: str  # Debian's packages, which bring all that they need
    script: str  # for sh, in the tree, before it is taken apart
    names: Mapping[str, str]  # of packages: Debian's and its own; several may become one
    claims: Mapping[
        str, str
    ]  # patterns of paths, and the package that has them in spite of dpkg; the first that fits
    own: tuple[Rpm, ...]  # what it adds to packages, and packages that Debian has none of
    ghosts: tuple[str, ...] = ()  # patterns of paths that scriptlets make
    capabilities: Mapping[str, str] = field(default_factory=dict)  # by path
    triggers: str = ""  # sections of the spec, as they stand
    updates: str = "updates"  # the name of the second repository
    checksum: str = "sha256"  # of the repositories' metadata


@contextmanager
def debian(folder: Path, shape: Shape, *hooks: str) -> Iterator[tuple[Sandbox, Path]]:
    """A sandbox, and in its memory a Debian tree, shaped. `hooks` are mmdebstrap's options.

    From the release alone: mirrors of the security suite come and go by the hour, and are not always whole for i386.
    """
    found = (each for each in host_repositories("debian", RELEASE) if RELEASE in each.suites)
    repositories = [each.model_copy(update={"suites": (RELEASE,)}) for each in found]
    folder.mkdir(parents=True, exist_ok=True)
    with mount_point(folder / "tree") as memory, sandbox(log=folder / "log", network=True) as box:
        mount_memory(box, memory)
        mount_memory(box, Path("/dev/shm"), mode="01777")
        tree = memory / "root"
        argv = (
            *("mmdebstrap", "--mode=root", "--variant=essential", "--format=directory"),
            *("--skip=check/qemu", "--skip=cleanup/apt", "--skip=output/dev"),
            *(f"--dpkgopt=path-exclude={each}" for each in UNWANTED),
            *("--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Retries "3"', *hooks),
            *(f"--architectures={shape.architecture}", f"--include={','.join(shape.wanted.split())}"),
            *(RELEASE, str(tree), "-"),
        )
        # The kernel's own scripts make no initramfs: that is for the RPM's to do.
        env = {"SOURCE_DATE_EPOCH": str(EPOCH), "TMPDIR": str(memory), "INITRD": "No"}
        box.run(Command(argv, "make a Debian tree", stdin=sources(repositories), env=env))
        box.run(Command(("sh", "-eu", "-s", str(tree)), "shape the tree", stdin=shape.script))
        yield box, tree


def read(box: Sandbox, tree: Path) -> Tree:
    find = ("chroot", str(tree), "find", "/", "-xdev", "-mindepth", "1", "-printf", LISTING)
    rows = box.ask(Command(find, "list the tree")).split("\0")[:-1]
    members = (Member(*row.split("\t")) for row in rows)
    info = f"cd {tree}/var/lib/dpkg/info && grep -H '' -- *.list"
    lists: dict[str, list[str]] = {}
    for line in box.ask(Command(("sh", "-c", info), "list what dpkg knows")).splitlines():
        name, path = line.split(".list:", 1)
        lists.setdefault(name.partition(":")[0], []).append(path)
    status = box.ask(Command(("cat", f"{tree}/var/lib/dpkg/status"), "read dpkg's status"))
    return Tree({each.path: each for each in members}, dict(_debs(status, lists)))


def _debs(status: str, lists: Mapping[str, list[str]]) -> Iterator[tuple[str, Deb]]:
    for stanza in status.split("\n\n"):
        fields = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", stanza, re.MULTILINE))
        if fields.get("Status") == "install ok installed":
            needs = ", ".join(fields[each] for each in ("Pre-Depends", "Depends") if each in fields)
            name = fields["Package"]
            yield (
                name,
                Deb(
                    name,
                    fields["Version"],
                    noarch=fields["Architecture"] == "all",
                    depends=tuple(tuple(_bare(each.split("|"))) for each in _split(needs)),
                    provides=tuple(_bare(_split(fields.get("Provides", "")))),
                    lists=tuple(path for path in lists.get(name, ()) if path != "/."),
                ),
            )


def _split(relations: str) -> list[str]:
    return [each for each in relations.split(",") if each.strip()]


def _bare(relations: Iterable[str]) -> Iterator[str]:
    """The names of packages, without versions and architectures."""
    return (re.split(r"[\s(:\[]", each.strip())[0] for each in relations)


def packages(tree: Tree, shape: Shape) -> dict[str, Rpm]:
    """The RPMs of a tree, each with its files."""
    made: dict[str, Rpm] = {}
    for deb in tree.debs.values():
        name = shape.names.get(deb.name, deb.name)
        # Of several, the one that the RPM is named after says its version.
        if name != NOTHING and (name not in made or name == deb.name):
            made[name] = Rpm(name, *_version(deb.version), noarch=deb.noarch)
    _relate(tree, shape, made)
    for own in shape.own:
        rpm = made.setdefault(own.name, Rpm(own.name, own.version, own.release))
        rpm.requires |= own.requires
        rpm.before |= own.before
        rpm.provides |= own.provides
        rpm.files += own.files
        rpm.scripts |= own.scripts
    for rpm in made.values():
        rpm.before.add(BASE)
    for number, name in enumerate(FIRST):
        made[name].requires, made[name].before = set(), set(FIRST[:number])
    for member in sorted(tree.members.values(), key=lambda each: each.path):
        name = _owner(tree, shape, member)
        if name != NOTHING:
            made[name].files.append(_line(shape, member))
    return made


def _version(debian: str) -> tuple[str, str, str]:
    """RPM's version, release and epoch: the first two know no dash."""
    epoch, _, rest = debian.rpartition(":")
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return upstream.replace("-", "."), revision, epoch


def _relate(tree: Tree, shape: Shape, made: Mapping[str, Rpm]) -> None:
    """Debian's dependencies, those of them that the distribution has a package for."""
    known = {deb.name: shape.names.get(deb.name, deb.name) for deb in tree.debs.values()}
    bringing = {each: known[deb.name] for deb in tree.debs.values() for each in deb.provides} | known
    for deb in tree.debs.values():
        rpm = made.get(known[deb.name])
        if rpm:
            rpm.noarch &= deb.noarch
            rpm.provides |= set(deb.provides)
            chosen = (next((each for each in one if each in bringing), NOTHING) for one in deb.depends)
            rpm.requires |= {bringing[each] for each in chosen if each} - {rpm.name, NOTHING}


def _owner(tree: Tree, shape: Shape, member: Member) -> str:
    """The RPM that a path goes to: by a claim, by dpkg, by what a link leads to."""
    for pattern, name in shape.claims.items():
        if fnmatchcase(member.path, pattern):
            return name
    owner = tree.owners.get(member.path)
    if owner is None and member.kind == "l":
        owner = tree.owners.get(str(tree.followed(member.path)))
    return BASE if owner is None else shape.names.get(owner, owner)


def _line(shape: Shape, member: Member) -> str:
    """A path as a line of %files."""
    words = [rpms.listed(member.path)]
    if member.kind != "l":
        words.insert(0, f"%attr({member.mode},{member.user},{member.group})")
    if member.kind == "d":
        words.insert(0, "%dir")
    elif any(fnmatchcase(member.path, pattern) for pattern in shape.ghosts):
        words.insert(0, "%ghost")
    elif member.kind == "f" and member.path.startswith("/etc/"):
        words.insert(0, "%config(noreplace)")
    if member.path in VOLATILE:
        words.insert(0, "%verify(not md5 size mtime)")
    if member.path in shape.capabilities:
        words.insert(0, f"%caps({shape.capabilities[member.path]})")
    return " ".join(words)


def units(tree: Tree, shape: Shape, preset: str) -> Iterator[Rpm]:
    """The scriptlets that packages of systemd's day have: each enables its own units, as far as the preset does."""
    found: dict[str, list[str]] = {}
    for unit in re.findall(r"^enable (\S+)$", preset, re.MULTILINE):
        paths = [f"{folder}/{unit}" for folder in UNITS if f"{folder}/{unit}" in tree.members]
        found.setdefault(_owner(tree, shape, tree.members[paths[0]]), []).append(unit)
    for name, ours in found.items():
        enable = f'if [ "$1" -eq 1 ]; then\n    systemctl --no-reload preset {" ".join(ours)}\nfi'
        yield Rpm(name, before={"systemd"} - {name}, scripts={"post": enable})


def spec(made: Iterable[Rpm], shape: Shape) -> str:
    """One spec for all: its main package has no files, and so becomes no RPM."""
    head = "Name: world\nVersion: 1\nRelease: 1\nSummary: none\nLicense: various\n%description\nNone.\n"
    return "\n".join([rpms.PREAMBLE, head, *map(_section, made), shape.triggers])


def _section(rpm: Rpm) -> str:
    tags = {
        "Summary": [f"{rpm.name}, repackaged"],
        "Epoch": [rpm.epoch] if rpm.epoch else [],
        "Version": [rpm.version],
        "Release": [rpm.release],
        "BuildArch": ["noarch"] if rpm.noarch else [],
        "AutoReqProv": ["no"],
        "Requires": sorted(rpm.requires),
        "Requires(pre)": sorted(rpm.before),
        "Provides": sorted(rpm.provides - {rpm.name}),
    }
    lines = [f"{tag}: {value}" for tag, values in tags.items() for value in values]
    scripts = [rpms.script(when, text, rpm.name) for when, text in rpm.scripts.items()]
    head, files = f"%package -n {rpm.name}", f"%files -n {rpm.name}"
    return "\n".join(
        [head, *lines, f"%description -n {rpm.name}", "Repackaged.", *scripts, files, *rpm.files]
    )


def build(box: Sandbox, tree: Path, made: Iterable[Rpm], shape: Shape, folder: Path) -> None:
    """The RPMs, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = tree.with_name("world.spec")
    box.ask(Command(("tee", str(text)), "write the spec", stdin=spec(made, shape)))
    argv = rpms.rpmbuild(text, tree, folder, shape.arch)
    box.run(Command(argv, "repackage", env=rpms.environment(text.parent)))
