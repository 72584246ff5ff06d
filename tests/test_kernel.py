"""Kernels come and go inside an instance, by its own package manager, and it boots the newest that is there."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tasks import img
from tasks.kit.proc import Command, run
from tasks.kit.qemu import Guest, free_port
from tasks.kit.report import Silent
from tasks.plan import machine
from tasks.plan.machine import Machine
from tasks.spec.model import Script
from tests import projects, stages

PATIENCE = 300.0  # seconds, for what takes an emulated processor a minute
# What carries an older kernel into the image, behind itself: no script of a build has a network.
OLDER = """\
#!/bin/sh
set -eu
tail -c {size} "$0" > /root/older.deb
newer=$(dpkg-query -W -f '${{Package}} ' 'linux-image-[0-9]*')
apt-get --yes purge linux-image-cloud-amd64 $newer
dpkg -i /root/older.deb
rm /root/older.deb
sed -i 's/$/ quiet/' /etc/kernel/cmdline
exit
"""


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """The two newest of the mirror's: (version, package), the older first. This machine's own apt is left as it is."""
    space = tmp_path_factory.mktemp("kernels")
    for name in ("lists/partial", "archives/partial"):
        (space / name).mkdir(parents=True)
    options = [
        f"-oDir::State::lists={space}/lists",
        f"-oDir::Cache={space}",
        "-oAPT::Sandbox::User=root",
    ]

    def apt(*args: str) -> str:
        return subprocess.run(
            [args[0], *options, *args[1:]], cwd=space, check=True, capture_output=True, text=True
        ).stdout

    apt("apt-get", "update")
    names = apt("apt-cache", "pkgnames", "linux-image-6.1.0-")
    versions = re.findall(r"^linux-image-(6\.1\.0-\d+-cloud-amd64)$", names, re.MULTILINE)
    chosen = sorted(versions, key=lambda each: int(each.split("-")[1]))[-2:]
    assert len(chosen) == 2, "the mirror has one kernel alone"
    apt("apt-get", "download", *(f"linux-image-{each}" for each in chosen))
    return [(each, next(space.glob(f"linux-image-{each}_*.deb"))) for each in chosen]


@pytest.fixture
def guest(built, kernels, tmp_path, monkeypatch):
    """An image with the older kernel, switched on."""
    monkeypatch.chdir(tmp_path)
    project = projects.clone(built, tmp_path / "project")
    loaded = stages.loaded(project)
    older = kernels[0][1].read_bytes()
    Path("older.sh").write_bytes(OLDER.format(size=len(older)).encode() + older)
    order = img.Order.of(stages.image(loaded), loaded.epoch)
    at = stages.shelf()
    stages.make_img(order.model_copy(update={"scripts": (Script(run="older.sh"),)}), at)
    disk, port, log = tmp_path / "disk.qcow2", free_port(), tmp_path / "qemu.log"
    run(machine.overlay(at.img, disk, size=at.img.stat().st_size + machine.ROOM))
    plan = Machine("x86_64", 1 << 30, disk, None, None, "", {22: port}, tmp_path / "console")
    able = machine.accelerators("x86_64", os.uname().machine)
    commands: dict[str, Command] = {each: plan.command(each) for each in able}
    made = Guest(commands, plan.console, port, "root", at.private_key, log, firmware=True)
    made.power_on(Silent())
    try:
        yield made
    finally:
        made.off()


def rebooted(guest: Guest) -> str:
    """The kernel that runs once it is up again. It is switched off and on: an emulated processor takes minutes to start
    over in memory that is full of code which it has translated.
    """
    guest.ssh("systemctl --no-block reboot")
    assert guest.process is not None
    guest.process.wait(timeout=PATIENCE)
    guest.power_on(Silent())
    guest.wait(timeout=PATIENCE, report=Silent())
    return guest.ssh("uname -r").strip()


def menu(guest: Guest) -> list[str]:
    """The kernels of the boot menu, the default first."""
    return re.findall(
        r"^ *linux /boot/vmlinuz-(\S+)", guest.ssh("cat /boot/grub/grub.cfg"), re.MULTILINE
    )


def drivers(guest: Guest, version: str) -> set[str]:
    """Of those that instances boot from, what a kernel has in itself or in its initramfs."""
    listed = guest.ssh(
        f"lsinitramfs /boot/initrd.img-{version}; cat /lib/modules/{version}/modules.builtin",
        timeout=PATIENCE,
    )
    return {name for name in ("nvme", "ena", "xen-blkfront", "virtio_blk") if f"/{name}.ko" in listed}


def test_a_kernel_that_is_installed_boots_and_one_that_is_removed_is_not_offered(guest, kernels):
    """By dpkg alone, and without a hand: what runs is the newest there is, with the drivers of every instance."""
    (older, _), (newer, package) = kernels
    guest.wait(timeout=PATIENCE, report=Silent())
    assert guest.ssh("uname -r").strip() == older
    assert menu(guest) == [older]
    login = ["-P", str(guest.port), "-i", str(guest.key), "-oStrictHostKeyChecking=no"]
    login += ["-oUserKnownHostsFile=/dev/null", "-oBatchMode=yes"]
    subprocess.run(["scp", "-F", "none", *login, package, "root@127.0.0.1:new.deb"], check=True)
    said = guest.ssh("dpkg -i new.deb 2>&1", timeout=PATIENCE)
    assert f"boot menu: {newer} {older}" in said
    assert menu(guest) == [newer, older]
    assert guest.ssh("grep -c ' quiet' /boot/grub/grub.cfg").strip() == "2", (
        "as /etc/kernel/cmdline says"
    )
    assert drivers(guest, newer) == {"nvme", "ena", "xen-blkfront", "virtio_blk"}
    assert rebooted(guest) == newer
    away = "linux-base linux-base/removing-running-kernel boolean false"
    said = guest.ssh(
        f"echo {away} | debconf-set-selections; DEBIAN_FRONTEND=noninteractive dpkg -P linux-image-{newer} 2>&1",
        timeout=PATIENCE,
    )
    assert f"boot menu: {older}" in said
    assert menu(guest) == [older], "which it was started by at first"
