"""The image is the tree, what the recipe lays over it, and nothing else; the same inputs give the same bytes."""

import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest

from tasks import img
from tasks.kit import files
from tasks.kit.fault import ConfigFault, ImageFault, ToolFault
from tasks.spec.load import load
from tasks.spec.model import Disk, LaidFile, Script
from tasks.spec.record import ImgStamp
from tests import projects, stages
from tests.projects import ROOT


@pytest.fixture
def project(built, tmp_path, monkeypatch):
    """The built project, to be changed."""
    monkeypatch.chdir(tmp_path)
    copied = projects.clone(built, tmp_path / "project")
    loaded = stages.loaded(copied)
    copied.order = img.Order.of(stages.image(loaded), loaded.epoch)
    return copied


def debugfs(image: Path, command: str) -> str:
    """What a program that is not ours reads in the image."""
    done = subprocess.run(
        ["debugfs", "-R", command, str(image)], capture_output=True, text=True, check=True
    )
    return done.stdout


def owner_and_mode(image: Path, path: str) -> tuple[str, ...]:
    found = re.search(
        r"Mode: +(\d+).*?User: +(\d+) +Group: +(\d+)", debugfs(image, f"stat {path}"), re.DOTALL
    )
    assert found, f"{path} is not in the image"
    return found.groups()


def test_the_recipe_is_in_the_image(built):
    """Line by line what the recipe of 2008 puts there, in today's words."""
    image, at = built.build / "debian-12/debian-12.img", "/root/.ssh"
    public = (built.build / "keys/debian-12/ssh_key.pub").read_text()
    identifier = re.search(r"UUID: +(\S+)", debugfs(image, "stats"))
    assert identifier
    assert debugfs(image, "cat /etc/fstab").splitlines()[-1].split()[1:4] == [
        "/", "ext4", "defaults,errors=remount-ro,x-systemd.growfs",
    ]  # fmt: skip
    assert debugfs(image, f"cat {at}/authorized_keys") == public
    assert owner_and_mode(image, at) == ("0700", "0", "0")
    assert owner_and_mode(image, f"{at}/authorized_keys") == ("0600", "0", "0")
    sshd = debugfs(image, "cat /etc/ssh/sshd_config.d/10-doit-ami.conf").splitlines()
    assert {"UseDNS no", "PermitRootLogin prohibit-password"} <= set(sshd)
    assert "DHCP=yes" in debugfs(image, "cat /etc/systemd/network/80-dhcp.network")
    assert debugfs(image, "cat /etc/hostname") == "debian-12\n"
    assert debugfs(image, "cat /etc/motd") == "Debian 12, built by doit-ami\n"
    assert debugfs(image, "cat /etc/machine-id") == ""
    assert owner_and_mode(image, "/etc/machine-id") == ("0644", "0", "0")
    assert "ssh_host" not in debugfs(image, "ls /etc/ssh")
    menu = debugfs(image, "cat /boot/grub/menu.lst")
    assert f"root=UUID={identifier[1]} " in menu
    assert "console=ttyS0" in menu
    assert f"UUID={identifier[1]} " in debugfs(image, "cat /etc/fstab")


def test_device_nodes_are_nodes(built):
    """console, null and zero, as MAKEDEV made them; nothing else is in /dev."""
    image = built.build / "debian-12/debian-12.img"
    nodes = re.findall(r"^ *\d+ +(2\d+) .*? (\w+) *$", debugfs(image, "ls -l /dev"), re.MULTILINE)
    assert nodes == [("20600", "console"), ("20666", "null"), ("20666", "zero")]
    assert "05:01" in debugfs(image, "stat /dev/console")


def test_the_file_system_is_clean_and_of_the_size_that_was_asked_for(built):
    """By its own checker, and sparse."""
    image = built.build / "debian-12/debian-12.img"
    subprocess.run(["e2fsck", "-f", "-n", str(image)], check=True, capture_output=True)
    assert image.stat().st_size == 2 << 30
    assert image.stat().st_blocks * 512 < 1 << 30


def test_the_same_inputs_give_the_same_bytes(project, tmp_path):
    """Made again, elsewhere, under another umask and clock."""
    at = stages.shelf()
    before = ImgStamp.read(at.img_stamp)
    old = os.umask(0o077)
    try:
        stages.make_img(
            project.order, at, img=tmp_path / "elsewhere" / "again.img", stamp=tmp_path / "again.stamp"
        )
    finally:
        os.umask(old)
    again = ImgStamp.read(tmp_path / "again.stamp")
    assert again.file.sha256 == before.file.sha256
    with (tmp_path / "elsewhere" / "again.img").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == before.file.sha256


def test_scripts_run_in_the_image_alone(project):
    """As root, in its chroot, without a network, without a view of ours; and no copy stays behind."""
    script = Path("probe.sh")
    script.write_text(
        "#!/bin/sh -eu\n"
        "id -u > /etc/probe; ls / >> /etc/probe; ls -d /proc/[0-9]* | wc -l >> /etc/probe\n"
        "cat /proc/net/dev | tail -n +3 | wc -l >> /etc/probe; echo $SOURCE_DATE_EPOCH >> /etc/probe; : > /dev/null\n"
    )
    later = Path("later.d.sh")
    later.write_text("#!/bin/sh\necho once\n")
    scripts = (Script(run="probe.sh"), Script(run="later.d.sh", when="first-boot"))
    at = stages.shelf()
    stages.make_img(project.order.model_copy(update={"scripts": scripts}), at)
    said = debugfs(at.img, "cat /etc/probe").splitlines()
    assert said[0] == "0"
    assert {"etc", "root", "vmlinuz"} <= set(said)
    assert int(said[-3]) < 6
    assert said[-2:] == ["1", "1767225600"]
    assert "probe.sh" not in debugfs(at.img, "ls /root")
    assert debugfs(at.img, "cat /usr/local/lib/doit-ami/first-boot/00-later-d") == later.read_text()
    assert "null" in debugfs(at.img, "ls /dev")
    assert "urandom" not in debugfs(at.img, "ls /dev")


def unchanged(at):
    """The image and stamp that were there are there still, and nothing beside them."""
    ImgStamp.read(at.img_stamp).file.check(at.img)
    assert not files.scratch_of(at.img).exists()
    assert not (at.here / "tree").exists()


def test_a_script_that_fails_is_quoted(project):
    """Its own words are the message, and the old image stays."""
    Path("bad.sh").write_text("#!/bin/sh\necho the reason >&2\nexit 7\n")
    order = project.order.model_copy(update={"scripts": (Script(run="bad.sh"),)})
    with pytest.raises(ToolFault, match=r"could not run bad.sh: \S+ ended with 7") as caught:
        stages.make_img(order, stages.shelf())
    assert caught.value.evidence[-1] == "the reason"
    unchanged(stages.shelf())


def test_a_disk_that_is_too_small_says_by_how_much(project):
    """Measured, not guessed."""
    order = project.order.model_copy(update={"disk": Disk.model_validate({"size": "256 MiB"})})
    with pytest.raises(
        ImageFault, match=r"the content takes (\d+) MiB, the disk has 256: (\d+) MiB too small"
    ) as caught:
        stages.make_img(order, stages.shelf())
    need, lack = (int(number) for number in re.findall(r"(\d+) MiB", caught.value.problem)[:2])
    assert need > 256
    assert lack == pytest.approx(need - 256, abs=1)
    write = re.search(r"disk.size: (\d+ MiB) or more", caught.value.problem)
    assert write
    enough = project.order.model_copy(update={"disk": Disk.model_validate({"size": write[1]})})
    stages.make_img(enough, stages.shelf())
    assert stages.shelf().img.stat().st_size == int(write[1].split()[0]) << 20


def test_a_template_that_does_not_render_touches_nothing(project):
    """It is found before the first command runs."""
    Path("templates/mine").write_text("fine\n{{ nosuch }}\n")
    order = project.order.model_copy(update={"files": {"/etc/mine": LaidFile(template="mine")}})
    with pytest.raises(
        ConfigFault, match="template mine does not render: 'nosuch' is undefined"
    ) as caught:
        stages.make_img(order, stages.shelf())
    assert caught.value.where == "templates/mine:2"
    unchanged(stages.shelf())


def test_a_root_file_system_that_was_swapped_is_refused(project):
    """Its stamp would vouch for packages that are not in it."""
    at = stages.shelf()
    with at.rootfs.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ImageFault, match=r"rootfs.tar is not the file that was stamped"):
        stages.make_img(project.order, at)
    unchanged(at)


def test_an_image_whose_key_comes_at_boot_holds_none(project):
    """What asks for the key is there instead, and those keys that were asked for by name."""
    at, key = stages.shelf(), "ssh-ed25519 AAAAextra colleague"
    for key_from, there in {"metadata": "metadata-key.service", "cloud-init": ""}.items():
        ssh = project.order.ssh.model_copy(update={"key_from": key_from})
        stages.make_img(project.order.model_copy(update={"ssh": ssh}), at)
        assert "authorized_keys" not in debugfs(at.img, "ls /root/.ssh")
        wanted = debugfs(at.img, "ls /etc/systemd/system/multi-user.target.wants")
        assert there in wanted
        assert ("user-data.service" in wanted) == (key_from == "metadata")
        assert ("90_doit-ami" in debugfs(at.img, "ls /etc/cloud/cloud.cfg.d")) == (
            key_from == "cloud-init"
        )
    ssh = ssh.model_copy(update={"extra_keys": (key,)})
    stages.make_img(project.order.model_copy(update={"ssh": ssh}), at)
    assert debugfs(at.img, "cat /root/.ssh/authorized_keys") == f"{key}\n"


@pytest.mark.parametrize("key_from", ["metadata", "cloud-init"])
def test_a_key_that_nothing_would_ask_for_is_refused(tmp_path, key_from):
    """System V's init knows no units, and cloud-init came later."""
    order = img.Order.of(stages.image(load(ROOT / "config", ROOT / "templates"), "centos-4.7-i386"), 0)
    ssh = order.ssh.model_copy(update={"key_from": key_from})
    with pytest.raises(ConfigFault, match="nothing in this image would ask for its key") as caught:
        stages.make_img(order.model_copy(update={"ssh": ssh}), stages.shelf("centos-4.7-i386"))
    assert caught.value.where == "config/images/centos-4.7-i386.yaml: ssh.key_from"


def test_a_script_that_nothing_would_run_is_refused(tmp_path):
    """System V's init knows no units, and a first-boot script would lie there for ever."""
    order = img.Order.of(
        stages.image(load(ROOT / "config", ROOT / "templates"), "centos-4.7-i386"), 0
    ).model_copy(update={"scripts": (Script(run="late.sh", when="first-boot"),)})
    with pytest.raises(ConfigFault, match="nothing in this image would run them") as caught:
        stages.make_img(order, stages.shelf("centos-4.7-i386"))
    assert caught.value.evidence == ("late.sh",)
