"""Package managers: what a distribution must be able to say and do. One module for each kind, found by the image's `distro`."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol, Self, cast, get_args

from tasks.distro.held import Held
from tasks.distro.systems import System
from tasks.kit.report import Report
from tasks.spec.model import Architecture, Image
from tasks.spec.part import Part
from tasks.spec.record import Package
from tasks.spec.source import AptDistribution, AptRepository, RpmDistribution, Yum, YumRepository
from tasks.spec.tool import Tool

FAMILY = {
    **dict.fromkeys(get_args(AptDistribution), "apt"),
    **dict.fromkeys(get_args(RpmDistribution), "dnf"),
}


class Wanted(Part):
    """What a package manager needs to know of an image."""

    distro: str
    release: str
    architecture: Architecture
    repositories: tuple[AptRepository | YumRepository, ...]
    packages: tuple[str, ...]
    groups: tuple[str, ...] = ()
    yum: Yum = Yum()
    tls: str = "enabled"
    epoch: int  # seconds since 1970: no file is younger

    @classmethod
    def of(cls, image: Image, epoch: int) -> Self:
        """Every key that the image has; those of the other family keep their defaults."""
        taken = {name: getattr(image, name) for name in cls.model_fields if hasattr(image, name)}
        return cls(**taken, epoch=epoch)


class Distro(Protocol):
    HOOKS: tuple[str, ...]  # templates that shape the root file system while it is populated

    def tools(self, wanted: Wanted) -> tuple[Tool, ...]:
        """The host's programs that it takes."""

    def system(self, name: str, release: str) -> System:
        """What an image of this distribution gets, beside its packages."""

    def populate(
        self,
        wanted: Wanted,
        tar: Path,
        *,
        hooks: Mapping[str, Path],
        log: Path,
        report: Report,
        mirror: Path | None = None,
    ) -> tuple[Package, ...]:
        """A root file system at `tar`: numeric owners, no device nodes, no host keys; the same packages, the same bytes.

        From a mirror as a `Keeper` makes it, without a network; or, with none, from the repositories themselves.
        Every package in it, sorted by name and architecture.
        """


class Keeper(Protocol):
    """Of mirrors of one's own: one for each package manager."""

    HOOKS: tuple[str, ...]  # templates that say how packages are found

    def tools(self, wanted: Wanted) -> tuple[Tool, ...]:
        """The host's programs that it takes."""

    def repository(
        self,
        wanted: Wanted,
        work: Path,
        *,
        key: Path,
        hooks: Mapping[str, Path],
        log: Path,
        report: Report,
    ) -> tuple[Path, tuple[Held, ...]]:
        """A folder below `work` with exactly the packages that `populate` would install, signed as they were, and their index.

        What was fetched stays in `work` for the next time. The index is proven: the image's packages, and no others,
        were found by it. What has no signature of its distribution's is signed with the private `key`.
        """


def distro(name: str) -> Distro:
    return cast("Distro", import_module(f"tasks.distro.{FAMILY[name]}"))


def keeper(name: str) -> Keeper:
    return cast("Keeper", import_module(f"tasks.distro.{FAMILY[name]}.mirror"))


def system(name: str, release: str) -> System:
    return distro(name).system(name, release)
