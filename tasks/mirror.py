"""packages → build/mirror/<image>/: a repository of one's own, of exactly what the image needs.

In:    the repositories, groups and packages of config/images/<image>.yaml; templates that say how packages are found
Out:   the repository, and its stamp: every package with its digest. Packages keep the signatures of their distribution
Needs: the distribution's own tools and createrepo_c or apt-ftparchive; a network; namespaces, but not root

A mirror stays as it is until the image needs something else, or `--update` asks for what is newer. Then what upstream
has by then is chosen; what is there already is not fetched again, and what is no longer needed goes. The new repository
takes the place of the old at one instant, when it has been tried.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tasks.distro import Wanted, keeper
from tasks.distro.held import Held
from tasks.kit import files
from tasks.kit.fault import ImageFault
from tasks.kit.report import Report
from tasks.spec.model import Image
from tasks.spec.record import MirrorFile, MirrorPackage, MirrorStamp, incomplete
from tasks.spec.tool import Tool

RECIPE = 1
UPDATE = {
    "name": "update",
    "long": "update",
    "type": bool,
    "default": False,
    "help": "look upstream for what is newer",
}
INSTALL = " --mirror"  # what `doit host --install` is to be told, beside the image


class Order(Wanted):
    """All this stage may know."""

    @classmethod
    def of(cls, image: Image, epoch: int) -> Self:
        """Without what is done to packages once they are there."""
        return super().of(image, epoch).model_copy(update={"tls": "enabled"})


def tools(order: Order) -> tuple[Tool, ...]:
    return keeper(order.distro).tools(order)


def hooks(order: Order) -> tuple[str, ...]:
    return keeper(order.distro).HOOKS


def body(
    order: Order,
    *,
    report: Report,
    log: Path,
    templates: Mapping[str, Path],
    mirror: Path,
    work: Path,
    key: Path,
    stamp: Path,
    update: bool = False,
) -> None:
    asked = {name: files.sha256(path) for name, path in templates.items()}
    digest = files.digest({**asked, "order": order.model_dump(mode="json"), "recipe": RECIPE})
    if not update and _holds(stamp, mirror, digest):
        report.noted("the mirror is there, and what it was made for is still asked for")
        return
    work.mkdir(parents=True, exist_ok=True)
    family = keeper(order.distro)
    new, held = family.repository(order, work, key=key, hooks=templates, log=log, report=report)
    made = _stamped(new, held, digest, order.epoch)
    made.write(new / stamp.relative_to(mirror))
    report.said("putting it in its place")
    replace(new, made, mirror)


def replace(new: Path, made: MirrorStamp, mirror: Path) -> None:
    """The new one in the place of what is there, stamp and all, at one instant; what was there goes."""
    for file in made.metadata:
        _keep_time(new / file.name, mirror / file.name)
    for path in (*new.rglob("*"), new):
        files.settle(path)
    files.exchange(new, mirror)
    shutil.rmtree(new, ignore_errors=True)


def _holds(stamp: Path, mirror: Path, digest: str) -> bool:
    """Whether the mirror is whole, and made for this: doit forgets what it knew when an update fails, or on another machine.

    Packages whose times were lost when they were copied get them again.
    """
    try:
        made = MirrorStamp.read(stamp)
    except ImageFault:
        return False
    if made.digest != digest:
        return False
    for each in made.packages:
        path = mirror / each.file.name
        if path.is_file() and files.sha256(path) == each.file.sha256:
            files.mark(path, made.epoch, each.file.sha256)
    return not incomplete(stamp, mirror)


def _stamped(new: Path, held: Sequence[Held], digest: str, epoch: int) -> MirrorStamp:
    packages = {each.name: each for each in held}
    found = {str(path.relative_to(new)): path for path in sorted(new.rglob("*")) if path.is_file()}
    known = {
        name: MirrorFile(
            name=name,
            size=path.stat().st_size,
            sha256=packages[name].sha256 if name in packages else files.sha256(path),
        )
        for name, path in found.items()
    }
    return MirrorStamp(
        digest=digest,
        epoch=epoch,
        packages=tuple(
            MirrorPackage(**packages[name].package.model_dump(), file=file)
            for name, file in known.items()
            if name in packages
        ),
        metadata=tuple(file for name, file in known.items() if name not in packages),
    )


def _keep_time(path: Path, before: Path) -> None:
    """The time of a file that stays as it was: who has fetched it from a web server need not do so again."""
    if before.is_file() and before.read_bytes() == path.read_bytes():
        times = before.stat()
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
