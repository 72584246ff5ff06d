"""Mirrors of one's own: whole at every instant, asked for nothing twice, and good for the same image with the network off."""

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tasks import mirror as stage
from tasks.kit import files as kit
from tasks.kit.files import sha256
from tasks.spec.record import MirrorStamp, incomplete
from tests import projects, rpms
from tests.mirrors import Mirror
from tests.projects import Project, stages
from tests.test_whole import wait_for
from tests.trees import program

IMAGE = "tiny"
FILESYSTEM = {"/etc": None, "/usr": None, "/usr/bin": None, "/var": None, "/var/lib": None}


@dataclass
class Shop:
    """A project with one small image, and the server that its packages come from."""

    project: Project
    mirror: Mirror

    @property
    def folder(self) -> Path:
        return self.project.build / "mirror" / IMAGE

    @property
    def stamp(self) -> Path:
        return self.folder / "mirror.stamp"

    def configure(self, **changes: object) -> None:
        self.project.configure(f"images/{IMAGE}.yaml", **changes)

    def doit(self, *args: str, status: int = 0) -> str:
        return self.project.doit(*args, status=status)

    def kept(self) -> list[str]:
        """The file names of the packages, by the stamp and by the folder alike."""
        stamp = MirrorStamp.read(self.stamp)
        stamp.check(self.folder)
        named = {each.file.name for each in stamp.packages} | {each.name for each in stamp.metadata}
        assert named == contents(self.folder).keys()
        return sorted(Path(each.file.name).name for each in stamp.packages)

    def rootfs(self) -> str:
        return sha256(self.project.build / IMAGE / "rootfs.tar")


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def contents(folder: Path) -> dict[str, str]:
    """All but the stamp."""
    found = {str(path.relative_to(folder)): sha256(path) for path in files(folder)}
    return {name: digest for name, digest in found.items() if name != "mirror.stamp"}


def modified(folder: Path) -> dict[str, int]:
    """The times of all but the stamp."""
    return {name: (folder / name).stat().st_mtime_ns for name in contents(folder)}


def open_shop(path: Path, mirror: Mirror, **image: object) -> Shop:
    """`image`: the keys in which it differs from others."""
    project = projects.copy(path)
    (path / f"config/images/{IMAGE}.yaml").write_text("{}\n")
    shop = Shop(project, mirror)
    disk = {"size": "1 GiB"}
    shop.configure(**{"architecture": "x86_64", "disk": disk, **image})
    return shop


def publish(folder: Path, key: rpms.Key, versions: str) -> None:
    """The RPMs of a distribution, each of the version that its letter stands for, in a group and beside it."""
    base, updates = folder / "os", folder / "updates"
    before = set(folder.rglob("*.rpm"))
    for name, version in zip(("hello", "library", "extra", "unwanted"), versions, strict=True):
        needs = {"hello": ["filesystem", "library"], "extra": ["filesystem"]}.get(name, [])
        text = {f"/usr/bin/{name}": f"#!/bin/sh\n# {version}\n" * 9000}
        if not (base / f"{name}-{version}-1.noarch.rpm").exists():
            rpms.tiny(base, name, version=version, requires=needs, files=text)
    if not before:
        rpms.tiny(base, "filesystem", epoch=0, files=FILESYSTEM)
        rpms.tiny(updates, "library", version="9", files={"/usr/bin/library": "9"})
    rpms.sign({*folder.rglob("*.rpm")} - before, key)
    members = {"id": "core", "mandatory": ["hello"], "optional": ["unwanted"]}
    rpms.index(base, groups={"Core": members, "Other": {"id": "other"}})
    rpms.index(updates)


def of_rpms(mirror: Mirror, key: Path) -> dict[str, object]:
    repositories = [
        {"id": "base", "baseurl": f"{mirror.url}/os", "gpgkey": str(key)},
        {"id": "up-dates", "baseurl": f"{mirror.url}/updates", "gpgkey": str(key)},
    ]
    wanted = {"groups": ["Core"], "packages": ["extra"]}
    return {"distro": "rocky", "release": "9", "repositories": repositories, **wanted}


@pytest.fixture(scope="module")
def key(space: Path) -> rpms.Key:
    return rpms.signing_key(space / "mirror-key")


@pytest.fixture
def shop(tmp_path: Path, key: rpms.Key) -> Iterator[Shop]:
    """Of RPMs; its project lies in a folder with a space in its name."""
    publish(tmp_path / "srv", key, "1111")
    with Mirror(tmp_path / "srv") as mirror:
        yield open_shop(tmp_path / "a project", mirror, **of_rpms(mirror, key.public))


FIRST = [
    "extra-1-1.noarch.rpm",
    "filesystem-1-1.noarch.rpm",
    "hello-1-1.noarch.rpm",
    "library-9-1.noarch.rpm",
]


def test_cleaning_takes_away_what_dnf_worked_with(shop):
    """The settings, the keys and the metadata, as well as the root file system."""
    shop.doit(f"rootfs:{IMAGE}")
    assert (shop.project.build / IMAGE / "yum/yum.conf").is_file()
    shop.doit("clean", f"rootfs:{IMAGE}")
    assert files(shop.project.build / IMAGE) == []


def test_an_rpm_image_from_a_mirror_is_the_same_to_the_byte(shop):
    """With the server gone and no network: a group, a newer version from a second repository, signatures checked."""
    shop.doit(f"rootfs:{IMAGE}")
    upstream = shop.rootfs()
    shop.doit(f"mirror:{IMAGE}")
    assert shop.kept() == FIRST
    shop.mirror.die_after(0)
    shop.mirror.forget()
    shop.project.configure("site.yaml", sources="mirror")
    said = shop.doit(f"rootfs:{IMAGE}")
    assert (stages(said, "RUN"), stages(said, "SKIPPED")) == (["rootfs"], ["mirror"])
    assert shop.mirror.asked == []
    assert shop.rootfs() == upstream
    said = shop.doit(f"rootfs:{IMAGE}")
    assert stages(said, "RUN") == []


def test_a_site_that_builds_from_mirrors_makes_them_first(shop):
    """And from then on asks the network for nothing."""
    shop.project.configure("site.yaml", sources="mirror")
    said = shop.doit(f"rootfs:{IMAGE}")
    assert stages(said, "RUN") == ["mirror", "rootfs"]
    shop.mirror.forget()
    (shop.project.build / IMAGE / "rootfs.tar").unlink()
    said = shop.doit(f"rootfs:{IMAGE}")
    assert stages(said, "RUN") == ["rootfs"]
    assert shop.mirror.asked == []


def test_a_second_run_fetches_nothing(shop):
    """It does not even ask, unless it is told to look for what is new; and then the same packages make the same bytes."""
    shop.doit(f"mirror:{IMAGE}")
    before, stamp = contents(shop.folder), shop.stamp.read_bytes()
    times = modified(shop.folder)
    shop.mirror.forget()
    assert stages(shop.doit(f"mirror:{IMAGE}"), "SKIPPED") == ["mirror"]
    assert shop.mirror.asked == []
    shop.doit(f"mirror:{IMAGE}", "--update")
    assert shop.mirror.fetched("*.rpm") == []
    assert (contents(shop.folder), shop.stamp.read_bytes()) == (before, stamp)
    assert modified(shop.folder) == times
    shutil.rmtree(shop.project.build)
    shop.doit(f"mirror:{IMAGE}")
    assert contents(shop.folder) == before, "made anew, it has the same bytes"


def test_a_package_that_is_no_longer_needed_leaves(shop):
    """From folder, index and stamp; and nothing is fetched for that."""
    shop.doit(f"mirror:{IMAGE}")
    shop.mirror.forget()
    shop.configure(packages=None)
    said = shop.doit(f"mirror:{IMAGE}")
    assert re.search(rf"^RUN +mirror:{IMAGE} +because packages changed$", said, re.MULTILINE)
    assert shop.kept() == [name for name in FIRST if not name.startswith("extra")]
    assert shop.mirror.fetched("*.rpm") == []
    assert "extra" not in index(shop.folder / "base")
    assert "hello" in index(shop.folder / "base")


def index(folder: Path) -> str:
    (primary,) = folder.glob("repodata/*-primary.xml.gz")
    return program("gzip", "-dc", primary)


def test_killed_in_the_middle_of_an_update_and_run_again(shop, key):
    """What was there is whole until the end; what had come is not fetched twice."""
    shop.doit(f"mirror:{IMAGE}")
    before = contents(shop.folder)
    publish(shop.mirror.folder, key, "2222")
    shop.mirror.forget()
    shop.mirror.delay("os/hello-2*", 60)
    running = shop.project.start(f"mirror:{IMAGE}", "--update")
    wait_for(lambda: "os/extra-2-1.noarch.rpm" in shop.mirror.fetched())
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert contents(shop.folder) == before
    assert not incomplete(shop.stamp, shop.folder)
    shop.mirror.heal()
    shop.doit(f"mirror:{IMAGE}", "--update")
    new = ["os/extra-2-1.noarch.rpm", "os/hello-2-1.noarch.rpm"]
    assert sorted(shop.mirror.fetched("*.rpm")) == new
    assert [name for name in shop.kept() if "-2-" in name] == [Path(each).name for each in new]


class Killed(BaseException):
    """In our own process."""


def killed_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dies instead of the next change to a folder or a file, when there were so many."""
    left = iter(range(steps))

    def mortal(function: Callable[..., object]) -> Callable[..., object]:
        def tried(*args: object, **named: object) -> object:
            if next(left, None) is None:
                raise Killed
            return function(*args, **named)

        return tried

    for owner, name in ((Path, "rename"), (os, "utime"), (os, "unlink"), (os, "rmdir")):
        monkeypatch.setattr(owner, name, mortal(getattr(owner, name)))
    monkeypatch.setattr(kit, "_exchanged", mortal(kit._exchanged))


def sound(folder: Path) -> bool:
    """Whether every repository of a mirror has all that its index names, as it is named."""
    for each in (folder / "base", folder / "up-dates"):
        records = re.findall(r'<location href="([^"]+)"', (each / "repodata/repomd.xml").read_text())
        packages = re.findall(r'pkgid="YES">(\w+)<.*?<location href="([^"]+)"', index(each), re.DOTALL)
        if not all((each / record).is_file() for record in records):
            return False
        if not packages or any(sha256(each / place) != digest for digest, place in packages):
            return False
    return True


@pytest.mark.parametrize("able", [True, False], ids=["exchanging", "renaming"])
def test_killed_at_any_instant_of_the_change_it_is_whole(shop, key, able, tmp_path, monkeypatch):
    """The old one or the new one, each with its stamp; on a file system that cannot exchange, for an instant neither."""
    shop.doit(f"mirror:{IMAGE}")
    old, new = tmp_path / "old", shop.folder
    shutil.copytree(new, old)
    publish(shop.mirror.folder, key, "2211")
    shop.doit(f"mirror:{IMAGE}", "--update")
    made, place, fresh = MirrorStamp.read(shop.stamp), tmp_path / "place", tmp_path / "fresh"
    if not able:
        monkeypatch.setattr(kit, "_exchanged", lambda *_: False)
    for steps in range(1000):
        for each in (place, fresh, tmp_path / ".fresh.scratch"):
            shutil.rmtree(each, ignore_errors=True)
        shutil.copytree(old, place)
        shutil.copytree(new, fresh)
        with monkeypatch.context() as patch, suppress(Killed):
            killed_after(steps, patch)
            stage.replace(fresh, made, place)
            break
        assert (not able and not place.exists()) or not incomplete(place / "mirror.stamp", place)
        assert (not able and not place.exists()) or sound(place)
    assert steps > 15
    assert contents(place) == contents(new)
    assert not fresh.exists()


def test_a_mirror_that_was_damaged_is_mended(shop):
    """In the next run, which says so; from what was fetched before."""
    shop.doit(f"mirror:{IMAGE}")
    (shop.folder / "base/Packages/hello-1-1.noarch.rpm").write_text("something else")
    (shop.folder / "up-dates/repodata/repomd.xml").unlink()
    shop.mirror.forget()
    said = shop.doit(f"mirror:{IMAGE}")
    assert re.search(
        rf"^RUN +mirror:{IMAGE} +because files of it are gone or changed$", said, re.MULTILINE
    )
    assert shop.kept() == FIRST
    assert shop.mirror.fetched("*.rpm") == ["os/hello-1-1.noarch.rpm"], "its file was that of the cache"


def test_a_mirror_goes_to_another_machine(shop, tmp_path):
    """Copied by whatever means, it is taken for what it is: nothing is asked of any network."""
    shop.doit(f"rootfs:{IMAGE}", f"mirror:{IMAGE}")
    image = yaml.safe_load((shop.project.path / f"config/images/{IMAGE}.yaml").read_text())
    other = open_shop(tmp_path / "other", shop.mirror, **image)
    other.project.configure("site.yaml", sources="mirror")
    shutil.copytree(shop.folder, other.folder, copy_function=shutil.copyfile)
    shop.mirror.forget()
    other.doit(f"rootfs:{IMAGE}")
    assert shop.mirror.asked == []
    assert other.rootfs() == shop.rootfs()
    assert stages(other.doit(f"rootfs:{IMAGE}"), "RUN") == []


def test_what_is_wrong_upstream_is_told_as_ever_and_the_mirror_stays(shop, tmp_path):
    """No network, and a signature that is not good: a root file system would have been refused in the same words."""
    shop.doit(f"mirror:{IMAGE}")
    before = contents(shop.folder)
    rpms.tiny(shop.mirror.folder / "os", "hello", version="3", requires=["filesystem", "library"])
    rpms.sign([shop.mirror.folder / "os/hello-3-1.noarch.rpm"], rpms.stranger(tmp_path))
    rpms.index(shop.mirror.folder / "os", groups={"Core": {"id": "core", "mandatory": ["hello"]}})
    said = shop.doit(f"mirror:{IMAGE}", "--update", status=1)
    refused = shop.doit("--always", f"rootfs:{IMAGE}", status=1)
    (wrong,) = re.findall(r"^repositories: .*hello-3-1.*$", said, re.MULTILINE)
    assert wrong in refused
    shop.mirror.die_after(0)
    said = shop.doit(f"mirror:{IMAGE}", "--update", status=1)
    assert re.search(
        r"^repositories: the metadata of base, up-dates cannot be fetched", said, re.MULTILINE
    )
    assert contents(shop.folder) == before
    assert shop.kept() == FIRST
    shop.mirror.forget()
    shop.project.configure("site.yaml", sources="mirror")
    shop.doit(f"rootfs:{IMAGE}")
    assert shop.mirror.asked == [], "what failed was the update, not the mirror"


def test_another_project_builds_from_the_mirror_over_http(shop, tmp_path):
    """The folder as it lies, keys and all: the same image."""
    shop.doit(f"rootfs:{IMAGE}", f"mirror:{IMAGE}")
    with Mirror(shop.folder) as served:
        repositories = [
            {
                "id": name,
                "baseurl": f"{served.url}/{name}",
                "gpgkey": f"{served.url}/{name}/RPM-GPG-KEY-0",
            }
            for name in ("base", "up-dates")
        ]
        image = {**of_rpms(served, tmp_path), "repositories": repositories}
        other = open_shop(tmp_path / "other", served, **image)
        other.doit(f"rootfs:{IMAGE}")
    assert other.rootfs() == shop.rootfs()


# Debian.


@pytest.fixture(scope="module")
def origin(space: Path) -> Path:
    """A mirror of a small Debian, from a real one."""
    with Mirror(space) as nobody:
        shop = open_shop(space / "debian-mirror", nobody, **of_debian("hello", "ed"))
        shop.doit(f"mirror:{IMAGE}")
    return shop.folder


def of_debian(*packages: str) -> dict[str, object]:
    return {"distro": "debian", "release": "bookworm", "packages": packages}


@pytest.fixture
def debian(origin: Path, tmp_path: Path) -> Iterator[Shop]:
    """From that mirror, over HTTP."""
    with Mirror(origin) as mirror:
        key = str(origin / "archive-key.asc")
        upstream = {"uri": mirror.url, "suites": ["bookworm"], "signed_by": key}
        yield open_shop(
            tmp_path / "a project", mirror, **of_debian("hello/bookworm", "ed"), repositories=[upstream]
        )


def test_a_debian_image_from_a_mirror_is_the_same_to_the_byte(debian):
    """With the server gone and no network; the tree says where the packages came from, and not where they lay."""
    debian.doit(f"rootfs:{IMAGE}")
    upstream = debian.rootfs()
    debian.doit(f"mirror:{IMAGE}")
    debian.mirror.die_after(0)
    debian.mirror.forget()
    debian.project.configure("site.yaml", sources="mirror")
    said = debian.doit(f"rootfs:{IMAGE}")
    assert (stages(said, "RUN"), stages(said, "SKIPPED")) == (["rootfs"], ["mirror"])
    assert debian.mirror.asked == []
    assert debian.rootfs() == upstream
    tar = debian.project.build / IMAGE / "rootfs.tar"
    sources = program("tar", "-xOf", tar, "./etc/apt/sources.list.d/0000main.sources")
    assert f"URIs: {debian.mirror.url}\n" in sources


def test_a_debian_mirror_is_killed_made_kept_and_thinned(debian, origin):
    """Nothing is fetched twice, what is dropped goes, and the same packages make the same index, but for who signed it."""
    debian.mirror.delay("pool/hello*", 60)
    running = debian.project.start(f"mirror:{IMAGE}")
    wait_for(lambda: waiting(debian), 60)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert not debian.stamp.exists()
    debian.mirror.heal()
    debian.doit(f"mirror:{IMAGE}")
    fetched = debian.mirror.fetched("pool/*.deb")
    assert len(fetched) == len(set(fetched)) == len(debian.kept())
    assert own(debian.folder) == own(origin)
    before = contents(debian.folder)
    debian.mirror.forget()
    debian.configure(packages=["hello"])
    debian.doit(f"mirror:{IMAGE}")
    gone = before.keys() - contents(debian.folder).keys()
    assert [name.partition("_")[0] for name in gone if name.startswith("pool/")] == ["pool/ed"]
    assert not [name for name in debian.kept() if name.startswith("ed_")]
    assert debian.mirror.fetched("pool/*.deb") == []


def waiting(shop: Shop) -> bool:
    """Whether all but one of the packages have come."""
    archives = shop.project.build / IMAGE / "mirror/archives"
    listed = shop.mirror.folder / "pool"
    return len(list(archives.glob("*.deb"))) >= len(list(listed.iterdir())) - 2


def own(folder: Path) -> dict[str, str]:
    """All but what is of a key."""
    return {
        name: digest
        for name, digest in contents(folder).items()
        if Path(name).name not in ("InRelease", "archive-key.asc")
    }
