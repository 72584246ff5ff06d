"""Nothing goes on that did not boot and let its key in: real guests, some of them spoiled on purpose."""

import subprocess
from pathlib import Path

import pytest

from tasks import boot, img, keys
from tasks.kit.fault import ImageFault
from tasks.kit.report import Silent
from tasks.plan import machine
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


def rewrite(image: Path, path: str, text: str) -> None:
    """Another file in the image, written by debugfs; and a stamp that vouches for it."""
    fresh = image.with_name("fresh")
    fresh.write_text(text)
    script = f"rm {path}\nwrite {fresh} {path}\n"
    subprocess.run(
        ["debugfs", "-w", "-f", "/dev/stdin", image],
        input=script,
        text=True,
        check=True,
        capture_output=True,
    )
    fresh.unlink()
    old = ImgStamp.read(stages.shelf().img_stamp)
    old.model_copy(update={"file": FileStamp.of(image)}).write(stages.shelf().img_stamp)


def menu(image: Path, more: str) -> str:
    """The image's own menu with more on the kernel's command line."""
    done = subprocess.run(
        ["debugfs", "-R", "cat /boot/grub/menu.lst", image], capture_output=True, text=True, check=True
    )
    return done.stdout.replace("115200n8", f"115200n8 {more}")


def refused(project, said: str, **other: Path) -> ImageFault:
    at = stages.shelf()
    with pytest.raises(ImageFault, match=said) as caught:
        stages.make_boot(project.order, at, **other)
    assert not at.boot.exists()
    assert not (at.here / "guest").exists(), "what the guest needed is gone"
    return caught.value


def test_the_image_booted_and_was_inspected(built):
    """The evidence names accelerator and checks; the console is kept; the image is what it was."""
    report = BootReport.read(built.build / "debian-12/boot.json")
    stamp = ImgStamp.read(built.build / "debian-12/debian-12.img.stamp")
    assert (
        report.sha256
        == stamp.file.sha256
        == FileStamp.of(built.build / "debian-12/debian-12.img").sha256
    )
    assert all(check.passed for check in report.checks)
    assert len(report.checks) == 9
    assert report.accelerator == "kvm" or report.because
    console = (built.build / "debian-12/console.log").read_text()
    assert "Linux version" in console
    assert "BEGIN SSH HOST KEY KEYS" in console


def test_a_kernel_that_panics_fails_the_stage(project):
    """With the last lines of the console, the cause among them."""
    at = stages.shelf()
    rewrite(at.img, "/boot/grub/menu.lst", menu(at.img, "init=/bin/false panic=0"))
    fault = refused(
        project, "the guest did not come up: Kernel panic - not syncing: Attempted to kill init"
    )
    assert any("Kernel panic" in line for line in fault.evidence)


def test_a_guest_that_hangs_fails_the_stage_in_the_time_it_was_given(project):
    """It boots, and waits for ever."""
    at = stages.shelf()
    rewrite(at.img, "/boot/grub/menu.lst", menu(at.img, "init=/usr/bin/cat"))
    limit = project.order.boot.model_copy(update={"timeout": 12})
    project.order = project.order.model_copy(update={"boot": limit})
    refused(project, "let nobody in within 12 s")


def test_a_guest_that_refuses_the_key_fails_the_stage(project):
    """At once: the right key would have been let in."""
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
    at = stages.shelf()
    rewrite(
        at.img,
        "/etc/systemd/system/first-boot.service",
        "[Service]\nType=oneshot\nExecStart=/bin/false\n",
    )
    stamp = RootfsStamp.read(at.rootfs_stamp)
    ghost = Package(name="ghost", version="1", architecture="all")
    stamp.model_copy(update={"packages": (*stamp.packages, ghost)}).write(at.rootfs_stamp)
    fault = refused(project, "the image booted, but 3 of 9 checks failed")
    assert "packages as recorded: missing: ghost 1 all" in fault.evidence
    assert "system is up: degraded" in fault.evidence
    assert "no failed units: first-boot.service" in fault.evidence


def test_a_first_boot_script_runs(project):
    """Once the network is up, and the boot check waits for it: a script that fails is found here, not on an instance."""
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
