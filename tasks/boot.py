"""<image>.img → boot.json, console.log: the image boots under QEMU and lets its key in.

In:    <image>.img with its stamp; the private SSH key; the packages of rootfs.stamp
Out:   boot.json (how it booted and what was checked) and console.log
Needs: qemu-system, qemu-img, ssh; KVM where it works, and several times the time where it does not

The image is not changed: the guest writes to an overlay that is thrown away.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tasks.distro import system
from tasks.kit import files
from tasks.kit.ext import Ext
from tasks.kit.proc import Command, run
from tasks.kit.qemu import Guest, free_port
from tasks.kit.report import Report
from tasks.plan import inspection, machine, menulst
from tasks.plan.content import rendered
from tasks.plan.machine import Machine
from tasks.spec.model import Architecture, Boot, Image
from tasks.spec.part import Part
from tasks.spec.record import BootReport, Check, ImgStamp, Package, RootfsStamp, now
from tasks.spec.tool import Tool
from tasks.spec.units import UNITS

RECIPE = 1
CHECK = "boot-check.sh"
ROOM = 512 * UNITS["MiB"]  # by which the disk is larger than the image, to see it grow
SETTLED = 400.0  # seconds for the guest's own verdict on itself: an emulated one is still starting when it lets us in


class Order(Part):
    """All this stage may know."""

    image: str
    distro: str
    release: str
    architecture: Architecture
    user: str
    boot: Boot

    @classmethod
    def of(cls, image: Image) -> "Order":
        return cls(
            image=image.name,
            distro=image.distro,
            release=image.release,
            architecture=image.architecture,
            user=image.ssh.user,
            boot=image.boot,
        )


def tools(order: Order) -> tuple[Tool, ...]:
    qemu = machine.QEMU[order.architecture]
    return (
        Tool(
            qemu, "to boot the image before anybody else does", "qemu-system-x86", "qemu-system-x86-core"
        ),
        Tool(
            "qemu-img",
            "to lay a disk over the image that takes the guest's writes",
            "qemu-utils",
            "qemu-img",
        ),
        Tool("ssh", "to log in to it", "openssh-client", "openssh-clients"),
    )


def body(
    order: Order,
    *,
    report: Report,
    log: Path,
    templates: Mapping[str, Path],
    img: Path,
    img_stamp: Path,
    rootfs_stamp: Path,
    private_key: Path,
    boot: Path,
    console: Path,
) -> None:
    image = ImgStamp.read(img_stamp).file
    image.check(img)
    packages = RootfsStamp.read(rootfs_stamp).packages
    query = system(order.distro, order.release).package_query
    script = rendered(CHECK, templates[CHECK].read_text(), {"package_query": query})
    with _guest(order, img, private_key, log) as guest:
        guest.power_on(report)
        seconds = guest.wait(timeout=order.boot.timeout, report=report)
        report.said("looking around inside")
        checks = _inspected(guest, script, packages, image.size + ROOM)
        files.write(console, guest.said)
    image.check(img)
    BootReport(
        sha256=image.sha256,
        accelerator=guest.accelerator,
        because=guest.because,
        firmware=menulst.WHERE,
        seconds=round(seconds, 1),
        checks=checks,
        at=now(),
    ).write(boot)


@contextmanager
def _guest(order: Order, img: Path, key: Path, log: Path) -> Iterator[Guest]:
    """A guest, ready to be switched on; it, and what it needed, is gone afterwards."""
    folder = img.with_name("guest")
    _empty(folder)  # a killed run may have left something
    folder.mkdir()
    disk, port, console = folder / "disk.qcow2", free_port(), log.with_name("console.log")
    try:
        run(machine.overlay(img, disk, size=img.stat().st_size + ROOM), log=log)
        kernel, initrd, arguments = _extracted(img, folder)
        plan = Machine(
            order.architecture, order.boot.memory, disk, kernel, initrd, arguments, port, console
        )
        commands: dict[str, Command] = {each: plan.command(each) for each in machine.ACCELERATORS}
        guest = Guest(commands, console=console, port=port, user=order.user, key=key, log=log)
        try:
            yield guest
        finally:
            guest.off()
    finally:
        _empty(folder)


def _extracted(img: Path, folder: Path) -> tuple[Path, Path | None, str]:
    """Kernel, initrd and command line, as the image's own boot menu says: what pv-grub does on EC2."""
    with Ext.open(img) as fs:
        choice = menulst.default_choice(fs.read(menulst.WHERE).decode())
        kernel, initrd = folder / "kernel", folder / "initrd"
        kernel.write_bytes(fs.read(choice.kernel))
        if choice.initrd:
            initrd.write_bytes(fs.read(choice.initrd))
    return kernel, initrd if choice.initrd else None, choice.arguments


def _inspected(guest: Guest, script: str, packages: tuple[Package, ...], disk: int) -> tuple[Check, ...]:
    """Every check, all passed. Raises ImageFault with those that did not."""
    said = inspection.answers(guest.ssh("sh -s", stdin=script, timeout=SETTLED))
    shown = Check(
        name="host keys on the console", passed=bool(guest.host_keys), detail=f"{len(guest.host_keys)}"
    )
    checks = (*inspection.verdict(said, packages=packages, disk=disk, now=time.time()), shown)
    failed = [f"{check.name}: {check.detail}" for check in checks if not check.passed]
    if failed:
        raise guest.fault(f"the image booted, but {len(failed)} of {len(checks)} checks failed", failed)
    return checks


def _empty(folder: Path) -> None:
    if folder.exists():
        for each in folder.iterdir():
            each.unlink()
        folder.rmdir()
