"""A repository in the making: packages that were fetched, put in their places without being copied."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tasks.kit import files
from tasks.spec.record import Package


@dataclass(frozen=True)
class Held:
    """A package of a mirror: the path below it, and the SHA-256 of the file (hex)."""

    package: Package
    name: str
    sha256: str


def fresh(folder: Path) -> Path:
    """The folder, with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def put(source: Path, place: Path, *, ours: Path, epoch: int) -> str:
    """The file at a place of its own, with the time that `files.time_of` gives it; its digest.

    What lies below `ours` is linked; what belongs to somebody else is copied, and left as it is.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_relative_to(ours):
        os.link(source, place)
    else:
        shutil.copyfile(source, place)
    digest = files.sha256(place)
    files.mark(place, epoch, digest)
    return digest
