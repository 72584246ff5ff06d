"""<image>.img → boot.json, console.log: the image boots under QEMU and lets its key in.

In:    <image>.img with its stamp; the private SSH key; the packages of rootfs.stamp
Out:   boot.json (how it booted and what was checked) and console.log
Needs: qemu-system, qemu-img, ssh; KVM where it works, and several times the time where it does not

The image is not changed: the guest writes to an overlay that is thrown away.
"""

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tasks.distro import system
from tasks.distro.systems import System
from tasks.kit import files, imds
from tasks.kit.ext import Ext
from tasks.kit.fault import ImageFault
from tasks.kit.imds import Metadata
from tasks.kit.proc import Command, ask, run
from tasks.kit.qemu import Guest, free_port
from tasks.kit.report import Report
from tasks.plan import inspection, instancestore, login, machine, menulst, pvgrub
from tasks.plan.content import rendered
from tasks.plan.machine import Era, Machine
from tasks.spec.model import Architecture, Boot, Image
from tasks.spec.part import Part
from tasks.spec.record import BootReport, Check, ImgStamp, Package, RootfsStamp, now
from tasks.spec.tool import Tool

RECIPE = 1
CHECKS: Mapping[Era, str] = {"today": "boot-check.sh", "2008": "sysv/boot-check.sh"}
PROMISES: Mapping[Era, tuple[str, ...]] = {"today": inspection.TODAY, "2008": inspection.OF_2008}
SSH = 22
LEND = "write whose kernel it is to be booted with: boot: {kernel_of: debian-12}"
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
        checks = _inspected(
            guest, script, packages, image.size + machine.ROOM, PROMISES[order.system.era]
        )
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
        told, metadata = _told(order, key), folder / "metadata"
        imds.lay(metadata, told)
        plan = Machine(
            order.architecture,
            order.boot.memory,
            disk,
            kernel,
            initrd,
            machine.LENT_ARGUMENTS[era] if lender else arguments,
            {SSH: port},
            console,
            era,
            told.instance_id,
            told.instance_type,
            metadata=metadata,
        )
        able = machine.accelerators(order.architecture, os.uname().machine)
        commands: dict[str, Command] = {each: plan.command(each) for each in able}
        options = login.OPTIONS[era]
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


def _told(order: Order, key: Path) -> Metadata:
    """What it hears of itself: that it is an instance, and whose key may log in; that image and all else is made up."""
    public = ask(Command(("ssh-keygen", "-y", "-f", str(key)), "read the image's public key"))
    number = "0123456789abcdef0"
    return Metadata(
        instance_id=f"i-{number}",
        ami_id=f"ami-{number}",
        instance_type=_type(order),
        architecture=order.architecture,
        region="us-east-1",
        zone="us-east-1a",
        account="0" * 12,
        reservation_id=f"r-{number}",
        address=machine.ADDRESS,
        mac=machine.MAC,
        launched=f"{now():%Y-%m-%dT%H:%M:%SZ}",
        key_name=order.image,
        public_key=public,
    )


def _type(order: Order) -> str:
    if order.system.era == "2008":
        return "m1.small"
    return "m6g.large" if order.architecture == "arm64" else "m5.large"


def _disk(era: Era, img: Path, folder: Path, log: Path) -> Path:
    """What the guest writes to: an overlay over the image, or over a disk with a copy of it in its first partition."""
    disk, size = folder / "disk.qcow2", img.stat().st_size
    if era == "today":
        run(machine.overlay(img, disk, size=size + machine.ROOM), log=log)
        return disk
    whole = folder / "disk.raw"
    with whole.open("wb") as file:
        file.truncate(instancestore.size(size))
    for command in instancestore.commands(img, size, whole):
        run(command, log=log)
    run(machine.overlay(whole, disk, size=whole.stat().st_size), log=log)
    return disk


def _extracted(img: Path, folder: Path) -> tuple[Path, Path | None, str]:
    """Kernel, initrd and command line, as the image's own boot menu says."""
    with Ext.open(img) as fs:
        try:
            start = pvgrub.start(fs)
        except ImageFault as fault:
            raise ImageFault(
                f"{img.stem}: {fault.problem}", where=fault.where, hint=fault.hint or LEND
            ) from fault
    kernel, initrd = folder / "kernel", folder / "initrd"
    kernel.write_bytes(start.kernel)
    if start.initrd is not None:
        initrd.write_bytes(start.initrd)
    return kernel, initrd if start.initrd is not None else None, start.arguments


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
        shutil.rmtree(folder)
