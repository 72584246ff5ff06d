"""The proving machine reaches nothing, and changes nothing."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from tasks.plan.machine import MODELS, Machine, accelerators, overlay
from tasks.spec.model import Architecture

MACHINE = Machine(
    "x86_64", 1 << 30, Path("/d"), Path("/k"), Path("/i"), "root=UUID=x ro", 2222, Path("/c")
)


def test_the_guest_is_restricted_to_one_loopback_port():
    """A build must not depend on, or reach, anybody."""
    argv = MACHINE.command("tcg").argv
    assert argv[argv.index("-netdev") + 1] == "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:2222-:22"
    assert argv[argv.index("-append") + 1] == "root=UUID=x ro"
    assert argv[argv.index("-accel") + 1] == "tcg,thread=multi"


def test_what_the_guest_writes_goes_to_an_overlay(tmp_path):
    """The image is only its backing file."""
    argv = overlay(tmp_path / "image", Path("/d"), size=99).argv
    assert argv[-4:] == ("-F", "raw", "/d", "99")
    assert argv[argv.index("-b") + 1] == str(tmp_path / "image")


def test_an_image_without_an_initrd_boots_without():
    """As kernels of old did."""
    bare = Machine("i386", 1 << 30, Path("/d"), Path("/k"), None, "", 1, Path("/c")).command("kvm").argv
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
    assert "virtio-blk-pci,drive=root" in argv


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
