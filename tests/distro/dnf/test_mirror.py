"""What dnf has fetched becomes repositories that it makes the same of."""

import shutil

import pytest

from tasks.distro import Wanted, dnf
from tasks.distro.dnf import mirror as dnfmirror
from tasks.distro.held import fresh
from tasks.spec.source import YumRepository
from tests import rpms
from tests.trees import EPOCH

BASE = YumRepository(
    id="base",
    metalink="https://m.example/metalink",
    gpgkey=("https://m.example/key",),
    repo_gpgcheck=True,
    priority=3,
    exclude=("x*",),
)
WANTED = Wanted(
    distro="rocky",
    release="9",
    architecture="x86_64",
    repositories=(BASE,),
    packages=("hello",),
    groups=("core",),
    epoch=EPOCH,
)


@pytest.fixture
def cached(tmp_path):
    """A folder as dnf keeps it, of a repository with a group, and with modules in a form that is not for us to read."""
    folder = tmp_path / "cache/base-0123456789abcdef"
    rpms.tiny(folder / "packages", "hello", version="2", epoch=1)
    rpms.tiny(folder / "packages", "partial")
    shutil.copytree(folder / "packages", tmp_path / "upstream")
    rpms.index(tmp_path / "upstream", groups={"Core": {"id": "core", "mandatory": ["hello"]}})
    shutil.move(tmp_path / "upstream/repodata", folder)
    (folder / "repodata/12ab-modules.yaml.zst").write_bytes(b"modules")
    repomd = folder / "repodata/repomd.xml"
    modules = (
        '<data type="modules"><checksum type="sha256">12ab</checksum>'
        '<location xml:base="http://m" href="deep/repodata/12ab-modules.yaml.zst"/><size>7</size></data>'
    )
    repomd.write_text(repomd.read_text().replace("</repomd>", f"{modules}\n</repomd>"))
    return tmp_path


def test_packages_that_came_in_part_are_left_out(cached):
    """The others are known by what they say of themselves."""
    partial = cached / "cache/base-0123456789abcdef/packages/partial-1-1.noarch.rpm"
    partial.write_bytes(partial.read_bytes()[:400])
    read = dict(dnfmirror._read(partial.parent, fresh(cached / "read"), cached / "log"))
    assert [(each.name, each.version, each.architecture) for each in read] == [
        ("hello", "1:2-1", "noarch")
    ]


def test_groups_and_modules_are_upstreams_own(cached):
    """To the byte, in upstream's words but for where they lie; and two indexes of the same are the same."""
    made, folders = [], dnfmirror._cached(cached, BASE)
    for name in ("one", "two"):
        (cached / name / "Packages").mkdir(parents=True)
        shutil.copy(folders[0] / "packages/hello-2-1.noarch.rpm", cached / name / "Packages")
        dnfmirror._index(cached / name, folders, WANTED, cached / "log")
        made.append((cached / name / "repodata/repomd.xml").read_bytes())
    assert made[0] == made[1]
    repodata = cached / "one/repodata"
    assert b'<location href="repodata/12ab-modules.yaml.zst"/><size>7</size>' in made[0]
    assert (repodata / "12ab-modules.yaml.zst").read_bytes() == b"modules"
    groups = sorted(repodata.glob("*comps.xml*"))
    assert len(groups) == made[0].count(b'<data type="group') > 0
    assert all(
        (folders[0] / "repodata" / each.name).read_bytes() == each.read_bytes() for each in groups
    )
    dnfmirror._index(cached / "one", folders, WANTED.model_copy(update={"groups": ()}), cached / "log")
    assert b"group" not in (repodata / "repomd.xml").read_bytes(), "nobody asked for any"


def test_a_mirrored_repository_is_the_same_at_another_place(tmp_path):
    """Priorities, exclusions and signatures stay; metadata of our own is signed by nobody."""
    (tmp_path / "a mirror/base").mkdir(parents=True)
    (tmp_path / "a mirror/base/RPM-GPG-KEY-0").write_text("")
    (there,) = dnf.mirrored(WANTED, tmp_path / "a mirror").repositories
    assert isinstance(there, YumRepository)
    here = f"{tmp_path.as_uri()}/a%20mirror/base"
    assert (there.baseurl, there.metalink, there.gpgkey) == ((here,), None, (f"{here}/RPM-GPG-KEY-0",))
    assert (there.id, there.priority, there.exclude) == (BASE.id, BASE.priority, BASE.exclude)
    assert (there.gpgcheck, there.repo_gpgcheck) == (True, False)
    assert dnf.local(there) == [f"{tmp_path}/a mirror/base"]
