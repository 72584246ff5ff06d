"""What is registered, as `ami:` of config/images/<name>.yaml says. Sizes are bytes; limits are RegisterImage's and EBS's own."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from tasks.spec.cloud import AmiName
from tasks.spec.names import NAME_TAG, OURS
from tasks.spec.part import Part
from tasks.spec.types import Size, Word
from tasks.spec.units import UNITS, written

BootMode = Literal["legacy-bios", "uefi", "uefi-preferred"]
Firmware = Literal["bios", "uefi"]
# "Device names for volumes on Amazon EC2 instances", of HVM images, less what reads like the root's own
DevicePath = Annotated[str, Field(pattern=r"^/dev/(sd[b-z]|xvd[b-d][a-z]|xvd[e-z])$")]
ROOTS = ("/dev/xvda", "/dev/sda1")  # reserved for the root there
STORE = re.compile(r"ephemeral([0-9]|1[0-9]|2[0-3])")  # what EC2 calls an instance's own disks
STORE_DEVICE = re.compile(r"(/dev/)?(sd[b-z]|xvd[b-z])")


class Kind(NamedTuple):
    """What EBS makes of a type, as botocore documents EbsBlockDevice. Sizes are GiB."""

    sizes: tuple[int, int]
    iops: tuple[int, int] | None = None  # none where they cannot be chosen
    iops_per_gib: int = 0  # at most; but the least that there is, one may always have
    boots: bool = True


USUAL_IOPS = 3000  # of gp3, which has them without a word
KINDS = {
    "gp3": Kind((1, 65536), (USUAL_IOPS, 80000), 500),
    "gp2": Kind((1, 16384)),
    "io1": Kind((4, 16384), (100, 64000), 50),
    "io2": Kind((4, 65536), (100, 256000), 1000),
    "st1": Kind((125, 16384), boots=False),
    "sc1": Kind((125, 16384), boots=False),
    "standard": Kind((1, 1024)),
}
THROUGHPUT = (125, 2000)  # MiB/s, of gp3; and no more than a quarter for each of its IOPS


class Volume(Part):
    """An EBS volume that an instance gets at its launch."""

    type: Literal["gp3", "gp2", "io1", "io2", "st1", "sc1", "standard"] = "gp3"
    size: Size | None = Field(None, description="of whole GiB; absent: that of the image")
    iops: int | None = Field(None, description="of gp3, io1 and io2; those of io need it")
    throughput: int | None = Field(None, description="MiB/s; of gp3 alone")
    delete_on_termination: bool = True

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.size is not None and self.size % UNITS["GiB"]:
            more = written((self.size // UNITS["GiB"] + 1) * UNITS["GiB"])
            raise ValueError(f"size: a volume has whole GiB; write {more}")
        if self.type in ("io1", "io2") and self.iops is None:
            raise ValueError(f"iops: is missing; {self.type} needs it: write `iops: 1000`, say")
        if self.iops is not None:
            if (range_ := KINDS[self.type].iops) is None:
                raise ValueError(f"iops: {self.type} takes none; delete the key, or write `type: gp3`")
            if not range_[0] <= self.iops <= range_[1]:
                raise ValueError(f"iops: {self.type} has {range_[0]} to {range_[1]}")
        if self.throughput is not None:
            if self.type != "gp3":
                raise ValueError("throughput: of gp3 alone; delete the key, or write `type: gp3`")
            most = min(THROUGHPUT[1], (self.iops or USUAL_IOPS) // 4)
            if not THROUGHPUT[0] <= self.throughput <= most:
                raise ValueError(
                    f"throughput: {THROUGHPUT[0]} to {most} MiB/s, a quarter of its iops at most"
                )
        return self

    def trouble(self, size: int) -> str:
        """What is wrong with this for a volume of so many bytes, or nothing."""
        kind, gib = KINDS[self.type], size // UNITS["GiB"]
        if not kind.sizes[0] <= gib <= kind.sizes[1]:
            return f"size: {self.type} has {kind.sizes[0]} to {kind.sizes[1]} GiB, and not {gib}"
        if self.iops is not None and kind.iops is not None:
            most = max(kind.iops[0], gib * kind.iops_per_gib)
            if self.iops > most:
                return (
                    f"iops: {self.type} of {gib} GiB has {most} at most; write less, or a larger `size`"
                )
        return ""


OF_EBS = ("volume", "volumes", "tpm", "uefi_data", "boot_mode")


class Ami(Part):
    name: AmiName = "{image}-{date}-{digest}"
    description: str = Field("", max_length=255)
    backing: Literal["ebs", "s3"] = Field(
        "ebs", description="ebs: a snapshot; s3: a bundle, for the instance types of before 2015"
    )
    virtualization: Literal["paravirtual", "hvm"] = Field(
        default_factory=lambda told: _unless_s3(told, "hvm", "paravirtual"),
        description="default: hvm; of S3-backed images, paravirtual",
    )
    boot_mode: BootMode | None = Field(
        None, description="default: all that the disk can; by nothing that was not proved"
    )
    kernel_id: Annotated[str, Field(pattern=r"^aki-[0-9a-f]+$")] | None = None
    ramdisk_id: Annotated[str, Field(pattern=r"^ari-[0-9a-f]+$")] | None = None
    root_device_name: str = Field(
        default_factory=lambda told: _unless_s3(told, "/dev/xvda", "/dev/sda1"),
        description="default: /dev/xvda; of S3-backed images, /dev/sda1",
    )
    block_devices: Mapping[Word, Word] = Field(
        default_factory=lambda told: _unless_s3(told, {}, {"ami": "sda1", "root": "/dev/sda1"}),
        description="instance store volumes: {ephemeral0: sdb}; of S3-backed images, all that the manifest names",
    )
    volume: Volume = Field(Volume(), description="the root's; of EBS-backed images")
    volumes: Mapping[DevicePath, Volume] = Field(
        default_factory=dict,
        description="empty ones beside it, by device: {/dev/sdf: {size: 10 GiB}}; of EBS-backed images. If the cloud"
        " encrypts, with the account's default key: RegisterImage takes no other",
    )
    imds: Literal["v2", "optional"] = "v2"
    ena: bool = Field(
        default_factory=lambda told: told.get("virtualization") == "hvm",
        description="default: true, but for paravirtual images",
    )
    tpm: bool = Field(False, description="a TPM 2.0; needs `boot_mode: uefi`")
    uefi_data: str | None = Field(
        None,
        min_length=1,
        description="path, from the project's folder, of a UEFI variable store as python-uefivars writes it (base64)",
    )
    tags: Mapping[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        paravirtual = self.virtualization == "paravirtual"
        if paravirtual and self.backing == "ebs":
            raise ValueError(
                "virtualization: paravirtual images are S3-backed here; write `backing: s3`, or `virtualization: hvm`"
            )
        if paravirtual and self.ena:
            raise ValueError(
                "ena: paravirtual instances have none; write `ena: false`, or `virtualization: hvm`"
            )
        if not paravirtual and (self.kernel_id or self.ramdisk_id):
            raise ValueError(
                "kernel_id, ramdisk_id: hvm instances boot what is on the disk; delete the key"
            )
        told = [key for key in OF_EBS if key in self.model_fields_set]
        if self.backing == "s3" and told:
            raise ValueError(
                f"{', '.join(told)}: S3-backed images have none; delete it, or write `backing: ebs`"
            )
        if self.tpm and self.boot_mode != "uefi":
            raise ValueError("tpm: needs `boot_mode: uefi`; uefi-preferred is not enough")
        if self.uefi_data and self.boot_mode not in ("uefi", "uefi-preferred"):
            raise ValueError("uefi_data: needs `boot_mode: uefi` or uefi-preferred; write it")
        taken = [key for key in self.tags if key.startswith((OURS, "aws:")) or key == NAME_TAG]
        if taken:
            raise ValueError(
                f"tags: {', '.join(taken)}: these are not yours to set; rename or delete them"
            )
        return self

    @model_validator(mode="after")
    def _devices(self) -> Self:
        if self.backing == "s3":
            return self
        if self.root_device_name not in ROOTS:
            raise ValueError(
                f"root_device_name: {self.root_device_name!r} is none of EC2's for roots; write {' or '.join(ROOTS)}"
            )
        strange = [each for each in self.block_devices if not STORE.fullmatch(each)]
        if strange:
            raise ValueError(
                f"block_devices: {', '.join(strange)}: EBS-backed images name ephemeral0 to ephemeral23 here;"
                " write the root as `root_device_name`, other volumes under `volumes`"
            )
        strange = [each for each in self.block_devices.values() if not STORE_DEVICE.fullmatch(each)]
        if strange:
            raise ValueError(
                f"block_devices: {', '.join(strange)}: is no device for a disk; write sdb, say"
            )
        for device, volume in self.volumes.items():
            if volume.size is None:
                raise ValueError(
                    f"volumes.{device}: size: is missing; an empty volume has none by itself"
                )
            if trouble := volume.trouble(volume.size):
                raise ValueError(f"volumes.{device}: {trouble}")
        places = [letters(each) for each in (*self.volumes, *self.block_devices.values())]
        if twice := sorted({each for each in places if places.count(each) > 1}):
            raise ValueError(
                f"volumes, block_devices: named twice: {', '.join(twice)} (sdf and xvdf are one)"
            )
        if not KINDS[self.volume.type].boots:
            raise ValueError(f"volume.type: nothing boots from {self.volume.type}; write gp3")
        return self


def letters(device: str) -> str:
    """What tells one device from another: sdf and xvdf are one place in the guest."""
    return re.sub(r"^(/dev/)?(sd|xvd)", "", device)


def _unless_s3(told: Mapping[str, Any], usual: Any, of_s3: Any) -> Any:
    return of_s3 if told.get("backing") == "s3" else usual
