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

    def guest(kvm, tcg=WELL, **more):
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
                **more,
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
        ("exit 1", "KVM is there but broken: QEMU ended"),
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


@pytest.mark.parametrize(
    ("kvm", "because"),
    [
        ("sleep 60", "the firmware said nothing within 1 s"),
        ("echo SeaBIOS > {console}; sleep 60", "the kernel said nothing within 2 s"),
    ],
    ids=["it spins in the firmware", "it spins in the kernel"],
)
def test_a_firmware_and_a_loader_come_before_the_kernel(machine, monkeypatch, kvm, because):
    """They have their time; a KVM that does not get past them in it is broken."""
    monkeypatch.setattr(qemu, "KERNEL_PATIENCE", 2.0)
    guest = machine(kvm, firmware=True)
    guest.power_on(Silent())
    assert guest.accelerator == "tcg"
    assert guest.because == f"KVM is there but broken: {because}"


def test_a_kvm_that_finds_nothing_to_boot_is_not_broken(machine):
    """It is the disk, and that is said of the disk, not a second time after a slower boot."""
    guest = machine("echo 'No bootable device.' > {console}; sleep 60", firmware=True)
    guest.power_on(Silent())
    assert (guest.accelerator, guest.because) == ("kvm", "")
    with pytest.raises(ImageFault, match="the guest found nothing to boot: No bootable device"):
        guest.wait(timeout=30, report=Silent())


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("Boot failed: not a bootable disk\n\nNo bootable device.", "not a bootable disk"),
        ("GRUB loading.\r\nerror: no such device: 0c0f-fee0.\r\ngrub rescue> ", "error: no such device: 0c0f-fee0."),
        ("\033[=3h\033[2JWelcome to GRUB!\n\n\033[0mgrub>", "grub>"),
        ("\033cSeaBIOS\r\nGRUB GRUB GRUB GRUB GRUB", "GRUB GRUB GRUB GRUB "),
        ("BdsDxe: failed to load Boot0001 x: Not Found\nUEFI Interactive Shell v2.2", "BdsDxe: failed to load Boot0001 x: Not Found"),
        (">>Start PXE over IPv4.", ">>Start PXE"),
    ],
    ids=["bios", "rescue", "no menu", "half a loader", "uefi", "network"],
)  # fmt: skip
def test_a_disk_that_does_not_boot_is_told_of_at_once(machine, said, why):
    """Firmware and loaders would wait for a person: their words say so, long before any time-out."""
    guest = machine("exit 1", "printf '%b' '" + said + "' > {console}; sleep 60", firmware=True)
    guest.power_on(Silent())
    with pytest.raises(ImageFault) as caught:
        guest.wait(timeout=50, report=Silent())
    assert caught.value.problem == f"the guest found nothing to boot: {why}"
    assert not any("\033" in line for line in caught.value.evidence), (
        "which would clear a reader's screen"
    )


def test_a_boot_sector_that_is_none_is_told_of(machine, monkeypatch):
    """The BIOS runs whatever is there, and is not heard of again."""
    monkeypatch.setattr(qemu, "SPEECHLESS", 1.0)
    guest = machine("exit 1", "echo 'Booting from Hard Disk...' > {console}; sleep 60", firmware=True)
    guest.power_on(Silent())
    with pytest.raises(ImageFault, match="the disk's boot sector is no boot loader"):
        guest.wait(timeout=50, report=Silent())


def test_what_a_system_that_runs_says_is_no_word_of_a_loader(machine):
    """Only before the kernel's first words does anybody look for those."""
    script = "printf '[    0.1] Linux\\ngrub> No bootable device\\n' > {console}; sleep 60"
    guest = machine("exit 1", script, firmware=True)
    guest.power_on(Silent())
    with pytest.raises(ImageFault, match="let nobody in within 1 s"):
        guest.wait(timeout=1, report=Silent())


def test_of_several_guests_each_comes_in_its_time_and_none_hides_a_fault(machine):
    """The one that fails is told of, though another is still waited for."""
    slow, bad = machine("exit 1"), machine("exit 1", "sleep 1; exit 0", name="the bad one")
    bad.console = slow.console.with_name("other.log")
    for each in (slow, bad):
        each.power_on(Silent())
    began = time.monotonic()
    with pytest.raises(ImageFault, match="the bad one switched itself off"):
        list(qemu.arrivals([slow, bad], timeout=30, report=Silent()))
    assert time.monotonic() - began < 10


def test_free_ports_are_different_ones():
    """Two guests at once must not be given the same."""
    assert len(set(qemu.free_ports(50))) == 50


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
