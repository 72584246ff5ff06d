"""packages → rootfs.tar: every package of the image, installed and configured.

In:    the repositories and packages of config/images/<image>.yaml; the distribution's hooks from templates/
Out:   rootfs.tar (numeric owners, no device nodes, no host keys) and rootfs.stamp (its digest, every package in it)
Needs: the distribution's own tools; namespaces, but not root
"""

from collections.abc import Mapping
from pathlib import Path

from tasks.distro import Wanted, distro
from tasks.kit.files import appearing
from tasks.kit.report import Report
from tasks.spec.model import Image
from tasks.spec.record import FileStamp, RootfsStamp
from tasks.spec.tool import Tool

RECIPE = 1


class Order(Wanted):
    """All this stage may know."""

    distro: str

    @classmethod
    def of(cls, image: Image, epoch: int) -> "Order":
        return cls(
            distro=image.distro,
            release=image.release,
            architecture=image.architecture,
            repositories=image.repositories,
            packages=image.packages,
            epoch=epoch,
        )


def tools(order: Order) -> tuple[Tool, ...]:
    return distro(order.distro).TOOLS


def hooks(order: Order) -> tuple[str, ...]:
    """The templates that shape the tree while it is populated."""
    return distro(order.distro).HOOKS


def body(
    order: Order, *, report: Report, log: Path, templates: Mapping[str, Path], rootfs: Path, stamp: Path
) -> None:
    family = distro(order.distro)
    stamp.unlink(missing_ok=True)  # of a tar that is about to be replaced
    with appearing(rootfs) as scratch:
        family.populate(order, scratch, hooks=templates, log=log, report=report)
    report.said("reading what was installed")
    RootfsStamp(file=FileStamp.of(rootfs), packages=family.installed(rootfs)).write(stamp)
