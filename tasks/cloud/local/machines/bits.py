"""An AMI's bits, taken out of the cloud and laid on a disk, and what boots them. All that can be wrong with them is found here.

From S3: manifest and parts, read with EC2's right, decrypted with EC2's key, every digest checked. From EBS: a snapshot's blocks,
each found to be what was written. Sizes are bytes.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.cloud.local.ebs import Damaged
from tasks.cloud.local.ebs.volume import written
from tasks.cloud.local.machines import noise
from tasks.cloud.local.machines.den import KERNELS, Den
from tasks.cloud.local.s3.objects import Stored, fetch
from tasks.cloud.local.store import Store, Thing
from tasks.cloud.unbundle import unbundle
from tasks.kit import files
from tasks.kit.ext import Ext
from tasks.kit.fault import ImageFault
from tasks.kit.proc import run
from tasks.plan import instancestore, machine, pvgrub
from tasks.plan.machine import Era
from tasks.plan.manifest import LONGEST, Manifest, parse
from tasks.spec import names
from tasks.spec.part import Part
from tasks.spec.units import UNITS

MANIFEST = "manifest.xml"
GIB = UNITS["GiB"]


class Start(Part):
    """How the disk boots. `kernel`: whether there is one beside it; without, the firmware boots the disk."""

    kernel: bool = False
    initrd: bool = False
    arguments: str = ""
    era: Era = "today"
    devices: Mapping[str, str]  # as the metadata service tells them: virtual name, device

    @classmethod
    def of(cls, den: Den) -> "Start":
        return cls.model_validate_json(den.boot.read_bytes())


class Unfit(Exception):
    """The bits are not what they should be, or cannot boot here. `code`: AWS's, of the instance's end."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def lay(store: Store, thing: Thing, den: Den) -> Start:
    """Disk and all, anew. Raises Unfit; and HostFault, ToolFault or OSError when this machine is at fault."""
    den.strip()
    den.path.mkdir(exist_ok=True, mode=0o700)  # there are keys in images, and secrets in user data
    den.work.mkdir()
    try:
        start = (
            _of_s3(store, thing, den) if thing["RootDeviceType"] != "ebs" else _of_ebs(store, thing, den)
        )
        files.write(den.boot, start.model_dump_json())
        (den.work / "disk").rename(den.disk)
    except ImageFault as fault:
        raise Unfit("Client.InvalidManifest", str(fault)) from fault
    finally:
        shutil.rmtree(den.work)
    return start


def _of_ebs(store: Store, thing: Thing, den: Den) -> Start:
    root, *beside = thing["local"]["volumes"]
    seed = bytes.fromhex(thing["local"]["seed"])
    _volume(store, root, den.image, den.work / "disk", seed, den)
    devices = {"ami": root["device"], "root": root["device"]}
    den.volumes.mkdir()
    for number, each in enumerate(beside, 1):
        source, disk = den.volumes / each["volume"], den.beside(each["volume"])
        _volume(store, each, source, disk, seed + each["volume"].encode(), den)
        devices[f"ebs{number}"] = each["device"]
    return Start(devices=devices)


def _volume(
    store: Store, volume: Mapping[str, Any], source: Path, disk: Path, seed: bytes, den: Den
) -> None:
    """A disk over what its snapshot holds, or over noise alone."""
    size, snapshot = volume["size"] * GIB, volume["snapshot"]
    try:
        noise.volume(source, size, seed, written(store, snapshot) if snapshot else ())
    except Damaged as damage:
        raise Unfit("Client.InvalidSnapshot.NotFound", f"{snapshot}: {damage}") from damage
    run(machine.overlay(source, disk, size=size, form="qcow2"), log=den.log)


def _of_s3(store: Store, thing: Thing, den: Den) -> Start:
    bundle = den.work / "bundle"
    told = _fetched(store, thing["local"]["manifest"], bundle)
    key = names.ec2_key(store.home)
    image = unbundle(bundle / MANIFEST, key=key, into=den.work / "image", recipient="ec2")
    devices = dict(told.block_devices) or {"ami": "sda1", "root": thing["RootDeviceName"]}
    if thing["VirtualizationType"] == "hvm":
        _grown(image, den)
        return Start(devices=devices)
    try:
        with Ext.open(image) as fs:
            found = pvgrub.start(fs)
    except ImageFault as fault:
        return _lent(store, thing, image, den, fault, devices)
    den.kernel.write_bytes(found.kernel)
    if found.initrd is not None:
        den.initrd.write_bytes(found.initrd)
    _grown(image, den)
    return Start(
        kernel=True, initrd=found.initrd is not None, arguments=found.arguments, devices=devices
    )


def _grown(image: Path, den: Den) -> None:
    image.rename(den.image)
    size = den.image.stat().st_size + machine.ROOM
    run(machine.overlay(den.image, den.work / "disk", size=size), log=den.log)


def _lent(
    store: Store, thing: Thing, image: Path, den: Den, fault: ImageFault, devices: Mapping[str, str]
) -> Start:
    """An image without a kernel is of 2008: EC2 lent it one, and gave it partitions without a disk."""
    identity = thing.get("KernelId")
    lent = store.home / KERNELS / (identity or "none")
    if not (identity and (lent / "kernel").is_file()):
        whose = (
            f"{lent}/kernel and {lent}/initrd, and launch it again"
            if identity
            else "register it with one"
        )
        raise Unfit(
            "Client.InvalidKernel",
            f"{fault.problem}; and the kernel {identity or 'that its AMI names: none'} is not lent here: {whose}",
        ) from fault
    shutil.copyfile(lent / "kernel", den.kernel)
    initrd = (lent / "initrd").is_file()
    if initrd:
        shutil.copyfile(lent / "initrd", den.initrd)
    size = image.stat().st_size
    whole = instancestore.size(size)
    with den.image.open("wb") as file:
        file.truncate(whole)
    for command in instancestore.commands(image, size, den.image):
        run(command, log=den.log)
    for beside in ("sda2", "sda3"):
        den.image.with_name(beside).unlink()
    run(machine.overlay(den.image, den.work / "disk", size=whole), log=den.log)
    arguments = machine.LENT_ARGUMENTS["2008"]
    return Start(kernel=True, initrd=initrd, arguments=arguments, era="2008", devices=devices)


def _fetched(store: Store, location: str, folder: Path) -> Manifest:
    """The manifest and its parts, as files in a folder. It is read before it is believed: `unbundle` judges it."""
    bucket, _, key = location.partition("/")
    stored = _object(store, bucket, key)
    if stored.size > LONGEST:
        raise ImageFault(f"the manifest has {stored.size} bytes", where=location)
    folder.mkdir()
    _kept(stored, folder / MANIFEST)
    text = (folder / MANIFEST).read_bytes()
    whole = "-" not in stored.etag  # and not what several parts were put together to
    if whole and hashlib.md5(text, usedforsecurity=False).hexdigest() != stored.etag:
        # The parts have their digests in it. Its own is its signature, for which EC2 has no certificate.
        raise ImageFault("the manifest is not what was uploaded", where=location)
    told = parse(text)
    beside = PurePosixPath(key)
    for part in told.parts:
        if PurePosixPath(part.name).name != part.name:
            raise ImageFault(f"{part.name!r} is no name of a part", where=location)
        _kept(_object(store, bucket, str(beside.with_name(part.name))), folder / part.name)
    return told


def _object(store: Store, bucket: str, key: str) -> Stored:
    found = fetch(store, bucket, key)
    if found is None:
        raise ImageFault(f"{key} is missing in S3", where=f"s3://{bucket}/{key}")
    if not found.readable:
        raise ImageFault(
            f"EC2 may not read {key}: it needs the ACL aws-exec-read", where=f"s3://{bucket}/{key}"
        )
    return found


def _kept(stored: Stored, target: Path) -> None:
    """The very file where it is one, for nothing is written to it; a copy where it is several."""
    if len(stored.files) == 1:
        os.link(stored.files[0], target)
        return
    with target.open("wb") as file:
        for data in stored.chunks():
            file.write(data)
