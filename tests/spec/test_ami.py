"""The keys of `ami:`, and what they have to do with the rest of an image: each rule, and what one is told to write."""

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.cloud.local.ec2.mappings import DEVICE, TYPES
from tasks.spec.ami import KINDS, Ami, Volume
from tasks.spec.model import AptImage

BASE: dict[str, Any] = {
    "name": "i",
    "distro": "debian",
    "release": "bookworm",
    "architecture": "x86_64",
    "packages": ["x"],
    "disk": {"size": "2 GiB"},
}


def image(**more: Any) -> AptImage:
    return AptImage.model_validate({**BASE, **more})


def refused(kind: Any, given: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(given)
    return str(caught.value)


def test_without_a_word_an_image_is_what_people_run_today():
    """EBS, HVM, GPT, IMDSv2, ENA; both firmwares."""
    made = image()
    ami = made.ami
    assert (ami.backing, ami.virtualization, ami.root_device_name) == ("ebs", "hvm", "/dev/xvda")
    assert (ami.imds, ami.ena, ami.tpm, dict(ami.block_devices)) == ("v2", True, False, {})
    assert (ami.volume.type, ami.volume.size, ami.volume.delete_on_termination) == ("gp3", None, True)
    assert made.disk.layout == "hybrid"
    assert (made.boot_mode, made.firmwares) == ("uefi-preferred", ("bios", "uefi"))


def test_what_is_s3_backed_is_as_it_was_in_2008():
    """Paravirtual, one file system, and all that a manifest names."""
    made = image(ami={"backing": "s3"}, disk={"size": "2000 MiB", "layout": "none"})
    ami = made.ami
    assert (ami.virtualization, ami.root_device_name, ami.ena) == ("paravirtual", "/dev/sda1", False)
    assert dict(ami.block_devices) == {"ami": "sda1", "root": "/dev/sda1"}
    assert (made.boot_mode, made.firmwares) == (None, ())


@pytest.mark.parametrize(
    ("architecture", "wanted", "mode", "firmwares"),
    [
        ("x86_64", None, "uefi-preferred", ("bios", "uefi")),
        ("x86_64", "uefi-preferred", "uefi-preferred", ("bios", "uefi")),
        ("x86_64", "legacy-bios", "legacy-bios", ("bios",)),
        ("x86_64", "uefi", "uefi", ("uefi",)),
        ("arm64", None, "uefi", ("uefi",)),
        ("arm64", "uefi", "uefi", ("uefi",)),
        ("i386", None, "legacy-bios", ("bios",)),
    ],
)
def test_the_boot_mode_is_all_that_the_disk_can_unless_less_is_wanted(
    architecture, wanted, mode, firmwares
):
    """And each firmware of it has to be proved."""
    made = image(architecture=architecture, ami={"boot_mode": wanted})
    assert (made.boot_mode, made.firmwares) == (mode, firmwares)


def test_an_s3_backed_hvm_image_boots_by_bios_alone():
    """No type that starts such images has UEFI."""
    made = image(ami={"backing": "s3", "virtualization": "hvm"})
    assert made.firmwares == ("bios",)


@pytest.mark.parametrize(
    ("architecture", "mode"),
    [
        ("arm64", "legacy-bios"),
        ("arm64", "uefi-preferred"),
        ("i386", "uefi"),
        ("i386", "uefi-preferred"),
    ],
)
def test_a_boot_mode_that_the_disk_cannot_is_refused(architecture, mode):
    said = refused(AptImage, {**BASE, "architecture": architecture, "ami": {"boot_mode": mode}})
    assert f"ami.boot_mode: {mode}: a disk for {architecture} boots by" in said
    assert "delete the key" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"virtualization": "paravirtual"}, "write `backing: s3`, or `virtualization: hvm`"),
        ({"backing": "s3", "ena": True}, "ena: paravirtual instances have none; write `ena: false`"),
        ({"kernel_id": "aki-1"}, "hvm instances boot what is on the disk; delete the key"),
        ({"ramdisk_id": "ari-1"}, "hvm instances boot what is on the disk; delete the key"),
        ({"kernel_id": "pv-grub"}, "kernel_id"),
        ({"backing": "s3", "volume": {}}, "volume: S3-backed images have none; delete it, or write"),
        ({"backing": "s3", "volumes": {}}, "volumes: S3-backed images have none"),
        ({"backing": "s3", "tpm": False}, "tpm: S3-backed images have none"),
        ({"backing": "s3", "boot_mode": "uefi"}, "boot_mode: S3-backed images have none"),
        ({"backing": "s3", "uefi_data": "x"}, "uefi_data: S3-backed images have none"),
        ({"tpm": True}, "tpm: needs `boot_mode: uefi`; uefi-preferred is not enough"),
        ({"tpm": True, "boot_mode": "uefi-preferred"}, "tpm: needs `boot_mode: uefi`"),
        ({"uefi_data": "x"}, "uefi_data: needs `boot_mode: uefi` or uefi-preferred; write it"),
        ({"uefi_data": "x", "boot_mode": "legacy-bios"}, "uefi_data: needs `boot_mode: uefi`"),
        ({"uefi_data": ""}, "uefi_data"),
        ({"boot_mode": "bios"}, "boot_mode"),
        ({"tags": {"doit-ami:x": "y"}}, "tags: doit-ami:x: these are not yours to set; rename or delete"),
        ({"tags": {"aws:x": "y"}}, "tags: aws:x: these are not yours"),
        ({"tags": {"Name": "y"}}, "tags: Name: these are not yours"),
        ({"root_device_name": "xvda"}, "root_device_name: 'xvda' is none of EC2's for roots; write /dev/xvda or"),
        ({"root_device_name": "/dev/nvme0n1"}, "is none of EC2's for roots"),
        ({"block_devices": {"root": "/dev/sda1"}}, "write the root as `root_device_name`"),
        ({"block_devices": {"ephemeral24": "sdb"}}, "name ephemeral0 to ephemeral23 here"),
        ({"block_devices": {"ephemeral0": "disk"}}, "block_devices: disk: is no device for a disk"),
        ({"block_devices": {"ephemeral0": "sda"}}, "block_devices: sda: is no device for a disk"),
        ({"volumes": {"/dev/sdf": {}}}, "volumes./dev/sdf: size: is missing; an empty volume has none"),
        ({"volumes": {"/dev/sdf": {"type": "st1", "size": "1 GiB"}}}, "volumes./dev/sdf: size: st1 has 125 to"),
        ({"volumes": {"/dev/sda1": {"size": "1 GiB"}}}, "volumes"),
        ({"volumes": {"sdf": {"size": "1 GiB"}}}, "volumes"),
        ({"volumes": {"/dev/sdf": {"size": "1 GiB"}}, "block_devices": {"ephemeral0": "sdf"}}, "named twice: f"),
        (
            {"volumes": {"/dev/sdf": {"size": "1 GiB"}, "/dev/xvdf": {"size": "1 GiB"}}},
            "named twice: f (sdf and xvdf are one)",
        ),
        ({"volume": {"type": "st1"}}, "volume.type: nothing boots from st1; write gp3"),
        ({"volume": {"type": "sc1"}}, "volume.type: nothing boots from sc1; write gp3"),
        ({"name": "a"}, "name"),
        ({"description": "x" * 256}, "description"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused_with_what_to_write(given, said):
    assert said in refused(Ami, given)


@pytest.mark.parametrize(
    "given",
    [
        {"tpm": True, "boot_mode": "uefi"},
        {"uefi_data": "x", "boot_mode": "uefi"},
        {"uefi_data": "x", "boot_mode": "uefi-preferred"},
        {
            "root_device_name": "/dev/sda1",
            "block_devices": {"ephemeral0": "sdb", "ephemeral1": "/dev/sdc"},
        },
        {"volumes": {"/dev/sdf": {"size": "1 GiB"}, "/dev/xvdba": {"size": "1 GiB"}}},
        {"virtualization": "hvm", "backing": "s3"},
    ],
)
def test_what_fits_together_is_taken(given):
    assert set(given) <= Ami.model_validate(given).model_fields_set


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": "1 GB"}, "is not a size"),
        ({"size": "1025 MiB"}, "size: a volume has whole GiB; write 2 GiB"),
        ({"type": "io1"}, "iops: is missing; io1 needs it"),
        ({"type": "io2"}, "iops: is missing; io2 needs it"),
        ({"type": "gp2", "iops": 3000}, "iops: gp2 takes none; delete the key, or write `type: gp3`"),
        ({"type": "standard", "iops": 100}, "iops: standard takes none"),
        ({"iops": 2999}, "iops: gp3 has 3000 to 80000"),
        ({"iops": 80001}, "iops: gp3 has 3000 to 80000"),
        ({"type": "io1", "iops": 99}, "iops: io1 has 100 to 64000"),
        ({"type": "io2", "iops": 256001}, "iops: io2 has 100 to 256000"),
        ({"throughput": 124}, "throughput: 125 to 750 MiB/s, a quarter of its iops at most"),
        ({"throughput": 751}, "throughput: 125 to 750 MiB/s"),
        ({"iops": 80000, "throughput": 2001}, "throughput: 125 to 2000 MiB/s"),
        ({"type": "gp2", "throughput": 125}, "throughput: of gp3 alone; delete the key, or write `type: gp3`"),
        ({"type": "gp4"}, "type"),
        ({"encrypted": True}, "encrypted"),
    ],
)  # fmt: skip
def test_a_volume_that_ebs_does_not_make_is_refused(given, said):
    assert said in refused(Volume, given)


@pytest.mark.parametrize(
    ("given", "gib", "said"),
    [
        ({}, 1, ""),
        ({"iops": 3000, "throughput": 750}, 1, ""),
        ({"iops": 3001}, 6, "iops: gp3 of 6 GiB has 3000 at most; write less, or a larger `size`"),
        ({"iops": 80000, "throughput": 2000}, 160, ""),
        ({"iops": 80000}, 159, "iops: gp3 of 159 GiB has 79500 at most; write less, or a larger `size`"),
        ({"type": "io1", "iops": 100}, 3, "size: io1 has 4 to 16384 GiB, and not 3"),
        ({"type": "io1", "iops": 201}, 4, "iops: io1 of 4 GiB has 200 at most; write less, or a larger `size`"),
        ({"type": "io2", "iops": 4000}, 4, ""),
        ({"type": "standard"}, 1025, "size: standard has 1 to 1024 GiB, and not 1025"),
        ({"type": "gp2"}, 16385, "size: gp2 has 1 to 16384 GiB, and not 16385"),
    ],
)  # fmt: skip
def test_what_a_size_has_to_do_with_it(given, gib, said):
    assert Volume.model_validate(given).trouble(gib << 30) == said


def test_the_limits_are_those_that_the_local_cloud_read_in_ec2s_model():
    """Two readers of one page; and the devices that we let be named are some that it takes."""
    assert {name: tuple(kind) for name, kind in KINDS.items()} == {
        name: tuple(kind) for name, kind in TYPES.items()
    }
    for device in ("/dev/sdb", "/dev/sdz", "/dev/xvde", "/dev/xvdba", "/dev/xvddz"):
        Ami.model_validate({"volumes": {device: {"size": "1 GiB"}}})
        assert DEVICE.fullmatch(device)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"disk": {"size": "2000 MiB"}}, "disk.size: an EBS volume has whole GiB; write 2 GiB"),
        ({"ami": {"volume": {"size": "1 GiB"}}}, "ami.volume.size: smaller than the image"),
        ({"ami": {"volume": {"iops": 5000}}}, "ami.volume.iops: gp3 of 2 GiB has 3000 at most"),
        ({"ami": {"volume": {"type": "io1", "iops": 100}}}, "ami.volume.size: io1 has 4 to 16384 GiB, and not 2"),
        ({"disk": {"size": "2 GiB", "layout": "none"}}, "disk.layout: hvm instances do not boot `none`"),
        ({"ami": {"backing": "s3"}}, "disk.layout: paravirtual instances do not boot `hybrid`; write `layout: none`"),
        (
            {"ami": {"backing": "s3"}, "disk": {"size": "11 GiB", "layout": "none"}},
            "disk.size: an S3-backed image is at most 10 GiB; write `backing: ebs`",
        ),
        (
            {"ami": {"backing": "s3"}, "architecture": "arm64", "disk": {"size": "1 GiB", "layout": "none"}},
            "ami.virtualization: arm64 never was paravirtual",
        ),
    ],
)  # fmt: skip
def test_an_image_that_can_be_no_ami_is_refused_with_what_to_write(given, said):
    assert said in refused(AptImage, {**BASE, **given})


def test_a_volume_may_be_larger_than_its_image_and_then_has_more():
    """The root grows into it at the first boot."""
    made = image(ami={"volume": {"type": "io1", "size": "8 GiB", "iops": 400}})
    assert made.ami.volume.size == 8 << 30


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, "t3.micro"),
        ({"architecture": "arm64"}, "t4g.micro"),
        ({"architecture": "i386"}, "t2.micro"),
        ({"ami": {"backing": "s3"}, "disk": {"size": "1 GiB", "layout": "none"}}, "m1.small"),
        ({"launch": {"type": "m5.large"}}, "m5.large"),
    ],
)
def test_an_image_is_started_on_a_type_that_can(given, kind):
    """Unless another is written."""
    assert image(**given).instance_type == kind
