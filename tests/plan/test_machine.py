"""The proving machine reaches nothing, and changes nothing."""

from pathlib import Path

from tasks.plan.machine import Machine, overlay

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
