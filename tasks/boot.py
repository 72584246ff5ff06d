"""<image>.img → boot.json, console.log: the image boots under QEMU and lets its key in.

In:    <image>.img with its stamp; the private SSH key; the packages of rootfs.stamp
Out:   boot.json (how it booted and what was checked) and console.log
Needs: qemu-system, qemu-img, ssh; KVM where it works, and several times the time where it does not

The image is not changed: the guest writes to an overlay that is thrown away.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tasks.distro import system
from tasks.distro.systems import System
from tasks.kit import files
from tasks.kit.ext import Ext
from tasks.kit.fault import ImageFault
from tasks.kit.proc import Command, run
from tasks.kit.qemu import Guest, free_port
from tasks.kit.report import Report
from tasks.plan import inspection, instancestore, machine, menulst
from tasks.plan.content import rendered
from tasks.plan.machine import Era, Machine
from tasks.spec.model import Architecture, Boot, Image
from tasks.spec.part import Part
from tasks.spec.record import BootReport, Check, ImgStamp, Package, RootfsStamp, now
from tasks.spec.tool import Tool
from tasks.spec.units import UNITS

RECIPE = 1
CHECKS: Mapping[Era, str] = {"today": "boot-check.sh", "2008": "sysv/boot-check.sh"}
PROMISES: Mapping[Era, tuple[str, ...]] = {"today": inspection.TODAY, "2008": inspection.OF_2008}
# OpenSSH 3.9 signs with SHA-1, and exchanges keys by it: what a client of today does only when it is told to.
SSH_OPTIONS: Mapping[Era, Mapping[str, str]] = {
    "today": {},
    "2008": {
        "HostKeyAlgorithms": "+ssh-rsa",
        "PubkeyAcceptedAlgorithms": "+ssh-rsa",
        "KexAlgorithms": "+diffie-hellman-group14-sha1",
    },
}
ROOM = 512 * UNITS["MiB"]  # by which the disk is larger than the image, to see it grow
FOREIGN = "KVM runs only what this machine's own processor runs"
SETTLED = 400.0  # seconds for the guest's own verdict on itself: an emulated one is still starting when it lets us in


class Order(Part):
    """All this stage may know."""

    image: str
    distro: str
    release: str
    architecture: Architecture  # of the machine
    user: str
    boot: Boot

    @classmethod
    def of(cls, image: Image, lender: Image | None = None) -> "Order":
        """`lender`: the image whose kernel this one is booted with; the machine is of that kernel's architecture."""
        return cls(
            image=image.name,
            distro=image.distro,
            release=image.release,
            architecture=(lender or image).architecture,
            user=image.ssh.user,
            boot=image.boot,
        )

    @property
    def system(self) -> System:
        return system(self.distro, self.release)

    @property
    def template(self) -> str:
        """What looks around inside."""
        return CHECKS[self.system.era]


def tools(order: Order) -> tuple[Tool, ...]:
    model = machine.MODELS[order.architecture]
    return (
        Tool(model.program, "to boot the image before anybody else does", model.apt, model.dnf),
        Tool(
            "qemu-img",
            "to lay a disk over the image that takes the guest's writes",
            "qemu-utils",
            "qemu-img",
        ),
        Tool("ssh", "to log in to it", "openssh-client", "openssh-clients"),
        *(instancestore.TOOLS if order.system.era == "2008" else ()),
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
    lender: Path | None = None,
    lender_stamp: Path | None = None,
) -> None:
    """`lender`: an image whose kernel this one is booted with, instead of its own."""
    image = ImgStamp.read(img_stamp).file
    image.check(img)
    packages = RootfsStamp.read(rootfs_stamp).packages
    if lender and lender_stamp:
        ImgStamp.read(lender_stamp).file.check(lender)
    query = {"package_query": order.system.package_query}
    script = rendered(order.template, templates[order.template].read_text(), query)
    with _guest(order, img, private_key, log, lender) as guest:
        guest.power_on(report)
        seconds = guest.wait(timeout=order.boot.timeout, report=report)
        report.said("looking around inside")
        checks = _inspected(guest, script, packages, image.size + ROOM, PROMISES[order.system.era])
        files.write(console, guest.said)
    image.check(img)
    BootReport(
        sha256=image.sha256,
        accelerator=guest.accelerator,
        because=guest.because,
        firmware=f"the kernel of {order.boot.kernel_of}" if lender else menulst.WHERE,
        seconds=round(seconds, 1),
        checks=checks,
        at=now(),
    ).write(boot)


@contextmanager
def _guest(order: Order, img: Path, key: Path, log: Path, lender: Path | None) -> Iterator[Guest]:
    """A guest, ready to be switched on; it, and what it needed, is gone afterwards."""
    folder = img.with_name("guest")
    _empty(folder)  # a killed run may have left something
    folder.mkdir()
    port, console, era = free_port(), log.with_name("console.log"), order.system.era
    try:
        disk = _disk(era, img, folder, log)
        kernel, initrd, arguments = _extracted(lender or img, folder)
        if lender:
            arguments = machine.LENT_ARGUMENTS[era]
        plan = Machine(
            order.architecture, order.boot.memory, disk, kernel, initrd, arguments, port, console, era
        )
        able = machine.accelerators(order.architecture, os.uname().machine)
        commands: dict[str, Command] = {each: plan.command(each) for each in able}
        options = SSH_OPTIONS[era]
        guest = Guest(
            commands,
            console=console,
            port=port,
            user=order.user,
            key=key,
            log=log,
            ssh_options=options,
        )
        if "kvm" not in able:
            guest.because = FOREIGN
        try:
            yield guest
        finally:
            guest.off()
    finally:
        _empty(folder)


def _disk(era: Era, img: Path, folder: Path, log: Path) -> Path:
    """What the guest writes to: an overlay over the image, or over a disk with a copy of it in its first partition."""
    disk, size = folder / "disk.qcow2", img.stat().st_size
    if era == "today":
        run(machine.overlay(img, disk, size=size + ROOM), log=log)
        return disk
    whole = folder / "disk.raw"
    with whole.open("wb") as file:
        file.truncate(instancestore.size(size))
    for command in instancestore.commands(img, size, whole):
        run(command, log=log)
    run(machine.overlay(whole, disk, size=whole.stat().st_size), log=log)
    return disk


def _extracted(img: Path, folder: Path) -> tuple[Path, Path | None, str]:
    """Kernel, initrd and command line, as the image's own boot menu says: what pv-grub does on EC2."""
    with Ext.open(img) as fs:
        try:
            menu = fs.read(menulst.WHERE)
        except ImageFault as fault:
            raise ImageFault(
                f"{img.stem} has no boot menu, and so no kernel of its own: {fault.problem}",
                where=menulst.WHERE,
                hint="write whose kernel it is to be booted with: boot: {kernel_of: debian-12}",
            ) from fault
        choice = menulst.default_choice(menu.decode())
        kernel, initrd = folder / "kernel", folder / "initrd"
        kernel.write_bytes(fs.read(choice.kernel))
        if choice.initrd:
            initrd.write_bytes(fs.read(choice.initrd))
    return kernel, initrd if choice.initrd else None, choice.arguments


def _inspected(
    guest: Guest, script: str, packages: tuple[Package, ...], disk: int, promises: tuple[str, ...]
) -> tuple[Check, ...]:
    """Every check, all passed. Raises ImageFault with those that did not."""
    said = inspection.answers(guest.ssh("sh -s", stdin=script, timeout=SETTLED))
    checks = inspection.verdict(
        said,
        promises=promises,
        packages=packages,
        disk=disk,
        now=time.time(),
        host_keys=len(guest.host_keys),
    )
    failed = [f"{check.name}: {check.detail}" for check in checks if not check.passed]
    if failed:
        raise guest.fault(f"the image booted, but {len(failed)} of {len(checks)} checks failed", failed)
    return checks


def _empty(folder: Path) -> None:
    if folder.exists():
        for each in folder.iterdir():
            each.unlink()
        folder.rmdir()
