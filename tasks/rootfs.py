"""packages → rootfs.tar: every package of the image, installed and configured.

In:    the repositories, groups and packages of config/images/<image>.yaml, or a mirror of one's own; the distribution's
       hooks from templates/
Out:   rootfs.tar (numeric owners, no device nodes, no host keys) and rootfs.stamp (its digest, every package in it)
Needs: the distribution's own tools; namespaces, but not root
"""

from collections.abc import Mapping
from pathlib import Path

from tasks.distro import Wanted, distro, foreign
from tasks.kit.files import appearing
from tasks.kit.report import Report
from tasks.spec.record import FileStamp, MirrorStamp, RootfsStamp
from tasks.spec.tool import Tool

RECIPE = 1


class Order(Wanted):
    """All this stage may know."""


def tools(order: Order) -> tuple[Tool, ...]:
    return distro(order.distro).tools(order)


def hooks(order: Order) -> tuple[str, ...]:
    """The templates that shape the tree while it is populated."""
    return distro(order.distro).HOOKS


def body(
    order: Order,
    *,
    report: Report,
    log: Path,
    templates: Mapping[str, Path],
    rootfs: Path,
    stamp: Path,
    mirror: Path | None = None,
    mirror_stamp: Path | None = None,
) -> None:
    foreign.check(order.architecture)
    family = distro(order.distro)
    if mirror and mirror_stamp:
        MirrorStamp.read(mirror_stamp).check(mirror)
    stamp.unlink(missing_ok=True)  # of a tar that is about to be replaced
    with appearing(rootfs) as scratch:
        packages = family.populate(
            order, scratch, hooks=templates, log=log, report=report, mirror=mirror
        )
    RootfsStamp(file=FileStamp.of(rootfs), packages=packages).write(stamp)
