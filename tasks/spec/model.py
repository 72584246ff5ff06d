"""What is wanted: the configuration's values, checked and frozen. Sizes are bytes; absolute paths lie inside the image."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tasks.spec.ami import Ami, BootMode, Firmware
from tasks.spec.launch import Launch, usual_type
from tasks.spec.names import TAKEN
from tasks.spec.part import Part
from tasks.spec.source import (
    AptDistribution,
    AptRepository,
    Distribution,
    Group,
    RpmDistribution,
    Yum,
    YumRepository,
    release_trouble,
)
from tasks.spec.types import Size, Word
from tasks.spec.units import UNITS, written

Architecture = Literal["i386", "x86_64", "arm64"]
S3_BACKED: tuple[Architecture, ...] = ("i386", "x86_64")  # what EC2 starts such images on
FIRMWARES: Mapping[Architecture, tuple[Firmware, ...]] = {  # what a hybrid disk can be booted by
    "i386": ("bios",),
    "x86_64": ("bios", "uefi"),
    "arm64": ("uefi",),
}
BOOT_MODES: Mapping[tuple[Firmware, ...], BootMode] = {
    ("bios",): "legacy-bios",
    ("uefi",): "uefi",
    ("bios", "uefi"): "uefi-preferred",
}
KeyFrom = Literal["image", "metadata", "cloud-init"]
Node = Literal["console", "null", "zero", "full", "random", "urandom", "tty"]


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if not pure.is_absolute() or ".." in pure.parts or path.endswith("/") or "\n" in path:
        raise ValueError(f"{path!r} is not a path inside the image; write it from the root: '/etc/motd'")
    return str(pure)


def _named(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,62}", text):
        raise ValueError(
            f"{text!r} is no name; use lower case letters, digits, '.', '+' and '-', at most 63"
        )
    return text


def _octal(text: object) -> int:
    if not isinstance(text, str) or not re.fullmatch(r"0?[0-7]{3,4}", text):
        raise ValueError(f"{text!r} is not a file mode; write it as octal digits in quotes: '0644'")
    return int(text, 8)


def _public_key(text: str) -> str:
    if not re.fullmatch(r"(ssh-|ecdsa-|sk-)\S+ [A-Za-z0-9+/]+=*( .*)?", text):
        raise ValueError(
            f"{text[:40]!r} is not a public SSH key; write its line: 'ssh-ed25519 AAAA... comment'"
        )
    return text


Inside = Annotated[str, AfterValidator(_inside)]
Name = Annotated[str, AfterValidator(_named)]
Mode = Annotated[
    int,
    BeforeValidator(_octal),
    Field(json_schema_extra={"type": "string", "pattern": r"^0?[0-7]{3,4}$"}),
]
# YAML reads a bare `null` as nothing at all.
Device = Annotated[
    Node,
    BeforeValidator(lambda name: "null" if name is None else name),
    Field(json_schema_extra={"type": ["string", "null"], "enum": [*get_args(Node), None]}),
]
Prefix = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}$")]
PublicKey = Annotated[str, AfterValidator(_public_key)]


class Disk(Part):
    size: Size
    filesystem: Literal["ext3", "ext4"] = "ext4"
    layout: Literal["hybrid", "none"] = Field(
        "hybrid",
        description="hybrid: GPT, booted by BIOS and by UEFI; none: one file system, no partition table, what pv-grub boots",
    )

    @model_validator(mode="after")
    def _whole_blocks(self) -> Self:
        if self.size % UNITS["MiB"]:
            raise ValueError("size must be a whole number of MiB")
        least = 128 * UNITS["MiB"] if self.layout == "hybrid" else 32 * UNITS["MiB"]
        if not least <= self.size <= 16 * UNITS["TiB"]:
            raise ValueError(f"size must be between {written(least)} and 16 TiB")
        return self


class Ssh(Part):
    key: Literal["ed25519", "rsa"] = "ed25519"
    key_from: KeyFrom = Field("image", description="in it, or it comes at boot by one of these")
    user: Literal["root"] = "root"
    authorized_keys: Inside = "/root/.ssh/authorized_keys"
    authorized_keys_mode: Mode = 0o600
    extra_keys: tuple[PublicKey, ...] = ()


class LaidFile(Part):
    """A file laid over the root: `content` as it is, or a `template` of templates/, rendered. What is appended
    to a file leaves mode and owners as they are.
    """

    content: str | None = None
    template: str | None = None
    mode: Mode = 0o644
    owner: int = Field(0, ge=0, description="numeric user id")
    group: int = Field(0, ge=0, description="numeric group id")
    append: bool = Field(False, description="add to the file that is there, instead of replacing it")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.content is None) == (self.template is None):
            raise ValueError("give either `content` or `template`")
        return self


class Script(Part):
    """A program run in the image's chroot while it is built, or once at its first boot."""

    run: str = Field(description="the script's path, from the project's folder")
    when: Literal["build", "first-boot"] = "build"


class Boot(Part):
    """The machine that proves the image."""

    timeout: int = Field(900, ge=1, description="seconds until the image must have let its key in")
    memory: Size = 1 << 30
    kernel_of: Name | None = Field(
        None, description="an image of ours that lends its kernel: for those that hold none"
    )


class Bundle(Part):
    """The options of the S3-backed format beyond what the image itself says."""

    prefix: Prefix | None = Field(
        None, description="of the files' names; default: the image file's own name"
    )
    product_codes: tuple[Word, ...] = ()
    ancestors: tuple[Word, ...] = Field((), description="AMIs that this image descends from")
    compression: Literal["fast", "small"] = "fast"


class Image(Part):
    """config/images/<name>.yaml: what every distribution's image has."""

    name: Name
    distro: Distribution
    release: Name
    architecture: Architecture
    repositories: tuple[AptRepository | YumRepository, ...] = ()
    packages: tuple[Word, ...] = ()
    disk: Disk
    ssh: Ssh = Ssh()
    hostname: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9.-]{0,62}$")] = "localhost"
    devices: tuple[Device, ...] = ("console", "null", "zero")
    files: Mapping[Inside, LaidFile] = Field(default_factory=dict)
    scripts: tuple[Script, ...] = ()
    boot: Boot = Boot()
    bundle: Bundle = Bundle()
    ami: Ami = Ami()
    launch: Launch = Launch()
    allow_findings: tuple[str, ...] = Field(
        (), description="paths (globs) whose findings the scan lets pass"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        brought = any(name.startswith("cloud-init") for name in self.packages)
        if self.ssh.key_from == "cloud-init" and not brought:
            raise ValueError(
                "ssh.key_from: cloud-init is not among the packages; add it to `packages`, or write metadata"
            )
        if self.name in TAKEN:
            raise ValueError(f"name: {self.name} is a folder of ours; call the file something else")
        return self

    @model_validator(mode="after")
    def _can_become_an_ami(self) -> Self:
        gib, layout = UNITS["GiB"], self.disk.layout
        if self.ami.backing == "s3" and self.disk.size > 10 * gib:
            raise ValueError("disk.size: an S3-backed image is at most 10 GiB; write `backing: ebs`")
        if self.ami.backing == "ebs" and self.disk.size % gib:
            more = written(-(-self.disk.size // gib) * gib)
            raise ValueError(f"disk.size: an EBS volume has whole GiB; write {more}")
        volume = self.ami.volume
        if volume.size is not None and volume.size < self.disk.size:
            raise ValueError(
                "ami.volume.size: smaller than the image; write as much as disk.size or more"
            )
        trouble = volume.trouble(volume.size or self.disk.size) if self.ami.backing == "ebs" else ""
        if trouble:
            raise ValueError(f"ami.volume.{trouble}")
        if self.architecture == "arm64" and self.ami.virtualization == "paravirtual":
            raise ValueError(
                "ami.virtualization: arm64 never was paravirtual; write `virtualization: hvm`"
            )
        wanted = "none" if self.ami.virtualization == "paravirtual" else "hybrid"
        if layout != wanted:
            raise ValueError(
                f"disk.layout: {self.ami.virtualization} instances do not boot `{layout}`; write `layout: {wanted}`"
            )
        unable = [each for each in self.firmwares if each not in FIRMWARES[self.architecture]]
        if unable:
            able = " and ".join(FIRMWARES[self.architecture])
            raise ValueError(
                f"ami.boot_mode: {self.ami.boot_mode}: a disk for {self.architecture} boots by {able} alone; delete the key"
            )
        return self

    @property
    def boot_mode(self) -> BootMode | None:
        """What the AMI is registered with: all that the disk can, unless less is wanted; nothing for paravirtual ones."""
        if self.ami.virtualization == "paravirtual":
            return None
        if self.ami.backing == "s3" and self.architecture in S3_BACKED:
            return "legacy-bios"  # no type that starts them has UEFI
        return self.ami.boot_mode or BOOT_MODES[FIRMWARES[self.architecture]]

    @property
    def firmwares(self) -> tuple[Firmware, ...]:
        """By which it is to boot, and is proved to; none where a kernel is given from outside."""
        return next((able for able, mode in BOOT_MODES.items() if mode == self.boot_mode), ())

    @property
    def instance_type(self) -> str:
        """What it is started on."""
        return self.launch.type or usual_type(self.architecture, ebs=self.ami.backing == "ebs")


class AptImage(Image):
    distro: AptDistribution
    repositories: tuple[AptRepository, ...] = Field(
        (), description="default: this machine's own apt sources"
    )
    packages: tuple[Word, ...] = Field(min_length=1)


class RpmImage(Image):
    distro: RpmDistribution
    repositories: tuple[YumRepository, ...] = Field(min_length=1)
    groups: tuple[Group, ...] = Field(
        (), description="of packages, as the repositories' comps name them"
    )
    yum: Yum = Yum()
    tls: Literal["enabled", "disabled"] = Field(
        "enabled", description="/lib/tls: what Xen of 2008 could not run at speed"
    )

    @field_validator("release")
    @classmethod
    def _known(cls, release: str, info: ValidationInfo) -> str:
        trouble = release_trouble(info.data["distro"], release) if "distro" in info.data else ""
        if trouble:
            raise ValueError(f"{release!r} {trouble}")
        return release

    @model_validator(mode="after")
    def _holds_something(self) -> Self:
        if not self.groups and not self.packages:
            raise ValueError("groups, packages: both are empty; write what the image is to hold")
        ids = [each.id for each in self.repositories]
        twice = sorted({each for each in ids if ids.count(each) > 1})
        if twice:
            raise ValueError(f"repositories: an id stands twice: {', '.join(twice)}")
        return self


class Site(Part):
    """config/site.yaml."""

    images: tuple[Name, ...] = Field(min_length=1, description="what bare `doit` makes")
    cloud: Name
    build: str = "build"
    keys: str = Field(
        "build/keys", description="where key pairs are kept; `doit clean` never touches it"
    )
    epoch: AwareDatetime = Field(description="SOURCE_DATE_EPOCH: no file of an image is younger")
    sources: Literal["upstream", "mirror"] = Field(
        "upstream",
        description="mirror: images are made from what `doit mirror` keeps, without a network",
    )

    @model_validator(mode="after")
    def _once(self) -> Self:
        twice = sorted({name for name in self.images if self.images.count(name) > 1})
        if twice:
            raise ValueError(f"images: named twice: {', '.join(twice)}")
        return self
