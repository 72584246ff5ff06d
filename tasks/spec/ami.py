"""What is registered, as `ami:` of config/images/<name>.yaml says. Sizes are bytes; limits are RegisterImage's and EBS's own."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tasks.spec.cloud import AmiName
from tasks.spec.names import NAME_TAG, OURS
from tasks.spec.part import Part
from tasks.spec.types import Size, Word
from tasks.spec.units import UNITS

BootMode = Literal["legacy-bios", "uefi", "uefi-preferred"]
Firmware = Literal["bios", "uefi"]
DevicePath = Annotated[str, Field(pattern=r"^/dev/(xvd[a-z]{1,2}|sd[a-z][0-9]{0,2})$")]

# docs.aws.amazon.com, "Amazon EBS volume types": IOPS least and most, and most of them for a GiB
IOPS = {"gp3": (3000, 80000, 500), "io1": (100, 64000, 50), "io2": (100, 256000, 1000)}
THROUGHPUT = (125, 2000)  # MiB/s, of gp3; and no more than a quarter for each of its IOPS
LARGEST = 64 * UNITS["TiB"]


class Volume(Part):
    """An EBS volume that an instance gets at its launch."""

    type: Literal["gp3", "gp2", "io1", "io2", "st1", "sc1", "standard"] = "gp3"
    size: Size | None = Field(None, description="of whole GiB; absent: that of the image")
    iops: int | None = None
    throughput: int | None = Field(None, description="MiB/s; of gp3 alone")
    delete_on_termination: bool = True

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.size is not None and (self.size % UNITS["GiB"] or not 0 < self.size <= LARGEST):
            raise ValueError("size must be of whole GiB, 1 to 65536 of them")
        if self.type in ("io1", "io2") and self.iops is None:
            raise ValueError(f"iops: is missing; {self.type} needs it")
        if self.iops is not None:
            if self.type not in IOPS:
                raise ValueError(f"iops: {self.type} takes none; delete the key, or write `type: gp3`")
            least, most, _ = IOPS[self.type]
            if not least <= self.iops <= most:
                raise ValueError(f"iops: {self.type} has {least} to {most}")
        if self.throughput is not None:
            if self.type != "gp3":
                raise ValueError("throughput: of gp3 alone; delete the key, or write `type: gp3`")
            most = min(THROUGHPUT[1], (self.iops or IOPS["gp3"][0]) // 4)
            if not THROUGHPUT[0] <= self.throughput <= most:
                raise ValueError(
                    f"throughput: {THROUGHPUT[0]} to {most} MiB/s, a quarter of its iops at most"
                )
        return self

    def trouble(self, size: int) -> str:
        """What is wrong with this for a volume of so many bytes, or nothing."""
        if self.iops is None:
            return ""
        least, _, ratio = IOPS[self.type]
        most = max(least, size // UNITS["GiB"] * ratio)
        return (
            f"iops: {self.type} of this size has {most} at most; write less, or a larger `size`"
            if self.iops > most
            else ""
        )


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
        default_factory=dict, description="empty ones beside it, by device; of EBS-backed images"
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
        description="path of a UEFI variable store, as python-uefivars writes it (base64)",
    )
    tags: Mapping[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        paravirtual, s3 = self.virtualization == "paravirtual", self.backing == "s3"
        if paravirtual and not s3:
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
        of_ebs = ("volume", "volumes", "tpm", "uefi_data", "boot_mode")
        told = [key for key in of_ebs if key in self.model_fields_set]
        if s3 and told:
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
        strange = [each for each in self.block_devices if not each.startswith("ephemeral")]
        if strange:
            raise ValueError(
                f"block_devices: {', '.join(strange)}: EBS-backed images name ephemeral0 to ephemeral23 here;"
                " write the root as `root_device_name`, other volumes under `volumes`"
            )
        for device, volume in self.volumes.items():
            if volume.size is None:
                raise ValueError(
                    f"volumes.{device}: size: is missing; an empty volume has none by itself"
                )
            if trouble := volume.trouble(volume.size):
                raise ValueError(f"volumes.{device}: {trouble}")
        places = [self.root_device_name, *self.volumes]
        places += [f"/dev/{each.removeprefix('/dev/')}" for each in self.block_devices.values()]
        if twice := sorted({each for each in places if places.count(each) > 1}):
            raise ValueError(f"volumes, block_devices: named twice: {', '.join(twice)}")
        if self.volume.type in ("st1", "sc1"):
            raise ValueError(f"volume.type: nothing boots from {self.volume.type}; write gp3")
        return self


def _unless_s3(told: Mapping[str, Any], usual: Any, of_s3: Any) -> Any:
    return of_s3 if told.get("backing") == "s3" else usual
