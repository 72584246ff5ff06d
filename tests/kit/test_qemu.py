"""A guest is started with what works, and each way of not coming up has its own words.

Shell scripts stand for QEMU here: each plays one way in which a real one was seen to end, spin or hang. Real guests are
booted in tests/test_boot.py.
"""

import time

import pytest

from tasks.kit import qemu
from tasks.kit.fault import ImageFault, ToolFault
from tasks.kit.proc import Command
from tasks.kit.qemu import Guest
from tasks.kit.report import Silent

WELL = "echo '[    0.000000] Linux version 6.1' > {console}; sleep 60"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine whose /dev/kvm is there, and a guest that does what two scripts say."""
    monkeypatch.setattr(qemu, "KVM", tmp_path / "kvm")
    monkeypatch.setattr(qemu, "KVM_PATIENCE", 1.0)
    (tmp_path / "kvm").touch()
    made = []

    def guest(kvm, tcg=WELL):
        console = tmp_path / "console.log"
        scripts = {"kvm": kvm.format(console=console), "tcg": tcg.format(console=console)}
        commands = {name: Command(("sh", "-c", script), "boot") for name, script in scripts.items()}
        made.append(
            Guest(
                commands,
                console=console,
                port=qemu.free_port(),
                user="root",
                key=tmp_path / "key",
                log=tmp_path / "log",
            )
        )
        return made[-1]

    yield guest
    for each in made:
        each.off()


@pytest.mark.parametrize(
    ("kvm", "because"),
    [
        ("sleep 60", "KVM is there but broken: the kernel said nothing within 1 s"),
        (
            "echo 'KVM internal error. Suberror: 1'; sleep 60",
            "KVM is there but broken: KVM internal error. Suberror: 1",
        ),
        (
            "echo 'qemu: error: failed to set MSR 0x10a to 0x69'; exit 1",
            "broken: qemu: error: failed to set MSR 0x10a",
        ),
        ("exit 1", "KVM is there but broken"),
    ],
    ids=["it spins", "an internal error", "a register it cannot set", "it just ends"],
)
def test_a_broken_kvm_is_noticed_in_seconds(machine, kvm, because):
    """Not at the time-out of the whole boot; and the reason is kept."""
    guest = machine(kvm)
    began = time.monotonic()
    guest.power_on(Silent())
    assert time.monotonic() - began < 5
    assert guest.accelerator == "tcg"
    assert because in guest.because


def test_a_kvm_that_works_is_used(machine):
    """As soon as the kernel says its first words."""
    guest = machine(WELL)
    guest.power_on(Silent())
    assert (guest.accelerator, guest.because) == ("kvm", "")


def test_a_kvm_that_is_not_there_is_not_tried(machine, tmp_path):
    """Nor one that may not be opened."""
    (tmp_path / "kvm").unlink()
    guest = machine("touch {console}.tried; sleep 60")
    guest.power_on(Silent())
    assert guest.because == "no KVM: /dev/kvm is not there or may not be opened"
    assert not (tmp_path / "console.log.tried").exists()


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (
            "[ 1.0] Kernel panic - not syncing: VFS: no root",
            "did not come up: Kernel panic - not syncing: VFS: no root",
        ),
        ("(initramfs)", "did not come up: (initramfs)"),
        ("You are in emergency mode. After", "did not come up: You are in emergency mode"),
        ("[ 1.0] all is well so far", "let nobody in within 1 s"),
    ],
    ids=["panic", "initramfs", "emergency", "hang"],
)
def test_a_guest_that_does_not_come_up_is_told_with_its_last_words(machine, said, problem):
    """What the console said last is nearly always the cause."""
    guest = machine("exit 1", "printf 'before\\n%s\\n' '" + said + "' > {console}; sleep 60")
    guest.power_on(Silent())
    with pytest.raises(ImageFault) as caught:
        guest.wait(timeout=1, report=Silent())
    assert problem in caught.value.problem
    assert caught.value.evidence[-2:] == ("before", said)
    assert str(guest.console) in caught.value.where


def test_a_guest_that_switches_itself_off_is_told_of(machine):
    """It is no use to wait for it."""
    guest = machine("exit 1", "echo last > {console}; echo qemu says why")
    guest.power_on(Silent())
    with pytest.raises(ImageFault, match="switched itself off while it booted") as caught:
        guest.wait(timeout=30, report=Silent())
    assert "qemu says why" in caught.value.evidence


def test_a_qemu_that_is_not_installed_is_told_of(machine):
    """With what to type."""
    guest = machine("exit 1")
    guest.commands = {"tcg": Command(("no-such-qemu",), "boot the image")}
    with pytest.raises(Exception, match="no-such-qemu is not installed; it is needed to boot the image"):
        guest.power_on(Silent())
    guest.commands = {}
    with pytest.raises(ToolFault, match="QEMU could not start"):
        guest.power_on(Silent())


def test_host_keys_are_read_from_the_console(machine):
    """As a user of EC2 would, from between the two lines; noise around them does no harm."""
    guest = machine("exit 1")
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAbc"
    guest.console.write_text(
        f"ssh-ed25519 AAAAnot\n-----BEGIN SSH HOST KEY KEYS-----\r\n{key} \r\n[1.0] noise\n-----END SSH HOST KEY KEYS-----\n"
    )
    assert guest.host_keys == (key,)
