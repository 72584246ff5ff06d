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
from tasks.plan import hybrid
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


ROOT_AT = 67108864  # bytes: where all that reads an image takes its root file system to begin


def debugfs(image: Path, command: str, at: int = ROOT_AT) -> str:
    """What a program that is not ours reads in the image."""
    where = f"{image}?offset={at}"
    done = subprocess.run(["debugfs", "-R", command, where], capture_output=True, text=True, check=True)
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
        "/", "ext4", "defaults,errors=remount-ro",
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
    (kernel,) = re.findall(r"vmlinuz-(\S+)", debugfs(image, "ls /boot"))
    menu = debugfs(image, "cat /boot/grub/grub.cfg")
    assert f"linux /boot/vmlinuz-{kernel} root=UUID={identifier[1]} ro " in menu
    assert f"initrd /boot/initrd.img-{kernel}" in menu
    assert "console=ttyS0" in menu
    assert "menu.lst" not in debugfs(image, "ls /boot/grub")
    assert f"UUID={identifier[1]} " in debugfs(image, "cat /etc/fstab")


def test_the_disk_is_started_by_both_firmwares(built):
    """The table and its copy are whole; each firmware's own part is where it looks for it."""
    image = built.build / "debian-12/debian-12.img"
    said = subprocess.run(["sfdisk", "--verify", image], capture_output=True, text=True, check=True)
    assert "No errors detected" in said.stdout
    with image.open("rb") as file:
        assert b"GRUB" in file.read(512)
        file.seek(hybrid.CORE_AT)
        assert file.read(512).strip(b"\0")
    esp = ("-i", f"{image}@@{hybrid.ESP_AT}", "-b")
    files = subprocess.run(["mdir", *esp, "-/", "::"], capture_output=True, text=True, check=True)
    assert "::/EFI/BOOT/BOOTX64.EFI" in files.stdout


def test_an_s3_backed_image_is_one_file_system_with_a_menu_for_pv_grub(project):
    """As it was before there was EBS: no table, no GRUB of its own."""
    shipped = stages.image(stages.loaded(project), "debian-12-s3")
    order, at = img.Order.of(shipped, project.order.epoch), stages.shelf()
    stages.make_img(order, at)
    with at.img.open("rb") as file:
        assert file.read(512) == bytes(512)
    menu, fstab = (debugfs(at.img, f"cat {path}", 0) for path in ("/boot/grub/menu.lst", "/etc/fstab"))
    assert "kernel /vmlinuz root=UUID=" in menu
    assert "x-systemd.growfs" in fstab
    assert "grub.cfg" not in debugfs(at.img, "ls /boot/grub", 0)
    assert "grow-root" not in debugfs(at.img, "ls /etc/systemd/system", 0)
    subprocess.run(["e2fsck", "-f", "-n", str(at.img)], check=True, capture_output=True)


def test_an_image_without_a_kernel_is_refused(project):
    """Nothing would start it, and that is known before there is a disk."""
    Path("away.sh").write_text("#!/bin/sh\nrm /boot/vmlinuz-*\n")
    order = project.order.model_copy(update={"scripts": (Script(run="away.sh"),)})
    with pytest.raises(ConfigFault, match="none of them brings a kernel") as caught:
        stages.make_img(order, stages.shelf())
    assert caught.value.where == "config/images/debian-12.yaml: packages"
    unchanged(stages.shelf())


def test_what_a_killed_run_left_of_the_boot_loader_is_in_nobodys_way(project):
    """The folder where it is made goes first, and goes last."""
    folder = stages.shelf().here / "grub"
    folder.mkdir()
    (folder / "i386-pc").mkdir()
    stages.make_img(project.order, stages.shelf())
    assert not folder.exists()


def test_device_nodes_are_nodes(built):
    """console, null and zero, as MAKEDEV made them; nothing else is in /dev."""
    image = built.build / "debian-12/debian-12.img"
    nodes = re.findall(r"^ *\d+ +(2\d+) .*? (\w+) *$", debugfs(image, "ls -l /dev"), re.MULTILINE)
    assert nodes == [("20600", "console"), ("20666", "null"), ("20666", "zero")]
    assert "05:01" in debugfs(image, "stat /dev/console")


def test_the_file_system_is_clean_and_of_the_size_that_was_asked_for(built):
    """By its own checker, and sparse."""
    image = built.build / "debian-12/debian-12.img"
    where = f"{image}?offset={ROOT_AT}"
    subprocess.run(["e2fsck", "-f", "-n", where], check=True, capture_output=True)
    blocks = re.search(r"Block count: +(\d+)", debugfs(image, "stats"))
    assert blocks
    assert int(blocks[1]) * 4096 == (2 << 30) - (65 << 20)
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


@pytest.mark.parametrize(
    ("layout", "size", "least"), [("none", "256 MiB", 0), ("hybrid", "256 MiB", 65)]
)
def test_a_disk_that_is_too_small_says_by_how_much(project, layout, size, least):
    """Measured, not guessed; and what it says to write is enough."""
    tight = Disk.model_validate({"size": size, "layout": layout})
    order = project.order.model_copy(update={"disk": tight})
    with pytest.raises(
        ImageFault,
        match=r"the content takes (\d+) MiB, the disk has room for (\d+): (\d+) MiB too small",
    ) as caught:
        stages.make_img(order, stages.shelf())
    need, room, lack = (
        int(number) for number in re.findall(r"(\d+)(?: MiB|: )", caught.value.problem)[:3]
    )
    assert room == 256 - least
    assert need > room
    assert lack == pytest.approx(need - room, abs=1)
    write = re.search(r"disk.size: (\d+ (?:M|G)iB) or more", caught.value.problem)
    assert write
    wide = Disk.model_validate({"size": write[1], "layout": layout})
    stages.make_img(order.model_copy(update={"disk": wide}), stages.shelf())
    assert stages.shelf().img.stat().st_size == wide.size


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


def test_a_hybrid_disk_that_nothing_would_write_a_menu_for_is_refused(tmp_path):
    """System V's images are booted by a kernel that is lent."""
    order = img.Order.of(stages.image(load(ROOT / "config", ROOT / "templates"), "centos-4.7-i386"), 0)
    disk = Disk.model_validate({"size": "2 GiB", "filesystem": "ext3"})
    with pytest.raises(ConfigFault, match="nothing in this image would write a boot menu") as caught:
        stages.make_img(order.model_copy(update={"disk": disk}), stages.shelf("centos-4.7-i386"))
    assert caught.value.where == "config/images/centos-4.7-i386.yaml: disk.layout"
