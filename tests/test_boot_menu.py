"""What packages of kernels run in an instance, run here by the same shell: only that /boot and its like lie in a folder."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.projects import ROOT

ARGUMENTS = "root=UUID=11111111-2222-3333-4444-555555555555 ro console=ttyS0,115200n8"
PLACES = ("/boot/", "/etc/kernel/", "/usr/local/lib/", "/usr/bin/dracut")


@dataclass
class Instance:
    root: Path

    def __post_init__(self):
        for folder in ("boot", "etc/kernel", "usr/local/lib/doit-ami", "usr/bin"):
            (self.root / folder).mkdir(parents=True)
        (self.root / "etc/kernel/cmdline").write_text(f"{ARGUMENTS}\n")
        self.program("boot-menu.sh", "usr/local/lib/doit-ami/boot-menu")

    def program(self, template: str, there: str) -> Path:
        text = (ROOT / "templates" / template).read_text()
        for place in PLACES:
            text = re.sub(rf"(?<![\w$}}]){place}", f"{self.root}{place}", text)
        text = re.sub(r"\bls /boot\b", f"ls {self.root}/boot", text)
        path = self.root / there
        path.write_text(text)
        path.chmod(0o755)
        return path

    def run(self, path: Path, *args: str, **env: str) -> str:
        done = subprocess.run(
            ["sh", path, *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env={"PATH": f"{self.root}/usr/bin:{os.environ['PATH']}", **env},
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def menu(self, *names: str) -> str:
        """With these in /boot, what it says."""
        for name in names:
            (self.root / "boot" / name).write_bytes(b"")
        return self.run(self.root / "usr/local/lib/doit-ami/boot-menu")

    @property
    def written(self) -> str:
        return (self.root / "boot/grub/grub.cfg").read_text().replace(str(self.root), "")

    @property
    def order(self) -> list[str]:
        return re.findall(r"^ *linux /boot/vmlinuz-(\S+)", self.written, re.MULTILINE)


@pytest.fixture
def instance(tmp_path):
    return Instance(tmp_path)


def test_the_newest_kernel_comes_first(instance):
    """By their versions, not by their letters."""
    versions = ["6.1.0-9-cloud-amd64", "6.1.0-10-cloud-amd64", "5.10.0-30-cloud-amd64"]
    said = instance.menu(*(f"{what}-{each}" for each in versions for what in ("vmlinuz", "initrd.img")))
    assert instance.order == [versions[1], versions[0], versions[2]]
    assert said == f"boot menu: {versions[1]} {versions[0]} {versions[2]}\n"
    assert f"    linux /boot/vmlinuz-{versions[1]} {ARGUMENTS}" in instance.written
    assert f"    initrd /boot/initrd.img-{versions[1]}\n" in instance.written


def test_the_kernels_of_rpm_are_known_by_their_own_names(instance):
    """A rescue kernel, and what a package manager has beside the real ones, are none of the menu's."""
    version = "5.14.0-503.el9.x86_64"
    others = (
        "vmlinuz-0-rescue-0123456789abcdef",
        f"vmlinuz-{version};6543abcd",
        f"vmlinuz-{version}.rpmsave",
    )
    backups = (
        "vmlinuz-6.1.0-9.dpkg-new",
        "vmlinuz-6.1.0-9.old",
        "vmlinuz-6.1.0-9.bak",
        "config-9",
        "memtest",
    )
    instance.menu(f"vmlinuz-{version}", f"initramfs-{version}.img", *others, *backups)
    assert instance.order == [version]
    assert f"    initrd /boot/initramfs-{version}.img\n" in instance.written


def test_a_kernel_without_an_initramfs_is_the_last_resort(instance):
    """It may be half installed; but where there is no other, it is booted."""
    instance.menu("vmlinuz-6.9.0")
    assert instance.order == ["6.9.0"]
    assert "initrd" not in instance.written
    instance.menu("vmlinuz-6.1.0", "initrd.img-6.1.0")
    assert instance.order == ["6.1.0", "6.9.0"]


def test_without_a_kernel_the_menu_stays_as_it_was(instance):
    """And whoever takes the last one away is told; his package manager goes on."""
    instance.menu("vmlinuz-6.1.0")
    before = instance.written
    (instance.root / "boot/vmlinuz-6.1.0").unlink()
    assert "no kernel is in" in instance.menu()
    assert instance.written == before


def test_grub_itself_takes_the_menu_for_a_script(instance):
    """By its own checker."""
    (instance.root / "etc/kernel/cmdline").write_text(f"{ARGUMENTS}\nquiet\n")
    instance.menu("vmlinuz-6.1.0", "initrd.img-6.1.0", "vmlinuz-6.2.0", "initrd.img-6.2.0")
    subprocess.run(["grub-script-check", instance.root / "boot/grub/grub.cfg"], check=True)
    assert re.search(r"ttyS0,115200n8 quiet *$", instance.written, re.MULTILINE)
    assert not (instance.root / "boot/grub/grub.cfg.new").exists()


@pytest.fixture
def hook(instance):
    """kernel-install's plug-in, and a dracut that only writes down what it was told to make."""
    dracut = instance.root / "usr/bin/dracut"
    dracut.write_text('#!/bin/sh\nfor last; do :; done\necho "$@" > "$last"\n')
    dracut.chmod(0o755)
    image = instance.root / "vmlinuz"
    image.write_bytes(b"kernel")
    path = instance.program("rpm/kernel-hook", "hook")
    return lambda command, version, **env: instance.run(
        path, command, version, "/none", str(image), **env
    )


def test_kernel_install_brings_a_kernel_into_the_menu_and_takes_it_away(instance, hook):
    """Where it leaves the kernel with its modules, as without a boot loader that it knows."""
    said = hook("add", "6.1.0")
    assert "boot menu: 6.1.0\n" in said
    assert (instance.root / "boot/vmlinuz-6.1.0").read_bytes() == b"kernel"
    made = (instance.root / "boot/initramfs-6.1.0.img").read_text()
    assert made.startswith("--kver 6.1.0 ")
    hook("add", "6.2.0")
    assert instance.order == ["6.2.0", "6.1.0"]
    hook("remove", "6.2.0")
    assert instance.order == ["6.1.0"]
    left = sorted(each.name for each in (instance.root / "boot").iterdir())
    assert left == ["grub", "initramfs-6.1.0.img", "vmlinuz-6.1.0"]


def test_an_initramfs_that_others_made_is_taken(instance, hook):
    """From /boot, or from where kernel-install gathers what its plug-ins make."""
    (instance.root / "boot/initramfs-6.1.0.img").write_bytes(b"theirs")
    hook("add", "6.1.0")
    assert (instance.root / "boot/initramfs-6.1.0.img").read_bytes() == b"theirs"
    staging = instance.root / "staging"
    staging.mkdir()
    (staging / "initrd").write_bytes(b"staged")
    hook("add", "6.2.0", KERNEL_INSTALL_STAGING_AREA=str(staging))
    assert (instance.root / "boot/initramfs-6.2.0.img").read_bytes() == b"staged"


def test_other_commands_of_kernel_install_are_none_of_ours(instance, hook):
    hook("inspect", "6.1.0")
    assert list((instance.root / "boot").iterdir()) == []


def test_the_kernels_of_debian_call_it(instance):
    """As their postinst and postrm do."""
    path = instance.program("debian/kernel-hook", "hook")
    (instance.root / "boot/vmlinuz-6.1.0").write_bytes(b"")
    assert "boot menu: 6.1.0" in instance.run(path, "6.1.0", "/boot/vmlinuz-6.1.0")
    assert instance.order == ["6.1.0"]
