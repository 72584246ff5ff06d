"""Two RPM distributions, whole, made of Debian's own binaries where the tests run: one of today, one in the shape of EL4.

Real: every program and library, and that they run; rpmbuild, createrepo_c and gpg; owners, modes, capabilities,
configuration files, ghosts, dependencies with their cycles, architectures and noarch; scriptlets that add users, enable
units, run ldconfig (by a file trigger in the one of today) and depmod, and make the initramfs; device nodes in a package.
Stand-in: the names and versions are Debian's, except where EL4 has a package that corresponds; dependencies are by name
only; what Debian's maintainer scripts leave (users of services, alternatives, PAM) lies in packages as it came out; /lib
is a link, as in every Debian and in no EL4; EL4's rpm is Debian's, and its database sqlite.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tasks.kit.proc import Command
from tasks.kit.sandbox import Sandbox
from tests import rpms
from tests.projects import ROOT
from tests.rpmshapes import EL4, KERNEL, PRESET, TODAY, with_kernel
from tests.rpmtree import Rpm, Shape, build, debian, packages, read, units
from tests.sidebyside import once

RENEWED = "tzdata"  # harmless, small, and what updates have really brought most often


@dataclass(frozen=True)
class World:
    """A distribution to be served: `folder` has the two repositories, `base` with the group Base in it."""

    folder: Path
    base: str
    updates: str
    key: rpms.Key
    packages: tuple[str, ...]  # all of Base, sorted
    renewed: str  # of these, the one that `updates` has anew
    arch: str

    @property
    def public_key(self) -> Path:
        return self.key.public

    def rpm(self, name: str) -> Path:
        """The file of a package, the newest."""
        found = [
            path
            for part in (self.updates, self.base)
            for path in sorted((self.folder / part).rglob("*.rpm"))
            if path.name.rsplit("-", 2)[0] == name
        ]
        return found[0]


@pytest.fixture(scope="session")
def rpm_distribution(space: Path) -> World:
    """Of today, x86_64; it boots. To be read only."""
    return once(space, "rpm-distribution", lambda: today(space / "rpm-distribution"))


@pytest.fixture(scope="session")
def el4_shape(space: Path) -> World:
    """In the shape of EL4, i386; it does not boot. To be read only."""
    return once(space, "el4-shape", lambda: el4(space / "el4-shape"))


def today(folder: Path) -> World:
    """Made anew in `folder`, in about a minute."""
    hook = ROOT / "templates/debian/essential-hook"  # what goes into an initramfs
    with debian(folder, TODAY, f"--essential-hook={hook}") as (box, tree):
        found = read(box, tree)
        kernel = next(path for path in found.members if path.startswith(KERNEL)).removeprefix(KERNEL)
        shape = with_kernel(TODAY, kernel)
        preset = box.ask(Command(("cat", f"{tree}/{PRESET}"), "read the preset"))
        shape = replace(shape, own=(*shape.own, *units(found, shape, preset)))
        return _published(box, tree, folder, packages(found, shape), shape)


def el4(folder: Path) -> World:
    """Made anew in `folder`, in half a minute."""
    with debian(folder, EL4) as (box, tree):
        return _published(box, tree, folder, packages(read(box, tree), EL4), EL4)


def _published(box: Sandbox, tree: Path, folder: Path, made: dict[str, Rpm], shape: Shape) -> World:
    """The packages built, signed and indexed: all in `base`, one of them anew in `updates`."""
    renewed = replace(made[RENEWED], release=f"{made[RENEWED].release}.1")
    key = rpms.signing_key(folder)
    build(box, tree, made.values(), shape, folder / "base/Packages")
    build(box, tree, [renewed], replace(shape, triggers=""), folder / shape.updates / "Packages")
    rpms.sign(folder.rglob("*.rpm"), key)
    groups = {"Base": {"id": "base", "mandatory": sorted(made)}}
    rpms.index(folder / "base", groups=groups, checksum=shape.checksum)
    rpms.index(folder / shape.updates, checksum=shape.checksum)
    return World(folder, "base", shape.updates, key, tuple(sorted(made)), RENEWED, shape.arch)
