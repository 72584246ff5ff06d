"""Package managers: what a distribution must be able to say and do. One module each, found by the image's `distro`."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from tasks.kit.report import Report
from tasks.plan.content import Laid
from tasks.spec.model import Architecture, Repository
from tasks.spec.part import Part
from tasks.spec.record import Package
from tasks.spec.tool import Tool

FAMILY = {"debian": "apt"}


class Wanted(Part):
    """What a package manager needs to know of an image."""

    release: str
    architecture: Architecture
    repositories: tuple[Repository, ...]
    packages: tuple[str, ...]
    epoch: int  # seconds since 1970: no file is younger


class Distro(Protocol):
    TOOLS: tuple[Tool, ...]
    HOOKS: tuple[str, ...]  # templates that shape the root file system while it is populated
    SKELETON: tuple[Laid, ...]  # templates that every image of this family gets, and where
    UNITS: tuple[str, ...]  # services to enable
    PACKAGE_QUERY: (
        str  # a shell command that prints name, version and architecture of every package, between tabs
    )

    def populate(
        self, wanted: Wanted, tar: Path, *, hooks: Mapping[str, Path], log: Path, report: Report
    ) -> None:
        """A root file system at `tar`: numeric owners, no device nodes, no host keys; the same packages, the same bytes."""

    def installed(self, tar: Path) -> tuple[Package, ...]:
        """Every package in a root file system, sorted by name and architecture."""


def distro(name: str) -> Distro:
    return cast("Distro", import_module(f"tasks.distro.{FAMILY[name]}"))
