"""Nothing goes on that did not boot and let its key in: real guests, some of them spoiled on purpose."""

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tasks import boot, img, keys
from tasks.kit.fault import ImageFault
from tasks.kit.report import Silent
from tasks.plan import hybrid, inspection, machine, proof
from tasks.plan.bootmenu import MENU
from tasks.plan.hybrid import ROOT_AT
from tasks.spec.model import Script
from tasks.spec.record import BootReport, FileStamp, ImgStamp, Package, RootfsStamp
from tests import projects, stages


@pytest.fixture
def project(built, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copied = projects.clone(built, tmp_path / "project")
    loaded = stages.loaded(copied)
    copied.order = boot.Order.of(stages.image(loaded))
    stages.shelf().boot.unlink()
    return copied


def debugfs(image: Path, script: str) -> str:
    """What it answers, of the root file system."""
    done = subprocess.run(
        ["debugfs", "-w", "-f", "/dev/stdin", f"{image}?offset={ROOT_AT}"],
        input=script,
        text=True,
        check=True,
        capture_output=True,
    )
    return done.stdout


def stamp(image: Path) -> None:
    """It was changed, and the stamp vouches for it."""
    old = ImgStamp.read(stages.shelf().img_stamp)
    old.model_copy(update={"file": FileStamp.of(image)}).write(stages.shelf().img_stamp)


def rewrite(image: Path, path: str, text: str) -> None:
    """Another file in the image."""
    fresh = image.with_name("fresh")
    fresh.write_text(text)
    debugfs(image, f"rm {path}\nwrite {fresh} {path}\n")
    fresh.unlink()
    stamp(image)


def menu(image: Path, more: str) -> str:
    """The image's own menu with more on the kernel's command line."""
    said = debugfs(image, f"cat {MENU}\n")
    return said[said.index("set default") :].replace("115200n8", f"115200n8 {more}")


def by(project, *firmwares):
    """The stage tries these alone: what is to be seen is not of the others."""
    project.order = project.order.model_copy(update={"firmwares": firmwares})


def refused(project, said: str, **other: Path) -> ImageFault:
    at = stages.shelf()
    with pytest.raises(ImageFault, match=said) as caught:
        stages.make_boot(project.order, at, **other)
    assert not at.boot.exists()
    assert not (at.here / "guest").exists(), "what the guest needed is gone"
    return caught.value


def test_the_image_booted_by_each_firmware_and_was_inspected(built):
    """The evidence names firmware, drive, accelerator and checks; the consoles are kept; the image is what it was."""
    report = BootReport.read(built.build / "debian-12/boot.json")
    stamped = ImgStamp.read(built.build / "debian-12/debian-12.img.stamp").file
    assert (
        report.sha256 == stamped.sha256 == FileStamp.of(built.build / "debian-12/debian-12.img").sha256
    )
    assert [(each.firmware, each.drive) for each in report.boots] == [
        ("bios", "virtio"),
        ("uefi", "nvme"),
    ]
    for each in report.boots:
        assert [check.name for check in each.checks] == list(inspection.TODAY)
        assert all(check.passed for check in each.checks)
        assert each.accelerator == "kvm" or each.because
        assert each.seconds > 0
    console = (built.build / "debian-12/console.log").read_text()
    bios, uefi = console.removeprefix("==> bios, virtio <==\n").split("==> uefi, nvme <==\n")
    assert "SeaBIOS" in bios
    assert "efi: EFI v2" in uefi
    for each in (bios, uefi):
        assert "Linux version" in each
        assert "BEGIN SSH HOST KEY KEYS" in each


def test_each_firmware_boots_from_the_others_drive_as_well(project, monkeypatch):
    """Types of EC2's have a BIOS and NVMe, too: what the stage does not try boots all the same."""
    monkeypatch.setattr(proof, "DRIVES", {"bios": "nvme", "uefi": "virtio"})
    stages.make_boot(project.order, stages.shelf())
    report = BootReport.read(stages.shelf().boot)
    assert [(each.firmware, each.drive) for each in report.boots] == [
        ("bios", "nvme"),
        ("uefi", "virtio"),
    ]
    assert all(check.passed for each in report.boots for check in each.checks)


def test_a_disk_that_boots_by_its_bios_alone_fails_the_stage_in_seconds(project):
    """The fault names the firmware and the drive; nobody waits for the other, nor for a time-out."""
    at = stages.shelf()
    with at.img.open("r+b") as image:
        image.seek(hybrid.ESP_AT)
        image.write(bytes(ROOT_AT - hybrid.ESP_AT))
    stamp(at.img)
    began = time.monotonic()
    refused(project, r"booted by UEFI from nvme, found nothing to boot: BdsDxe: failed to load Boot0001")
    assert time.monotonic() - began < 60


def test_a_disk_that_boots_by_uefi_alone_fails_the_stage_in_seconds(project):
    """Its boot sector leads nowhere."""
    at = stages.shelf()
    with at.img.open("r+b") as image:
        image.seek(hybrid.CORE_AT)
        image.write(bytes(hybrid.ESP_AT - hybrid.CORE_AT))
    stamp(at.img)
    began = time.monotonic()
    refused(project, "booted by BIOS from virtio, found nothing to boot: GRUB GRUB")
    assert time.monotonic() - began < 60


def test_a_disk_without_a_boot_menu_fails_the_stage(project):
    """GRUB waits for somebody to type."""
    by(project, "bios")
    at = stages.shelf()
    debugfs(at.img, f"rm {MENU}\n")
    stamp(at.img)
    refused(project, "booted by BIOS from virtio, found nothing to boot: (error: |grub)")


class Waiting:
    """Stands for a guest that lets its key in at once: what counts here is when it is switched on."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self.name, self.seen = name, seen
        self.commands = {"kvm": "by kvm", "tcg": "by tcg"}
        self.accelerator = self.because = ""
        self.began = time.monotonic()

    def power_on(self, _):
        self.seen.append(f"{self.name} on with {'/'.join(self.commands)}")
        self.accelerator, self.because = "tcg", "KVM is there but broken"

    def arrived(self, **_):
        return True


@pytest.mark.parametrize(
    ("memory", "seen"),
    [
        (4 << 30, ["a on with kvm/tcg", "b on with tcg", "a in", "b in"]),
        (1 << 30, ["a on with kvm/tcg", "a in", "b on with kvm/tcg", "b in"]),
    ],
    ids=["enough memory", "memory for one"],
)
def test_guests_run_side_by_side_where_there_is_memory_for_them(built, monkeypatch, memory, seen):
    """And then a KVM that is broken is tried by the first alone."""
    monkeypatch.chdir(built.path)
    order = boot.Order.of(stages.image(stages.loaded(built)))
    monkeypatch.setattr(boot, "available", lambda: memory)
    told: list[str] = []
    guests: Any = {way: Waiting(name, told) for way, name in zip(order.ways, "ab", strict=True)}
    for _, guest, _ in boot._arriving(order, guests, Silent()):
        told.append(f"{guest.name} in")
    assert told == seen


def test_a_kernel_that_panics_fails_the_stage(project):
    """With the last lines of the console, the cause among them."""
    at = stages.shelf()
    by(project, "bios")
    rewrite(at.img, MENU, menu(at.img, "init=/bin/false panic=0"))
    fault = refused(project, "did not come up: Kernel panic - not syncing: Attempted to kill init")
    assert any("Kernel panic" in line for line in fault.evidence)


def test_a_guest_that_hangs_fails_the_stage_in_the_time_it_was_given(project):
    """It boots, and waits for ever."""
    at = stages.shelf()
    by(project, "bios")
    rewrite(at.img, MENU, menu(at.img, "init=/usr/bin/cat"))
    limit = project.order.boot.model_copy(update={"timeout": 12})
    project.order = project.order.model_copy(update={"boot": limit})
    refused(project, "let nobody in within 12 s")


def test_a_guest_that_refuses_the_key_fails_the_stage(project):
    """At once: the right key would have been let in."""
    by(project, "bios")
    at = stages.shelf()
    other = {
        name: Path("other") / name
        for name in ("private_key", "public_key", "signing_key", "certificate")
    }
    keys.body(keys.Order(owner="stranger", ssh="ed25519"), report=Silent(), **other)
    fault = refused(project, "is up, but does not let its key in", private_key=other["private_key"])
    assert "Permission denied" in fault.evidence[0]
    assert at.console.exists()


def test_a_guest_that_is_not_what_was_built_fails_the_stage(project):
    """A unit that fails, and a package that the stamp knows and the guest does not: both are told."""
    by(project, "uefi")
    at = stages.shelf()
    rewrite(
        at.img,
        "/etc/systemd/system/first-boot.service",
        "[Service]\nType=oneshot\nExecStart=/bin/false\n",
    )
    stamp = RootfsStamp.read(at.rootfs_stamp)
    ghost = Package(name="ghost", version="1", architecture="all")
    stamp.model_copy(update={"packages": (*stamp.packages, ghost)}).write(at.rootfs_stamp)
    fault = refused(project, "booted by UEFI from nvme, came up, but 3 of 9 checks failed")
    assert "packages as recorded: missing: ghost 1 all" in fault.evidence
    assert "system is up: degraded" in fault.evidence
    assert "no failed units: first-boot.service" in fault.evidence


def test_a_first_boot_script_runs(project):
    """Once the network is up, and the boot check waits for it: a script that fails is found here, not on an instance."""
    by(project, "bios")
    at, loaded = stages.shelf(), stages.loaded(project)
    Path("hello.sh").write_text(
        "#!/bin/sh\nip -brief -4 address show scope global > /dev/console\necho it ran > /dev/console\n"
    )
    order = img.Order.of(stages.image(loaded), loaded.epoch)
    stages.make_img(
        order.model_copy(update={"scripts": (Script(run="hello.sh", when="first-boot"),)}), at
    )
    stages.make_boot(project.order, at)
    console = at.console.read_text()
    assert console.count("it ran") == 1
    assert machine.ADDRESS in console


def test_an_image_that_was_swapped_is_not_booted(project):
    """Its stamp is of another."""
    at = stages.shelf()
    at.img.touch()
    refused(project, "is not the file that was stamped")
