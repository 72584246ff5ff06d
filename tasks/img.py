"""rootfs.tar → <image>.img: the tree, what the configuration lays over it, and a disk of the two.

In:    rootfs.tar with its stamp; templates/; the scripts of the configuration; the image's public SSH key
Out:   <image>.img (sparse, `disk.size` bytes, the same bytes for the same inputs) and its stamp
Needs: tar, mke2fs, debugfs, e2fsck; for a hybrid disk GRUB, sfdisk, mkfs.fat and mtools as well; namespaces, but neither
       root nor a loop device
"""

import os
import shlex
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.distro import foreign, system
from tasks.distro.systems import BOOT_MENU, System, Way
from tasks.kit import extplace, exttimes, grub
from tasks.kit.ext import Ext
from tasks.kit.fault import ConfigFault, Fault, ImageFault, ToolFault
from tasks.kit.files import appearing, folder_for_now, mark, sha256
from tasks.kit.proc import Command, ask, run
from tasks.kit.report import Report
from tasks.kit.sandbox import Sandbox, inhabited, mount_memory, mount_point, sandbox
from tasks.kit.tree import append, clamp, run_script, unpack
from tasks.plan import disk, hybrid
from tasks.plan.content import Entry, Laid, authorized, overlay, rendered
from tasks.spec import names
from tasks.spec.model import Architecture, Disk, Image, LaidFile, Script, Ssh
from tasks.spec.part import Part
from tasks.spec.record import FileStamp, ImgStamp, RootfsStamp, now
from tasks.spec.source import AptRepository, YumRepository
from tasks.spec.tool import SANDBOX, TAR, Tool

RECIPE = 2
FIRST_BOOT = "/usr/local/lib/doit-ami/first-boot"
FIRST_BOOT_UNIT = "first-boot.service"
PROFILE = "mke2fs.conf"
FEIGNED = 8  # times the disk: what is measured on when the content does not fit


class Order(Part):
    """All this stage may know."""

    image: str
    distro: str
    release: str
    architecture: Architecture
    repositories: tuple[AptRepository | YumRepository, ...]
    disk: Disk
    ssh: Ssh
    hostname: str
    devices: tuple[str, ...]
    files: Mapping[str, LaidFile]
    scripts: tuple[Script, ...]
    epoch: int

    @classmethod
    def of(cls, image: Image, epoch: int) -> "Order":
        taken = {
            name: getattr(image, name) for name in cls.model_fields if name not in ("image", "epoch")
        }
        return cls(image=image.name, epoch=epoch, **taken)

    @property
    def templates(self) -> tuple[str, ...]:
        """Every template that this image is made of."""
        own = tuple(laid.template for laid in self.files.values() if laid.template)
        skeleton = tuple(laid.template for laid in self.skeleton)
        return tuple(sorted({*own, *skeleton, PROFILE}))

    @property
    def skeleton(self) -> tuple[Laid, ...]:
        return sum((way.skeleton for way in self._ways), self.system.skeleton)

    @property
    def units(self) -> tuple[str, ...]:
        return sum((way.units for way in self._ways), self.system.units)

    @property
    def _ways(self) -> tuple[Way, ...]:
        """What suits key and disk; `_runnable` tells where there is nothing."""
        ways = self.system.layouts.get(self.disk.layout), self.system.way(self.ssh.key_from)
        return tuple(way for way in ways if way)

    @property
    def system(self) -> System:
        return system(self.distro, self.release)


def tools(order: Order) -> tuple[Tool, ...]:
    ext = ("e2fsprogs", "e2fsprogs")
    return (
        Tool("mke2fs", "to make the file system", *ext),
        Tool("debugfs", "to write device nodes into it", *ext),
        Tool("e2fsck", "to check it", *ext),
        *(hybrid.tools(order.architecture) if order.disk.layout == "hybrid" else ()),
        TAR,
        *SANDBOX,
    )


def body(
    order: Order,
    *,
    report: Report,
    log: Path,
    templates: Mapping[str, Path],
    scripts: Mapping[str, Path],
    rootfs: Path,
    rootfs_stamp: Path,
    public_key: Path,
    img: Path,
    stamp: Path,
) -> None:
    foreign.check(order.architecture)
    _runnable(order)
    RootfsStamp.read(rootfs_stamp).file.check(rootfs)
    entries = list(_entries(order, templates, scripts, public_key))
    before = _before(stamp)
    with appearing(img) as scratch:
        with mount_point(img.with_name("tree")) as tree, sandbox(log=log) as box:
            mount_memory(box, tree)
            report.said("unpacking the root file system")
            unpack(box, tree, rootfs.absolute(), overlay(entries, epoch=order.epoch))
            append(box, tree, {each.path: each.data or b"" for each in entries if each.append})
            _chroot(box, tree, order, scripts, report)
            report.said("making the file system")
            if order.disk.layout == "hybrid":
                _partition(order, scratch, log)
            _make(box, tree, scratch.absolute(), order, templates[PROFILE])
        if order.disk.layout == "hybrid":
            report.said("making the boot loader")
            _install(order, scratch, img.with_name("grub"), log)
        report.said("settling the file system")
        if not _settle(scratch, order, log):
            report.noted("the disk is too full for stable places: a small change will send many blocks")
        digest = sha256(scratch)
        mark(scratch, order.epoch, digest)  # a swapped image has another time
        stamp.unlink(missing_ok=True)  # of an image that is about to be replaced
    made = before.made if before and before.file.sha256 == digest else now()
    status = img.stat()
    file = FileStamp(name=img.name, size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=digest)
    ImgStamp(file=file, layout=order.disk.layout, made=made).write(stamp)


def _runnable(order: Order) -> None:
    where = f"config/images/{order.image}.yaml"
    if order.disk.layout not in order.system.layouts:
        raise ConfigFault(
            "disk.layout: hybrid: nothing in this image would write a boot menu; its init is System V's",
            where=f"{where}: disk.layout",
            hint="write layout: none, and backing: s3",
        )
    if order.system.way(order.ssh.key_from) is None:
        raise ConfigFault(
            f"ssh.key_from: nothing in this image would ask for its key; its init is System V's, and {order.ssh.key_from}"
            " came later",
            where=f"{where}: ssh.key_from",
            hint="write key_from: image",
        )
    late = [script.run for script in order.scripts if script.when == "first-boot"]
    if late and FIRST_BOOT_UNIT not in order.system.units:
        raise ConfigFault(
            "scripts: nothing in this image would run them at its first boot",
            evidence=late,
            where=f"{where}: scripts",
            hint="its init is System V's: lay a script of /etc/rc.d/init.d and its link by `files` and a build script",
        )


def _entries(
    order: Order, templates: Mapping[str, Path], scripts: Mapping[str, Path], public_key: Path
) -> Iterator[Entry]:
    """Everything that is laid over the tree; the configuration's own files come last, and win."""
    values = _values(order)

    def text(template: str) -> bytes:
        return rendered(template, templates[template].read_text(), values).encode()

    yield Entry("/dev", None, 0o755)
    for laid in order.skeleton:
        yield Entry(laid.path, text(laid.template), laid.mode, append=laid.append)
    keys = *([public_key.read_text()] if order.ssh.key_from == "image" else ()), *order.ssh.extra_keys
    if keys:
        yield from authorized(order.ssh.authorized_keys, keys, mode=order.ssh.authorized_keys_mode)
    for number, script in enumerate(script for script in order.scripts if script.when == "first-boot"):
        name = Path(script.run).stem.replace(".", "-")  # run-parts passes over names with dots
        yield Entry(f"{FIRST_BOOT}/{number:02d}-{name}", scripts[script.run].read_bytes(), 0o755)
    for path, own in order.files.items():
        data = own.content.encode() if own.content is not None else text(own.template or "")
        yield Entry(path, data, own.mode, own.owner, own.group, own.append)


def _values(order: Order) -> Mapping[str, Any]:
    """What templates may name."""
    return {
        "image": order.image,
        "architecture": order.architecture,
        "disk": order.disk,
        "hostname": order.hostname,
        "authorized_keys": shlex.quote(order.ssh.authorized_keys),
        "authorized_keys_mode": f"{order.ssh.authorized_keys_mode:04o}",
        "repositories": order.repositories,
        "filesystem_id": names.filesystem_id(order.image),
    }


def _before(stamp: Path) -> ImgStamp | None:
    try:
        return ImgStamp.read(stamp)
    except ImageFault:
        return None


def _chroot(box: Sandbox, tree: Path, order: Order, scripts: Mapping[str, Path], report: Report) -> None:
    """Enable the services and run the scripts, with the few nodes and mounts they may rely on; no network."""
    env = {"SOURCE_DATE_EPOCH": str(order.epoch), "DEBIAN_FRONTEND": "noninteractive"}
    with inhabited(box, tree):
        if order.units:
            enable = ("chroot", str(tree), "systemctl", "enable", *order.units)
            box.run(Command(enable, "enable the image's services", env=env))
        for script in order.scripts:
            if script.when == "build":
                report.said(f"running {script.run}")
                run_script(box, tree, scripts[script.run].absolute(), env)
        if order.disk.layout == "hybrid":
            _menu(box, tree, order, env)


def _menu(box: Sandbox, tree: Path, order: Order, env: Mapping[str, str]) -> None:
    if not box.ask(Command(("chroot", str(tree), BOOT_MENU), "write the boot menu", env=env)):
        raise ConfigFault(
            "packages: none of them brings a kernel, which a hybrid disk is booted with",
            where=f"config/images/{order.image}.yaml: packages",
            hint="add one: linux-image-cloud-amd64 is Debian's, kernel-core Fedora's",
        )


def _make(box: Sandbox, tree: Path, image: Path, order: Order, profile: Path) -> None:
    clamp(box, tree, order.epoch)
    ids = (names.filesystem_id(order.image), names.hash_seed(order.image))
    make = disk.mke2fs(order.disk, tree, image, ids=ids, epoch=order.epoch, profile=profile)
    try:
        box.run(make)
    except ToolFault as fault:
        raise _too_small(box, tree, image, order, profile) or fault from fault
    box.run(disk.mknods(order.disk, order.devices, image, epoch=order.epoch))


def _too_small(box: Sandbox, tree: Path, image: Path, order: Order, profile: Path) -> Fault | None:
    """By how much the content does not fit: the same tree on a disk that surely is large enough tells."""
    feigned = order.disk.model_copy(update={"size": order.disk.size * FEIGNED})
    ids = (names.filesystem_id(order.image), names.hash_seed(order.image))
    image.write_bytes(b"")
    try:
        box.run(disk.mke2fs(feigned, tree, image, ids=ids, epoch=order.epoch, profile=profile))
    except ToolFault:
        return None  # it was something else
    with Ext.open(image, hybrid.root_at(order.disk.layout)) as fs:
        used = fs.block_size * (fs.blocks - fs.free_blocks)
    return ImageFault(
        disk.too_small(order.disk, used), where=f"config/images/{order.image}.yaml: disk.size"
    )


def _partition(order: Order, image: Path, log: Path) -> None:
    """An empty disk with its table."""
    os.truncate(image, order.disk.size)
    table = hybrid.partition(order.disk, image, name=order.image, architecture=order.architecture)
    run(table, log=log)


def _install(order: Order, image: Path, work: Path, log: Path) -> None:
    """GRUB, for each firmware that starts the disk."""
    name, epoch, root = order.image, order.epoch, names.filesystem_id(order.image)
    with folder_for_now(work) as folder:

        def made(loader: hybrid.Loader) -> Path:
            early = hybrid.early(loader, root)
            return grub.made(hybrid.MKIMAGE.path, loader.plan, early, folder, epoch=epoch, log=log)

        if loader := hybrid.bios(order.architecture):
            boot, room = loader.tool.path.with_name("boot.img"), hybrid.ESP_AT - hybrid.CORE_AT
            grub.place(image, boot, made(loader), core_at=hybrid.CORE_AT, room=room)
        if loader := hybrid.uefi(order.architecture):
            for command in hybrid.system_partition(image, made(loader), name, loader, epoch=epoch):
                run(command, log=log)


def _settle(image: Path, order: Order, log: Path) -> bool:
    """What mke2fs leaves to chance is set; and a file system that has a fault goes no further. Whether files are where their
    names say, on a disk whose changes are sent block by block.
    """
    at = hybrid.root_at(order.disk.layout)
    with Ext.open(image, at) as fs:  # debugfs ends with 0 whatever it could not do
        lacking = [name for name in order.devices if not stat.S_ISCHR(fs.lookup(f"/dev/{name}").mode)]
    if lacking:
        raise ToolFault("debugfs made no device nodes", evidence=lacking, where=str(log))
    exttimes.settle_times(image, order.epoch, offset=at)
    counts = order.disk.layout == "hybrid" and order.disk.filesystem == "ext4"
    placed = extplace.place(image, offset=at) if counts else True
    ask(disk.check(order.disk, image, epoch=order.epoch))
    return placed
