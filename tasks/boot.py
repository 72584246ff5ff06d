"""<image>.img → boot.json, console.log: the image boots under QEMU, by each firmware that it claims, and lets its key in.

In:    <image>.img with its stamp; the private SSH key; the packages of rootfs.stamp
Out:   boot.json (how it booted and what was checked) and console.log
Needs: qemu-system, qemu-img, ssh, UEFI; KVM where it works, and several times the time where it does not

The image is not changed: each guest writes to an overlay that is thrown away.
"""

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.distro import system
from tasks.distro.systems import System
from tasks.kit import files, imds
from tasks.kit.fault import ImageFault
from tasks.kit.proc import Command, ask, run
from tasks.kit.qemu import Guest, arrivals, available, free_ports
from tasks.kit.report import Report
from tasks.plan import bootmenu, firmware, inspection, instancestore, login, machine, menulst, proof
from tasks.plan.content import rendered
from tasks.plan.machine import Era, Flash, Machine
from tasks.plan.proof import Way
from tasks.plan.pvgrub import Start
from tasks.spec.ami import Firmware
from tasks.spec.model import Architecture, Boot, Image
from tasks.spec.part import Part
from tasks.spec.record import BootReport, Check, ImgStamp, Package, RootfsStamp, Started, now
from tasks.spec.tool import Tool

RECIPE = 2
CHECKS: Mapping[Era, str] = {"today": "boot-check.sh", "2008": "sysv/boot-check.sh"}
PROMISES: Mapping[Era, tuple[str, ...]] = {"today": inspection.TODAY, "2008": inspection.OF_2008}
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
    firmwares: tuple[Firmware, ...] = ()  # by which it claims to boot

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
            firmwares=() if lender else image.firmwares,
        )

    @property
    def system(self) -> System:
        return system(self.distro, self.release)

    @property
    def template(self) -> str:
        """What looks around inside."""
        return CHECKS[self.system.era]

    @property
    def ways(self) -> tuple[Way, ...]:
        return proof.ways(self.firmwares, self.system.era)


@dataclass(frozen=True)
class Given:
    """What every guest is made from. `start`: the kernel, where none is started by a firmware."""

    img: Path
    key: Path
    log: Path
    start: Start | None


def tools(order: Order) -> tuple[Tool, ...]:
    model = machine.MODELS[order.architecture]
    return (
        Tool(model.program, "to boot the image before anybody else does", model.apt, model.dnf),
        Tool("qemu-img", "to lay a disk over the image that is written to", "qemu-utils", "qemu-img"),
        Tool("ssh", "to log in to it", "openssh-client", "openssh-clients"),
        *((firmware.uefi(order.architecture),) if "uefi" in order.firmwares else ()),
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
    stamp = ImgStamp.read(img_stamp)
    stamp.file.check(img)
    source, layout = img, stamp.layout
    if lender and lender_stamp:
        lent = ImgStamp.read(lender_stamp)
        lent.file.check(lender)
        source, layout = lender, lent.layout
    start = None if order.firmwares else _start(img, source, layout)
    query = {"package_query": order.system.package_query}
    script = rendered(order.template, templates[order.template].read_text(), query)
    packages = RootfsStamp.read(rootfs_stamp).packages
    found: dict[Way, tuple[Started, str]] = {}
    with _guests(order, Given(img, private_key, log, start)) as guests:
        for way, guest, seconds in _arriving(order, guests, report):
            report.said("looking around inside")
            checks = _inspected(order, guest, script, packages, stamp.file.size + machine.ROOM)
            guest.off()
            found[way] = (_started(order, way, guest, seconds, checks), guest.said)
    stamp.file.check(img)
    consoles = [f"==> {way.name}, {way.drive} <==\n{found[way][1]}\n" for way in order.ways]
    files.write(console, "".join(consoles))
    boots = tuple(found[way][0] for way in order.ways)
    BootReport(sha256=stamp.file.sha256, boots=boots, at=now()).write(boot)


def _start(img: Path, source: Path, layout: str) -> Start:
    """Kernel, initrd and command line, as the boot menu of the `source` says."""
    try:
        return bootmenu.start(source, layout)
    except ImageFault as fault:
        problem = f"{img.stem}: {fault.problem}"
        raise ImageFault(problem, where=fault.where, hint=fault.hint or LEND) from fault


def _started(order: Order, way: Way, guest: Guest, seconds: float, checks: tuple[Check, ...]) -> Started:
    kernel = f"the kernel of {order.boot.kernel_of}" if order.boot.kernel_of else menulst.WHERE
    return Started(
        firmware=way.firmware or kernel,
        drive=way.drive,
        accelerator=guest.accelerator,
        because=guest.because,
        seconds=round(seconds, 1),
        checks=checks,
    )


def _arriving(
    order: Order, guests: Mapping[Way, Guest], report: Report
) -> Iterator[tuple[Way, Guest, float]]:
    """Each way with its guest, once that lets the key in, and seconds since power on; all at once where memory allows it."""
    every = list(guests.items())
    together = len(every) * order.boot.memory <= available()
    for group in [every] if together else [[each] for each in every]:
        on = [guest for _, guest in group]
        for guest in on:
            if guest is not on[0]:  # what the first found out of the accelerators is true for the others
                guest.commands = {on[0].accelerator: guest.commands[on[0].accelerator]}
                guest.because = on[0].because
            guest.power_on(report)
        for number, seconds in arrivals(on, timeout=order.boot.timeout, report=report):
            yield *group[number], seconds


@contextmanager
def _guests(order: Order, given: Given) -> Iterator[Mapping[Way, Guest]]:
    """A guest for each way, ready to be switched on; they, and what they needed, are gone afterwards."""
    folder = given.img.with_name("guest")
    _empty(folder)  # a killed run may have left something
    try:
        with ExitStack() as stack:
            guests = {}
            for way, port in zip(order.ways, free_ports(len(order.ways)), strict=True):
                here = folder / way.name
                here.mkdir(parents=True)
                guests[way] = _guest(order, given, way, here, port)
                stack.callback(guests[way].off)
            yield guests
    finally:
        _empty(folder)


def _guest(order: Order, given: Given, way: Way, folder: Path, port: int) -> Guest:
    era = order.system.era
    public = ask(Command(("ssh-keygen", "-y", "-f", str(given.key)), "read the image's public key"))
    told = proof.metadata(
        order.image,
        architecture=order.architecture,
        era=era,
        drive=way.drive,
        public_key=public,
        launched=f"{now():%Y-%m-%dT%H:%M:%SZ}",
    )
    imds.lay(folder / "metadata", told)
    kernel, initrd, arguments = _kernel(order, given.start, folder)
    plan = Machine(
        order.architecture,
        order.boot.memory,
        _disk(era, given.img, folder, given.log),
        kernel,
        initrd,
        arguments,
        {login.SSH: port},
        given.log.with_name(f"console-{way.name}.log"),
        way.drive,
        _flash(order, folder) if way.firmware == "uefi" else None,
        heard=way.firmware == "bios",
        instance_id=told.instance_id,
        instance_type=told.instance_type,
        metadata=folder / "metadata",
    )
    able = machine.accelerators(order.architecture, os.uname().machine)
    return Guest(
        {each: plan.command(each) for each in able},
        console=plan.console,
        port=port,
        user=order.user,
        key=given.key,
        log=given.log,
        name=str(way),
        firmware=way.firmware is not None,
        ssh_options=login.OPTIONS[era],
        because="" if "kvm" in able else FOREIGN,
    )


def _flash(order: Order, folder: Path) -> Flash:
    """UEFI with variables of this guest's own: what another left there would decide what boots."""
    code = firmware.uefi(order.architecture).path
    variables = folder / "variables"
    shutil.copyfile(firmware.variables(order.architecture, code), variables)
    return Flash(code, variables)


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


def _kernel(order: Order, start: Start | None, folder: Path) -> tuple[Path | None, Path | None, str]:
    """Kernel, initrd and command line, where no firmware finds them."""
    if start is None:
        return None, None, ""
    kernel, initrd = folder / "kernel", folder / "initrd" if start.initrd is not None else None
    kernel.write_bytes(start.kernel)
    if initrd:
        initrd.write_bytes(start.initrd or b"")
    lent = machine.LENT_ARGUMENTS[order.system.era]
    return kernel, initrd, lent if order.boot.kernel_of else start.arguments


def _inspected(
    order: Order, guest: Guest, script: str, packages: tuple[Package, ...], disk: int
) -> tuple[Check, ...]:
    """Every check, all passed. Raises ImageFault with those that did not."""
    said = inspection.answers(guest.ssh("sh -s", stdin=script, timeout=SETTLED))
    checks = inspection.verdict(
        said,
        promises=PROMISES[order.system.era],
        packages=packages,
        disk=disk,
        now=time.time(),
        host_keys=len(guest.host_keys),
    )
    failed = [f"{check.name}: {check.detail}" for check in checks if not check.passed]
    if failed:
        raise guest.fault(
            f"{guest.name} came up, but {len(failed)} of {len(checks)} checks failed", failed
        )
    return checks


def _empty(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
