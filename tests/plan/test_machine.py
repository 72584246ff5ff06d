"""The proving machine reaches nothing, and changes nothing."""

import uuid
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from tasks.kit import imds
from tasks.plan import firmware
from tasks.plan.machine import MODELS, Beside, Flash, Machine, accelerators, overlay
from tasks.spec.model import Architecture

MACHINE = Machine(
    "x86_64", 1 << 30, Path("/d"), Path("/k"), Path("/i"), "root=UUID=x ro", {22: 2222}, Path("/c")
)


NET = "user,id=net,restrict=on,net=160.0.0.0/4,host=172.31.0.1,dns=172.31.0.2"


def option(machine, name):
    argv = machine.command("tcg").argv
    return argv[argv.index(name) + 1]


def test_the_guest_is_restricted_to_loopback_ports():
    """A build must not depend on, or reach, anybody."""
    argv = MACHINE.command("tcg").argv
    assert option(MACHINE, "-netdev") == f"{NET},dhcpstart=172.31.0.15,hostfwd=tcp:127.0.0.1:2222-:22"
    two = replace(MACHINE, ports={80: 8080, 22: 2222}, address="172.31.9.9")
    forwarded = "hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=tcp:127.0.0.1:8080-:80"
    assert option(two, "-netdev") == f"{NET},dhcpstart=172.31.9.9,{forwarded}"
    closed = replace(MACHINE, ports={})
    assert option(closed, "-netdev") == f"{NET},dhcpstart=172.31.0.15"
    assert argv[argv.index("-append") + 1] == "root=UUID=x ro"
    assert argv[argv.index("-accel") + 1] == "tcg,thread=multi"


def test_the_guest_is_told_of_itself():
    """At the address of EC2's service, by a program that QEMU starts; a comma in a path does not end it."""
    told = replace(MACHINE, metadata=Path("/a,b c"), python="/py thon")
    program = f"'/py thon' -I -S {imds.PROGRAM} '/a,,b c'"
    assert option(told, "-netdev").endswith(f",guestfwd=tcp:169.254.169.254:80-cmd:{program}")
    assert "guestfwd" not in option(MACHINE, "-netdev")


def test_its_firmware_says_that_it_is_an_instance():
    """By these words cloud-init and our own units know EC2; each instance has its own."""
    fields = dict(field.split("=") for field in option(MACHINE, "-smbios").split(","))
    assert (fields["manufacturer"], fields["product"]) == ("Amazon EC2", "m5.large")
    assert fields["uuid"] == fields["serial"]
    assert fields["uuid"].startswith("ec2")
    assert str(uuid.UUID(fields["uuid"])) == fields["uuid"]
    other = replace(MACHINE, instance_id="i-1", instance_type="t3.nano")
    assert fields["uuid"] not in option(other, "-smbios")
    assert "product=t3.nano" in option(other, "-smbios")


def test_a_machine_may_be_controlled_reboot_and_start_from_its_disk():
    """As an instance does; the proving machine does nothing of it."""
    argv = MACHINE.command("tcg").argv
    assert "-no-reboot" in argv
    assert "-qmp" not in argv
    free = replace(
        MACHINE, kernel=None, control=Path("/c,d"), reboots=True, cores=4, mac="0a:00:00:00:00:01"
    )
    argv = free.command("tcg").argv
    assert not {"-no-reboot", "-kernel", "-append", "-initrd"} & set(argv)
    assert option(free, "-qmp") == "unix:/c,,d,server=on,wait=off"
    assert option(free, "-smp") == "4"
    assert "virtio-net-pci,netdev=net,mac=0a:00:00:00:00:01,romfile=" in argv


def test_what_the_guest_writes_goes_to_an_overlay(tmp_path):
    """The image is only its backing file."""
    argv = overlay(tmp_path / "image", Path("/d"), size=99).argv
    assert argv[-4:] == ("-F", "raw", "/d", "99")
    assert argv[argv.index("-b") + 1] == str(tmp_path / "image")


def test_an_image_without_an_initrd_boots_without():
    """As kernels of old did."""
    bare = (
        Machine("i386", 1 << 30, Path("/d"), Path("/k"), None, "", {22: 1}, Path("/c"))
        .command("kvm")
        .argv
    )
    assert "-initrd" not in bare
    assert bare[0] == "qemu-system-i386"


def test_every_architecture_has_a_machine():
    """And packages that bring it."""
    assert set(MODELS) == set(get_args(Architecture))
    for each in get_args(Architecture):
        argv = replace(MACHINE, architecture=each).command("tcg").argv
        assert argv[0] == MODELS[each].program
        assert argv[argv.index("-machine") + 1] == MODELS[each].machine


def test_an_arm64_guest_is_a_virt_machine_whose_pointers_are_signed_quickly():
    """What an emulator does not do as real processors do costs most of its time."""
    arm = replace(MACHINE, architecture="arm64")
    argv = arm.command("tcg").argv
    assert argv[0] == "qemu-system-aarch64"
    assert argv[argv.index("-machine") + 1] == "virt"
    assert argv[argv.index("-cpu") + 1] == "max,pauth-impdef=on"
    real = arm.command("kvm").argv
    assert real[real.index("-cpu") + 1] == "max"
    assert "virtio-blk-pci,drive=root,bootindex=1" in argv


def test_a_machine_without_uefi_has_a_bios_that_may_be_heard():
    """On the serial line, so that a disk which does not boot is no riddle; else that is the disk's alone."""
    for each in ("i386", "x86_64"):
        silent = replace(MACHINE, architecture=each, kernel=None)
        assert option(silent, "-machine") == "pc"
        assert option(replace(silent, heard=True), "-machine") == "pc,graphics=off"
        assert not any("pflash" in word for word in silent.command("tcg").argv)


def test_uefi_has_variables_that_are_the_machines_own():
    """Its code is the host's, and is only read."""
    flash = Flash(Path("/code,1"), Path("/variables"))
    argv = replace(MACHINE, kernel=None, uefi=flash).command("tcg").argv
    drives = [argv[at + 1] for at, word in enumerate(argv) if word == "-drive"]
    assert drives[0] == "if=pflash,unit=0,format=raw,readonly=on,file=/code,,1"
    assert drives[1] == "if=pflash,unit=1,format=raw,file=/variables"
    assert "readonly" not in drives[2]


@pytest.mark.parametrize(
    ("drive", "devices"),
    [
        ("virtio", ["virtio-blk-pci,drive=root,bootindex=1", "virtio-blk-pci,drive=disk1"]),
        ("scsi", ["virtio-scsi-pci", "scsi-hd,drive=root,bootindex=1", "scsi-hd,drive=disk1"]),
        ("nvme", ["nvme,drive=root,serial=vol0a,bootindex=1", "nvme,drive=disk1,serial=vol0b"]),
    ],
)
def test_disks_are_attached_as_the_type_has_them(drive, devices):
    """The root's first, and alone to be booted; an NVMe drive's serial number is its volume's id, as EC2's tools expect it."""
    two = replace(
        MACHINE, kernel=None, drive=drive, volume="vol-0a", beside=(Beside(Path("/e"), "vol-0b"),)
    )
    argv = two.command("tcg").argv
    attached = [argv[at + 1] for at, word in enumerate(argv) if word == "-device"]
    assert attached[: len(devices)] == devices
    drives = [argv[at + 1] for at, word in enumerate(argv) if word == "-drive"]
    assert [each.split(",")[0] for each in drives] == ["file=/d", "file=/e"]


def test_every_place_of_a_firmware_has_its_variables():
    """Code and variables of different sizes would not fit together."""
    for architecture, places in firmware.PLACES.items():
        needed = firmware.uefi(architecture)
        assert needed.files == tuple(places)
        assert needed.path.stat().st_size > 0
        variables = firmware.variables(architecture, needed.path)
        assert variables.parent == needed.path.parent
        assert variables.stat().st_size % 4096 == 0


@pytest.mark.parametrize(
    ("architecture", "host", "able"),
    [
        ("x86_64", "x86_64", ("kvm", "tcg")),
        ("i386", "x86_64", ("kvm", "tcg")),
        ("arm64", "x86_64", ("tcg",)),
        ("arm64", "aarch64", ("kvm", "tcg")),
        ("x86_64", "aarch64", ("tcg",)),
        ("x86_64", "i686", ("tcg",)),
        ("x86_64", "riscv64", ("tcg",)),
    ],
)
def test_kvm_runs_what_the_processor_itself_runs(architecture, host, able):
    """Asked for anything else, QEMU ends at once, and the report would call KVM broken."""
    assert accelerators(architecture, host) == able
