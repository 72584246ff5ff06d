"""RPM distributions by the ordinary stages: one of today from packages to a login, and the image of 2008, line by line.

The packages are Debian's binaries in RPMs (tests/rpmworld.py says what is real and what stands in); mirror, signatures,
dnf, rpm, file systems and the boot are real.
"""

import hashlib
import os
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tasks import rootfs
from tasks.plan.inspection import OF_2008
from tasks.spec.load import load
from tasks.spec.record import BootReport, ImgStamp, RootfsStamp
from tasks.spec.source import YumRepository
from tests import projects, rpms, stages
from tests.mirrors import Mirror
from tests.projects import Project
from tests.rpmworld import World

TODAY = "testdist"
CENTOS = "centos-4.7-i386"


def repositories(world: World, mirror: Mirror) -> list[dict[str, Any]]:
    """Base by way of a list of mirrors whose first entries are dead, updates from the mirror itself."""
    mirror.name_mirrors(
        f"{mirror.nobody}/base", f"{mirror.url}/nothing/here", f"{mirror.url}/{world.base}"
    )
    common = {"gpgkey": str(world.public_key), "protect": True}
    return [
        {
            "id": "base",
            "mirrorlist": f"{mirror.mirrorlist}?release=1&arch={world.arch}&repos=os",
            **common,
        },
        {"id": "update", "baseurl": f"{mirror.url}/{world.updates}", **common},
    ]


def configure(project: Project, world: World, mirror: Mirror, **changes: object) -> None:
    """The distribution of today as one of today's images."""
    image = {
        "distro": "rocky",
        "release": "9",
        "architecture": "x86_64",
        "repositories": repositories(world, mirror),
        "groups": ["Base"],
        "disk": {"size": "1 GiB"},
        **changes,
    }
    (project.path / f"config/images/{TODAY}.yaml").write_text("{}\n")
    project.configure(f"images/{TODAY}.yaml", **image)


@pytest.fixture(scope="session")
def today(space: Path, rpm_distribution: World) -> Project:
    """Built, booted, scanned and bundled. To be read, or cloned."""
    project = projects.copy(space / "rpm built")
    with Mirror(rpm_distribution.folder) as mirror:
        configure(project, rpm_distribution, mirror)
        project.said = project.doit(*(f"{stage}:{TODAY}" for stage in ("boot", "scan", "bundle")))
    return project


@pytest.fixture(scope="session")
def centos(space: Path, built: Project, el4_shape: World) -> Project:
    """config/images/centos-4.7-i386.yaml as shipped, with nothing changed but where its packages and their key are.

    In a project that has built debian-12, which lends the kernel.
    """
    project = projects.clone(built, space / "centos")
    image = stages.image(load(project.path / "config", project.path / "templates"), CENTOS)
    with Mirror(el4_shape.folder) as mirror:
        places = {"base": el4_shape.base, "update": el4_shape.updates}
        ours = [
            {
                "id": each.id,
                "name": each.name,
                "baseurl": f"{mirror.url}/{places[each.id]}",
                "gpgkey": str(el4_shape.public_key),
                "protect": each.protect,
            }
            for each in image.repositories
            if isinstance(each, YumRepository)
        ]
        project.configure(f"images/{CENTOS}.yaml", repositories=ours)
        project.said = project.doit(*(f"{stage}:{CENTOS}" for stage in ("boot", "scan", "bundle")))
    return project


def test_an_rpm_distribution_boots_and_lets_its_key_in(today, rpm_distribution):
    """Group Base, from a list of mirrors with dead ones in front, signed; by BIOS and by UEFI."""
    at = today.build / TODAY
    report = BootReport.read(at / "boot.json")
    assert [each.firmware for each in report.boots] == ["bios", "uefi"]
    assert [check for each in report.boots for check in each.checks if not check.passed] == []
    assert report.sha256 == ImgStamp.read(at / f"{TODAY}.img.stamp").file.sha256
    stamp = RootfsStamp.read(at / "rootfs.stamp")
    assert tuple(each.name for each in stamp.packages) == rpm_distribution.packages
    renewed = next(each for each in stamp.packages if each.name == rpm_distribution.renewed)
    assert renewed.version.endswith(".1"), "what updates brought"


def test_an_rpm_image_holds_nothing_of_its_making(today):
    """No history, no cache, no log of dnf's, no lock of rpm's, no host key; and no folder that no package owns."""
    with tarfile.open(today.build / TODAY / "rootfs.tar") as tar:
        names = [member.name for member in tar]
        database = [name for name in names if name.startswith("./var/lib/rpm/")]
    assert database == ["./var/lib/rpm/rpmdb.sqlite"]
    alien = re.compile(r"dnf|hawkey|yum|ssh_host_|/var/cache/ldconfig/aux-cache|\.rpmmacros|/dev/.")
    assert [name for name in names if alien.search(name)] == []


def test_an_ordinary_user_makes_the_same_root_file_system(today, rpm_distribution, space):
    """In another folder, from another address: the same bytes, though chown, mknod and mount are not theirs to use."""
    user = projects.ordinary_user() if os.geteuid() == 0 else None
    project = projects.copy(space / "rpm by a user")
    interpreter = projects.for_user(user, space / "rpm python") if user else project.interpreter
    project = Project(project.path, user, interpreter)
    with Mirror(rpm_distribution.folder) as mirror:
        configure(project, rpm_distribution, mirror)
        project.own()
        project.doit(f"rootfs:{TODAY}")
    one, other = (RootfsStamp.read(each.build / TODAY / "rootfs.stamp") for each in (today, project))
    assert one.packages == other.packages
    assert one.file.sha256 == other.file.sha256


# The recipe of 2008.


def debugfs(image: Path, command: str) -> str:
    """What a program that is not ours reads in the image."""
    done = subprocess.run(
        ["debugfs", "-R", command, str(image)], capture_output=True, text=True, check=True
    )
    return done.stdout


def mode(image: Path, path: str) -> tuple[str, ...]:
    """Type, mode and owners."""
    found = re.search(
        r"Type: (\w+(?: \w+)?) +Mode: +(\d+).*?User: +(\d+) +Group: +(\d+)",
        debugfs(image, f"stat {path}"),
        re.DOTALL,
    )
    assert found, f"{path} is not in the image"
    return found.groups()


FILES_OF_2008 = {
    "/etc/fstab": """\
/dev/sda1 / ext3 defaults 1 1
none /dev/pts devpts gid=5,mode=620 0 0
none /dev/shm tmpfs defaults 0 0
none /proc proc defaults 0 0
none /sys sysfs defaults 0 0
/dev/sda2 /mnt ext3 defaults 1 2
/dev/sda3 swap swap defaults 0 0
""",
    "/etc/sysconfig/network": """\
NETWORKING=yes
HOSTNAME=localhost.localdomain
""",
    "/etc/sysconfig/network-scripts/ifcfg-eth0": """\
ONBOOT=yes
DEVICE=eth0
BOOTPROTO=dhcp
""",
}


@pytest.mark.parametrize("path", FILES_OF_2008)
def test_the_files_of_the_recipe_are_in_the_image_of_2008(centos, path):
    """To the letter, with the slash that its fstab lacks."""
    image = centos.build / CENTOS / f"{CENTOS}.img"
    assert debugfs(image, f"cat {path}") == FILES_OF_2008[path]
    assert mode(image, path) == ("regular", "0644", "0", "0")


MODES_OF_2008 = {
    "/dev": ("directory", "0755", "0", "0"),
    "/proc": ("directory", "0555", "0", "0"),
    "/etc": ("directory", "0755", "0", "0"),
    "/dev/console": ("character special", "0600", "0", "0"),
    "/dev/null": ("character special", "0666", "0", "0"),
    "/dev/zero": ("character special", "0666", "0", "0"),
    "/var/lock/rpm": ("directory", "0755", "0", "0"),
    "/lib/tls-disabled": ("directory", "0755", "0", "0"),
    "/root/.ssh": ("directory", "0700", "0", "0"),
    "/root/.ssh/authorized_keys2": ("regular", "0644", "0", "0"),
}


@pytest.mark.parametrize("path", MODES_OF_2008)
def test_what_the_recipe_makes_has_its_type_mode_and_owner(centos, path):
    """Nodes among it, though nobody made one with mknod."""
    image = centos.build / CENTOS / f"{CENTOS}.img"
    real = path.replace("/lib/", "/usr/lib/")  # a link, in Debian's shape
    assert mode(image, real if "tls" in path else path) == MODES_OF_2008[path]


def test_the_rest_of_the_recipe_is_in_the_image_of_2008(centos, el4_shape):
    """sshd's lines after its own, TLS out of the way, the one key, 2000 MiB of ext3 with small inodes, no more nodes."""
    at = centos.build / CENTOS
    image, public = at / f"{CENTOS}.img", centos.build / f"keys/{CENTOS}/ssh_key.pub"
    sshd = debugfs(image, "cat /etc/ssh/sshd_config").splitlines()
    assert sshd[-2:] == ["UseDNS no", "PermitRootLogin without-password"]
    assert sshd[0] == "#Port 22", "what the package brought is still there"
    assert "tls " not in debugfs(image, "ls -l /usr/lib")
    assert public.read_text().startswith("ssh-rsa ")
    assert debugfs(image, "cat /root/.ssh/authorized_keys2") == public.read_text()
    assert sorted(re.findall(r" (\w+)$", debugfs(image, "ls -l /dev"), re.MULTILINE)) == [
        "console",
        "null",
        "zero",
    ]
    assert image.stat().st_size == 2000 << 20
    superblock = debugfs(image, "stats")
    assert re.search(r"Inode size:\s+128$", superblock, re.MULTILINE)
    assert "has_journal" in superblock
    stamp = RootfsStamp.read(at / "rootfs.stamp")
    assert tuple(each.name for each in stamp.packages) == el4_shape.packages
    assert {each.architecture for each in stamp.packages} <= {"i386", "noarch"}


def test_the_image_of_2008_comes_up_as_it_did(centos):
    """On a lent kernel: root from sda1, the disks that its fstab names, eth0 by ifcfg-eth0, run level 3, the key lets in."""
    at = centos.build / CENTOS
    report = BootReport.read(at / "boot.json")
    (boot,) = report.boots
    assert boot.firmware == "the kernel of debian-12"
    assert {check.name: check.passed for check in boot.checks} == dict.fromkeys(OF_2008, True)
    assert next(check.detail for check in boot.checks if check.name == "network").startswith("eth0 ")
    console = (at / "console.log").read_text()
    assert "INIT: Entering runlevel: 3" in console
    assert re.search(r"EXT4-fs \(sda2\): mounting ext3|Adding \d+k swap on /dev/sda3", console)
    assert sorted(projects.stages(centos.said, "RUN")) == [
        "boot", "bundle", "img", "keys", "rootfs", "scan",
    ]  # fmt: skip


def test_the_bundle_of_2008_says_what_the_recipes_command_said(centos):
    """Architecture, block devices, kernel and ramdisk; and the image is in it."""
    at = centos.build / CENTOS
    manifest = (at / f"local/bundle/{CENTOS}.img.manifest.xml").read_text()
    pairs = re.findall(r"<mapping><virtual>(.*?)</virtual><device>(.*?)</device></mapping>", manifest)
    assert sorted(pairs) == [("ami", "sda1"), ("root", "/dev/sda1"), ("swap", "sda3")]
    assert "<architecture>i386</architecture>" in manifest
    assert "<kernel_id>aki-a71cf9ce</kernel_id><ramdisk_id>ari-a51cf9cc</ramdisk_id>" in manifest
    digest = ImgStamp.read(at / f"{CENTOS}.img.stamp").file.sha256
    assert digest in (at / "local/bundle.stamp").read_text()


def test_the_image_of_2008_is_started_and_logged_in_to(centos, tmp_path):
    """Part 3 of the recipe, on the local cloud: an m1.small, a kernel that EC2 lends, sda1, sda2 and swap."""
    project = projects.clone(centos, tmp_path / "project")
    project.configure(f"images/{CENTOS}.yaml", launch={"timeout": 300})
    try:
        looked = "--command=cat /proc/mounts; cat /proc/swaps; uname -r"
        said = project.doit(f"launch:{CENTOS}", f"ssh:{CENTOS}", looked, timeout=900)
        assert "shows no host keys on its console" in said
        assert "/dev/sda2 /mnt ext3" in said
        assert "/dev/sda3" in said
        assert (project.build / "cloud/kernels/aki-a71cf9ce/kernel").is_file()
        project.doit(f"terminate:{CENTOS}", "yes=true")
    finally:
        project.doit("local_stop")


def test_an_rpm_that_reads_another_database_makes_its_own(el4_shape, tmp_path, monkeypatch):
    """As EL4's will, which knows Berkeley DB alone: here, one that looks for its database in another place."""
    elsewhere = rpms.tiny(
        tmp_path / "extra", "elsewhere", files={"/.rpmmacros": "%_dbpath /var/lib/rpm4\n"}
    )
    rpms.index(tmp_path / "extra")
    monkeypatch.chdir(tmp_path)
    project = projects.copy(tmp_path / "project")
    loaded = stages.loaded(project)
    order = rootfs.Order.of(stages.image(loaded, CENTOS), loaded.epoch)
    places = {
        "base": el4_shape.folder / "base",
        "update": el4_shape.folder / "update",
        "extra": elsewhere.parent,
    }
    ours = tuple(
        YumRepository(
            id=name,
            baseurl=(path.as_uri(),),
            gpgcheck=name != "extra",
            gpgkey=(str(el4_shape.public_key),),
        )
        for name, path in places.items()
    )
    order = order.model_copy(update={"repositories": ours, "packages": ("elsewhere",)})
    at = stages.shelf(CENTOS)
    stages.make_rootfs(order, at)
    subprocess.run(["tar", "-xf", at.rootfs, "-C", tmp_path, "./var/lib"], check=True)
    assert not (tmp_path / "var/lib/rpm").exists(), "nobody is to take the wrong one for the right one"
    argv = ["rpm", "--dbpath", tmp_path / "var/lib/rpm4", "-qa", "--qf", "%{NAME}\n"]
    listed = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
    assert sorted(listed) == sorted((*el4_shape.packages, "elsewhere"))
    assert (
        hashlib.sha256(at.rootfs.read_bytes()).hexdigest()
        == RootfsStamp.read(at.rootfs_stamp).file.sha256
    )
