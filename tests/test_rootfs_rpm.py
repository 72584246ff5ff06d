"""What a mirror, a key, a package or a configuration of RPMs does wrong is told in the words of the configuration, and mended.

dnf, rpm, gpg and the mirror are real; the packages hold a file or two, and a repository's name says what is wrong with it.
"""

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tasks import rootfs
from tasks.distro import dnf
from tasks.distro.dnf import upstream
from tasks.kit.fault import ConfigFault, Fault, HostFault, ToolFault
from tasks.kit.proc import Command
from tasks.kit.sandbox import lent
from tasks.spec.record import RootfsStamp
from tasks.spec.source import Yum, YumRepository
from tests import oldrpms, projects, rpms, stages
from tests.mirrors import Mirror
from tests.rpms import Key
from tests.test_whole import leftovers, processes, wait_for

IMAGE = "tiny"
KEPT = {"cache", "keys", "yum.conf", ".rpmmacros"}  # below build/<image>/yum, after a fault
SHELL = "Name: shell\nVersion: 1\nRelease: 1\nSummary: sh\nLicense: none\nAutoReqProv: no\nProvides: /bin/sh\n"
GROUPS = {
    "Base": {"id": "base", "mandatory": ["app", "ghost"]},
    "Big Server": {"id": "big-server", "mandatory": ["lib"]},
}


@dataclass(frozen=True)
class World:
    folder: Path
    key: Key
    stranger: Key
    old: Key


def shell(folder: Path) -> Path:
    """/bin/sh, for scriptlets."""
    (folder / "tree/bin").mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox, "doit host --tests --install"
    shutil.copy(busybox, folder / "tree/bin/busybox")
    (folder / "tree/bin/sh").symlink_to("busybox")
    spec = f"{rpms.PREAMBLE}{SHELL}%description\nsh.\n%files\n/bin/busybox\n/bin/sh\n"
    (built,) = rpms.build(spec, folder / "tree", folder / "base", arch="x86_64")
    shutil.rmtree(folder / "tree")
    return built


def plain(base: Path) -> None:
    """Packages that have nothing wrong with them, and those that do not go together."""
    rpms.tiny(base, "app", files={"/usr/bin/app": "#!/bin/sh\n"}, requires=["lib"])
    rpms.tiny(base, "lib", files={"/usr/lib/lib": "lib\n"})
    rpms.tiny(base, "needy", requires=["nothing-a", "nothing-b >= 2"])
    rpms.tiny(base, "needier", requires=["nothing-c"])
    rpms.tiny(base, "enemy", conflicts=["lib"])
    rpms.tiny(base, "thief", files={"/usr/lib/lib": "another\n"})
    rpms.tiny(base, "native", arch="x86_64")
    rpms.tiny(base, "big", files={"/usr/share/big": "x" * 5_000_000})
    noise = random.Random(1)
    for number in range(4):
        text = noise.randbytes(60_000).hex()
        rpms.tiny(base, f"part{number}", files={f"/usr/share/part{number}": text})


def scripted(base: Path) -> None:
    """Packages whose scripts end badly, each in its own way."""
    scripts = {
        "bad-pre": {"pre": "echo pre speaks; echo and complains >&2; exit 3"},
        "bad-post": {"post": "echo post speaks; exit 4"},
        "bad-posttrans": {"posttrans": "echo posttrans speaks; exit 5"},
        "bad-lua": {"post": "<lua>error('lua speaks')"},
        "filler": {"post": "<lua>f = io.open('/big', 'w'); f:write(string.rep('x', 2^25)); f:close()"},
        "sleeper": {"post": "<lua>posix.sleep(3)"},
    }
    for name, each in scripts.items():
        rpms.tiny(base, name, scripts=each)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    """Repositories, by what is wrong with them."""
    folder = tmp_path_factory.mktemp("rpms")
    made = World(
        folder / "mirror",
        rpms.signing_key(folder),
        rpms.stranger(folder),
        oldrpms.key_of_2005(folder / "old"),
    )
    base, newer, mixed = (made.folder / name for name in ("base", "newer", "mixed"))
    shell(made.folder)
    plain(base)
    scripted(base)
    rpms.tiny(newer, "lib", version="2")
    rpms.tiny(newer, "app", version="2", requires=["nothing-d"])
    foreign = rpms.tiny(mixed, "foreign", files={"/foreign": "x"})
    tampered = rpms.tiny(mixed, "tampered", files={"/tampered": "x" * 1000})
    unsigned = [rpms.tiny(mixed, name) for name in ("unsigned-a", "unsigned-b")]
    oldrpms.tiny(made.folder / "old", "old", "/usr/lib/old", folder / "old/2005.secret")
    rpms.sign([*base.glob("*.rpm"), *newer.glob("*.rpm"), tampered], made.key)
    rpms.sign([foreign], made.stranger)
    data = bytearray(tampered.read_bytes())
    data[-30] ^= 1
    tampered.write_bytes(data)
    assert len(unsigned) == 2
    rpms.index(base, groups=GROUPS)
    rpms.index(newer)
    rpms.index(mixed)
    rpms.index(made.folder / "old", checksum="sha")
    return made


@dataclass
class Site:
    """A project's folder, a mirror of the world, and orders for an image of a few files."""

    world: World
    mirror: Mirror
    at: Any = field(default_factory=lambda: stages.shelf(IMAGE))

    def repository(self, name: str = "base", **other: object) -> YumRepository:
        """As it would be written; `other` keys instead of, or besides, the usual ones."""
        keys: dict[str, object] = {"id": name, "gpgkey": str(self.world.key.public)}
        if not {"baseurl", "mirrorlist"} & other.keys():
            keys["baseurl"] = f"{self.mirror.url}/{name}"
        return YumRepository.model_validate({**keys, **other})

    def order(self, *repositories: YumRepository, **other: Any) -> rootfs.Order:
        usual = {"packages": () if other.get("groups") else ("app",)}
        return rootfs.Order(
            distro="fedora",
            release="44",
            architecture=other.pop("architecture", "x86_64"),
            repositories=repositories or (self.repository(),),
            epoch=1_700_000_000,
            **{**usual, **other},
        )

    def makes(self, order: rootfs.Order) -> list[str]:
        """The names of all packages that are installed in the end."""
        stages.make_rootfs(order, self.at)
        names = [each.name for each in RootfsStamp.read(self.at.rootfs_stamp).packages]
        shutil.rmtree(self.at.here)
        return names

    def refuses(self, order: rootfs.Order, kind: type[Fault], said: str) -> Fault:
        """Nothing half made is left: only the log, and in `yum` what the next run goes on from."""
        with pytest.raises(Fault) as caught:
            stages.make_rootfs(order, self.at)
        fault = caught.value
        assert fault.problem == said, str(fault)
        assert type(fault) is kind
        assert fault.hint
        assert sorted(path.name for path in self.at.here.iterdir()) == ["log", "yum"]
        assert {path.name for path in (self.at.here / "yum").iterdir()} <= KEPT
        return fault


@pytest.fixture
def site(world, tmp_path, monkeypatch) -> Iterator[Site]:
    monkeypatch.chdir(tmp_path)
    Path("templates").symlink_to(projects.ROOT / "templates")
    with Mirror(world.folder) as mirror:
        yield Site(world, mirror)


class Recorder:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.moves: list[tuple[int, int, str]] = []

    def said(self, text: str) -> None: ...

    def moved(self, done: int, total: int, unit: str = "B") -> None:
        self.moves.append((done, total, unit))

    def noted(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def recorder(monkeypatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(stages, "Silent", lambda: made)
    return made


def said(fault: Fault) -> str:
    return "\n".join(fault.evidence)


def test_a_group_is_found_whatever_the_case_and_its_missing_members_are_noted(site, recorder):
    """As with yum; progress is told in packages, then in steps."""
    assert site.makes(site.order(groups=("BASE",))) == ["app", "lib"]
    assert recorder.notes == ["a group names ghost, which no repository has"]
    assert (2, 2, "packages") in recorder.moves
    assert (2, 2, "steps") in recorder.moves


UNFETCHED = "repositories: the metadata of base cannot be fetched"


@pytest.mark.parametrize(
    ("ill", "problem", "evidence"),
    [
        (lambda mirror: mirror.refuse("base/*"), UNFETCHED, "Status code: 404 for http"),
        (lambda mirror: mirror.refuse("*", 503), UNFETCHED, "Status code: 503 for http"),
        (lambda mirror: mirror.spoil("*primary*"), UNFETCHED, "checksum doesn't match"),
        (
            lambda mirror: mirror.spoil("*repomd*"),
            "repositories: what the mirror serves as the metadata of base is something else",
            "parser error",
        ),
    ],
    ids=["no metadata", "503", "wrong checksum", "no XML"],
)
def test_metadata_that_is_wrong_is_told_and_fetched_when_it_is_mended(site, ill, problem, evidence):
    """With what the server says, and of which address."""
    ill(site.mirror)
    fault = site.refuses(site.order(), HostFault, problem)
    assert evidence in said(fault)
    assert fault.where.startswith("dnf ")
    site.mirror.heal()
    assert site.makes(site.order()) == ["app", "lib"]


def test_all_repositories_that_cannot_be_fetched_are_told_at_once(site):
    """dnf would stop at the first: nobody there, no such folder, no such file; and one that is fine."""
    wrong = [
        site.repository("refused", baseurl=f"{site.mirror.nobody}/x"),
        site.repository("absent"),
        site.repository("local", baseurl="file:///no/such/folder"),
    ]
    fault = site.refuses(
        site.order(*wrong, site.repository()),
        HostFault,
        "repositories: the metadata of refused, absent, local cannot be fetched",
    )
    for each in ("Couldn't connect to server", "404 for", "Couldn't read a file:// file"):
        assert each in said(fault)


def test_a_list_of_mirrors_whose_first_are_dead_will_do(site):
    """One refuses connections, one has nothing."""
    mirror = site.mirror
    mirror.name_mirrors(f"{mirror.nobody}/base", f"{mirror.url}/none", f"{mirror.url}/base")
    assert site.makes(site.order(site.repository(mirrorlist=mirror.mirrorlist))) == ["app", "lib"]


@pytest.mark.parametrize(
    ("lines", "problem", "evidence"),
    [
        ([], "repositories: the list of mirrors of base names none", "No URLs"),
        (["<html>", "<p>Moved.</p>"], "repositories: the list of mirrors of base names none", "No URLs"),
        (None, "repositories: the list of mirrors of base cannot be used", "404 for"),
        (["{nobody}/base", "{url}/none"], UNFETCHED, "Couldn't connect"),
    ],
    ids=["empty", "a page", "not there", "all dead"],
)
def test_a_list_of_mirrors_without_one_that_lives_is_told(site, lines, problem, evidence):
    """And what is wrong with it."""
    if lines is not None:
        site.mirror.name_mirrors(
            *(each.format(nobody=site.mirror.nobody, url=site.mirror.url) for each in lines)
        )
    order = site.order(site.repository(mirrorlist=site.mirror.mirrorlist))
    assert evidence in said(site.refuses(order, HostFault, problem))


def test_mirrors_that_never_answer_take_seconds_and_are_told_at_once(site, monkeypatch):
    """dnf alone would take four times its timeout for a repository, and twelve times for a list."""
    monkeypatch.setattr(upstream, "ANSWER", 2.0)
    site.mirror.delay("absent/*", 60)
    site.mirror.delay("mirrorlist", 60)
    began = time.monotonic()
    fault = site.refuses(
        site.order(
            site.repository(),
            site.repository("absent"),
            site.repository("listed", mirrorlist=site.mirror.mirrorlist),
        ),
        HostFault,
        "repositories: no answer within 2 s",
    )
    assert time.monotonic() - began < 6
    assert fault.evidence == (
        f"absent: {site.mirror.url}/absent/repodata/repomd.xml",
        f"listed: {site.mirror.mirrorlist}",
    )


def test_a_mirror_that_falls_silent_is_given_up(site):
    """After some times the timeout of yum.conf, which is 10 seconds, and 1 here."""
    templates = Path("templates").resolve()
    Path("templates").unlink()
    shutil.copytree(templates, "templates")
    conf = Path("templates") / dnf.SETTINGS
    assert "\ntimeout=10\n" in conf.read_text()
    conf.write_text(conf.read_text().replace("\ntimeout=10\n", "\ntimeout=1\n"))
    site.mirror.delay("*/lib-*.rpm", 60)
    began = time.monotonic()
    fault = site.refuses(site.order(), HostFault, "the mirrors did not give lib-1-1.noarch")
    assert time.monotonic() - began < 20
    assert "less than 1024 bytes/sec" in said(fault).lower()


@pytest.mark.parametrize(
    ("ill", "problem", "evidence"),
    [
        (
            lambda mirror: mirror.spoil("*/lib-*.rpm"),
            "the mirror serves lib-1-1.noarch, but it is not what its metadata says",
            "checksum doesn't match",
        ),
        (
            lambda mirror: mirror.refuse("*/lib-*.rpm"),
            "the mirrors did not give lib-1-1.noarch",
            "Status code: 404 for http",
        ),
    ],
    ids=["wrong checksum", "gone"],
)
def test_a_package_that_is_wrong_is_told_and_alone_is_fetched_again(site, ill, problem, evidence):
    """What was fetched stays, what was spoilt does not."""
    ill(site.mirror)
    site.mirror.delay("*/lib-*.rpm", 0.2)  # so that the other one has come
    assert evidence in said(site.refuses(site.order(), HostFault, problem))
    site.mirror.heal()
    site.mirror.forget()
    assert site.makes(site.order()) == ["app", "lib"]
    assert site.mirror.fetched("*.rpm") == ["base/lib-1-1.noarch.rpm"]


def test_a_mirror_that_dies_halfway_is_gone_on_from(site):
    """The next run fetches what is missing, and nothing twice."""
    parts = tuple(f"part{number}" for number in range(4))
    order = site.order(packages=parts)
    sizes = [path.stat().st_size for path in (site.world.folder / "base").glob("part*.rpm")]
    metadata = sum(
        path.stat().st_size for path in (site.world.folder / "base/repodata").iterdir() if path.is_file()
    )
    # Of three at a time, one at least comes through, and never all.
    site.mirror.die_after(metadata + 7 * min(sizes) // 2)
    with pytest.raises(HostFault, match="the mirrors did not give part"):
        stages.make_rootfs(order, site.at)
    first = site.mirror.fetched("*.rpm")
    site.mirror.revive()
    site.mirror.forget()
    assert site.makes(order) == list(parts)
    second = site.mirror.fetched("*.rpm")
    assert 0 < len(first) < 4
    assert sorted(first + second) == [f"base/{name}-1-1.noarch.rpm" for name in parts]


def test_everything_about_signatures_is_told_at_once(site):
    """Unsigned, a stranger's, and changed after it was signed; which key, and which digest."""
    names = ("unsigned-a", "foreign", "tampered", "unsigned-b")
    order = site.order(site.repository("mixed"), packages=names)
    fault = site.refuses(
        order,
        ConfigFault,
        "repositories: nobody has signed unsigned-a-1-1.noarch, unsigned-b-1-1.noarch;"
        " repositories: signed with a key that `gpgkey` does not hold: foreign-1-1.noarch;"
        " repositories: not as it was signed, or not in a way that rpm on this machine takes: tampered-1-1.noarch",
    )
    assert "tampered-1-1.noarch.rpm: Payload SHA256 digest: BAD" in said(fault)


def test_a_strangers_key_is_named_and_mends_it_when_it_is_trusted(site):
    """By its id, as the stranger would give it."""
    order = site.order(site.repository("mixed"), packages=("foreign",))
    fault = site.refuses(
        order,
        ConfigFault,
        "repositories: signed with a key that `gpgkey` does not hold: foreign-1-1.noarch",
    )
    listed = rpms.run("gpg", "--list-keys", "--with-colons", home=site.world.stranger.home)
    identity = next(line.split(":")[4] for line in listed.splitlines() if line.startswith("pub"))
    assert f"key ID {identity[-8:].lower()}: NOKEY" in said(fault)
    both = [str(site.world.key.public), str(site.world.stranger.public)]
    assert site.makes(site.order(site.repository("mixed", gpgkey=both), packages=("foreign",))) == [
        "foreign"
    ]


def test_what_nobody_signed_is_installed_when_nobody_asks(site):
    """But what is damaged is not."""
    unchecked = site.repository("mixed", gpgcheck=False, gpgkey=[])
    assert site.makes(site.order(unchecked, packages=("unsigned-a",))) == ["unsigned-a"]
    site.refuses(
        site.order(unchecked, packages=("tampered",)),
        ConfigFault,
        "repositories: rpm on this machine does not accept tampered-1-1.noarch: Payload SHA256 ALT digest: BAD",
    )


def test_all_keys_that_cannot_be_used_are_told_at_once(site):
    """Before anything is fetched."""
    Path("letter").write_text("Dear reader,\n")
    url, nobody = site.mirror.url, site.mirror.nobody
    keys = ["missing", "letter", f"{url}/no-key", f"{nobody}/key", str(site.world.key.public)]
    order = site.order(site.repository(gpgkey=keys), site.repository("newer", gpgkey="letter"))
    fault = site.refuses(order, ConfigFault, "4 key(s) of `repositories` cannot be used")
    assert fault.evidence == (
        "base: gpgkey: missing: cannot be read: No such file or directory",
        "base: gpgkey: letter: is not a public key: no valid OpenPGP data found.",
        f"base: gpgkey: {url}/no-key: the server says 404 Not Found",
        f"base: gpgkey: {nobody}/key: cannot be fetched: [Errno 111] Connection refused",
        "newer: gpgkey: letter: is not a public key: no valid OpenPGP data found.",
    )
    assert site.mirror.fetched("*/repodata/*") == []
    assert site.makes(site.order()) == ["app", "lib"]


def test_a_package_of_2005_is_installed_by_its_own_key(site, tmp_path):
    """V3 DSA/SHA-1, MD5, an ElGamal subkey for which rpm refuses the key as it stands, and metadata with SHA-1."""
    importing = ["rpmkeys", "--dbpath", tmp_path / "db", "--import", site.world.old.public]
    done = subprocess.run(importing, capture_output=True, text=True, check=False)
    assert "key 1 import failed" in done.stderr
    old = site.repository("old", gpgkey=str(site.world.old.public))
    order = site.order(old, packages=("old",), architecture="i386")
    package = site.world.folder / "old/old-1-1.i386.rpm"
    checked = subprocess.run(["rpmkeys", "-Kv", package], capture_output=True, text=True, check=False)
    assert "V3 DSA/SHA1 Signature" in checked.stdout
    assert "SHA256" not in checked.stdout
    assert site.makes(order) == ["old"]


def test_a_package_of_2005_that_was_changed_is_refused(site):
    """Its MD5 is all there is to tell by."""
    place = site.world.folder / "old-spoilt"
    shutil.copytree(site.world.folder / "old", place)
    data = bytearray((place / "old-1-1.i386.rpm").read_bytes())
    data[-30] ^= 1
    (place / "old-1-1.i386.rpm").write_bytes(data)
    rpms.index(place, checksum="sha")
    old = site.repository("old-spoilt", gpgkey=str(site.world.old.public))
    fault = site.refuses(
        site.order(old, packages=("old",), architecture="i386"),
        ConfigFault,
        "repositories: not as it was signed, or not in a way that rpm on this machine takes: old-1-1.i386",
    )
    assert "old-1-1.i386.rpm: MD5 digest: BAD" in said(fault)


def test_signed_metadata_is_checked_when_it_is_asked_for(site):
    """Unsigned, signed by a stranger, and signed as it should be."""
    checked = site.order(site.repository(repo_gpgcheck=True))
    fault = site.refuses(checked, ConfigFault, "repositories: the metadata of base is not signed")
    assert "repomd.xml.asc" in said(fault)
    assert "repo_gpgcheck: false" in fault.hint
    repodata = site.world.folder / "base/repodata"
    sign = ("gpg", "--batch", "--yes", "--armor", "--detach-sign", repodata / "repomd.xml")
    try:
        for key in (site.world.stranger, site.world.key):
            rpms.run(*sign, home=key.home)
            rpms._end_agent(key.home)
            if key is site.world.stranger:
                problem = "repositories: the metadata of base is not as a key of `gpgkey` has signed it"
                site.refuses(checked, ConfigFault, problem)
        assert site.makes(checked) == ["app", "lib"]
    finally:
        (repodata / "repomd.xml.asc").unlink()


def test_all_names_that_nobody_knows_are_told_with_those_that_come_near(site):
    """dnf would stop at the groups; with the names corrected it works."""
    fault = site.refuses(
        site.order(groups=("Bse", "big sever", "nope"), packages=("ap", "lib", "libb")),
        ConfigFault,
        "groups: no repository has Bse, big sever, nope; packages: no repository has ap, libb",
    )
    assert fault.evidence[-5:] == (
        "Bse: did you mean Base?",
        "big sever: did you mean Big Server or big-server?",
        "nope: there are Base, Big Server, big-server",
        "ap: did you mean app?",
        "libb: did you mean lib?",
    )
    right = site.order(groups=("Base", "big-server"), packages=("app", "lib"))
    assert site.makes(right) == ["app", "lib"]


def test_an_option_in_the_place_of_a_package_is_no_package(site):
    """It would switch the checks off."""
    order = site.order(packages=("--nogpgcheck", "app"))
    with pytest.raises(ConfigFault, match="no name of a package begins with a dash: --nogpgcheck"):
        stages.make_rootfs(order, site.at)


@pytest.mark.parametrize(
    ("packages", "problem", "evidence"),
    [
        (
            ("needy", "needier"),
            "repositories: nothing in them brings nothing-a, nothing-b >= 2, nothing-c, needed by needy-1-1.noarch, needier-1-1.noarch",
            "nothing provides nothing-c needed by needier-1-1.noarch",
        ),
        (
            ("enemy", "app"),
            "packages: enemy-1-1.noarch and lib-1-1.noarch do not go together",
            "package app-1-1.noarch requires lib",
        ),
        (
            ("thief", "app"),
            "packages: thief-1-1.noarch and lib-1-1.noarch both bring /usr/lib/lib",
            "file /usr/lib/lib conflicts",
        ),
    ],
    ids=["dependencies", "conflict", "files"],
)
def test_packages_that_cannot_be_together_are_told(site, packages, problem, evidence):
    """All that nothing brings, or both of two."""
    assert evidence in said(site.refuses(site.order(packages=packages), ConfigFault, problem))


def test_a_repository_for_another_architecture_is_told(site):
    """And which package shows it."""
    site.refuses(
        site.order(packages=("native",), architecture="i386"),
        ConfigFault,
        "architecture: for another one than the image's: native-1-1.x86_64",
    )


def test_the_newest_is_installed_or_none(site):
    """An older one that would do is not taken behind the user's back."""
    both = (site.repository(), site.repository("newer"))
    site.refuses(
        site.order(*both),
        ConfigFault,
        "repositories: nothing in them brings nothing-d, needed by app-2-1.noarch",
    )


def versions(site: Site, order: rootfs.Order) -> dict[str, str]:
    stages.make_rootfs(order, site.at)
    return {each.name: each.version for each in RootfsStamp.read(site.at.rootfs_stamp).packages}


def test_a_protected_repository_keeps_its_packages(site):
    """Whatever newer ones another has; without `protect` the newer wins, and of two priorities the smaller."""
    newer = site.repository("newer", exclude=["app"])
    protected = site.order(site.repository(protect=True), newer)
    assert versions(site, protected) == {"app": "1-1", "lib": "1-1"}
    assert versions(site, site.order(site.repository(), newer)) == {"app": "1-1", "lib": "2-1"}
    first = site.order(site.repository(priority=10), newer.model_copy(update={"priority": 20}))
    assert versions(site, first) == {"app": "1-1", "lib": "1-1"}


def test_what_is_excluded_and_wanted_is_told(site):
    """By a repository, or for all of them."""
    problem = "packages: `exclude` keeps out lib"
    own = site.order(site.repository(exclude=["l*"]), packages=("lib",))
    site.refuses(own, ConfigFault, problem)
    site.refuses(site.order(packages=("lib",), yum=Yum(exclude=("lib",))), ConfigFault, problem)


def test_proxies_are_asked_in_place_of_mirrors(site):
    """That of a repository, or that of all; for keys, too. A dead one is told."""
    (site.world.folder / "key").write_bytes(site.world.key.public.read_bytes())
    far = {"baseurl": "http://far.invalid/base", "gpgkey": "http://far.invalid/key"}
    own = site.order(site.repository(**far, proxy=site.mirror.url))
    of_all = site.order(site.repository(**far), yum=Yum(proxy=site.mirror.url))
    for each in (own, of_all):
        assert site.makes(each) == ["app", "lib"]
    assert {each.path.partition("/base")[0] for each in site.mirror.asked} == {
        "http://far.invalid",
        "http://far.invalid/key",
    }
    dead = site.order(site.repository(baseurl="http://far.invalid/base", proxy=site.mirror.nobody))
    assert "port" in said(site.refuses(dead, HostFault, UNFETCHED))


@pytest.mark.parametrize(
    ("package", "script", "output"),
    [
        ("bad-pre", "%prein of bad-pre (exit status 3)", ["pre speaks", "and complains"]),
        ("bad-post", "%post of bad-post (exit status 4)", ["post speaks"]),
        ("bad-posttrans", "%posttrans of bad-posttrans (exit status 5)", ["posttrans speaks"]),
    ],
)
def test_a_script_that_fails_speaks_for_itself(site, package, script, output):
    """Though dnf ends well, unless the package was not installed."""
    fault = site.refuses(site.order(packages=(package,)), ToolFault, f"1 scriptlet(s) failed: {script}")
    assert list(fault.evidence[:-1]) == output
    assert f"allow_failing: [{package}]" in fault.hint


def test_scripts_may_fail_where_it_is_allowed(site, recorder):
    """All that failed are told at once; those that may are noted, and a package that its own %pre kept out is not there."""
    names = ("bad-pre", "bad-post", "bad-lua", "bad-posttrans")
    order = site.order(packages=names, yum=Yum(allow_failing=("bad-po*",)))
    fault = site.refuses(
        order,
        ToolFault,
        "2 scriptlet(s) failed: %prein of bad-pre (exit status 3), %post of bad-lua (1: lua speaks)",
    )
    assert "{allow_failing: [bad-po*, bad-pre, bad-lua]}; one whose %pre fails is left out" in fault.hint
    allowed = site.order(packages=names, yum=Yum(allow_failing=("bad-*",)))
    assert site.makes(allowed) == ["bad-lua", "bad-post", "bad-posttrans", "shell"]
    assert sorted(recorder.notes) == [
        "%post of bad-lua (1: lua speaks) failed, as it may",
        "%post of bad-post (exit status 4) failed, as it may",
        "%posttrans of bad-posttrans (exit status 5) failed, as it may",
        "%prein of bad-pre (exit status 3) failed, as it may, and it is not installed",
    ]


def test_a_quiet_dnf_still_says_what_is_wrong(site):
    """`debuglevel: 0` is a matter of taste, the reason is not."""
    order = site.order(packages=("bad-post", "lib"), yum=Yum(debuglevel=0))
    fault = site.refuses(order, ToolFault, "1 scriptlet(s) failed: %post of bad-post (exit status 4)")
    assert fault.evidence[0] == "post speaks"


def memory(size: str) -> Any:
    """In place of `mount_memory`: so much of it."""

    def mount(box: Any, where: Path, *, mode: str = "0755") -> None:
        argv = ("mount", "-t", "tmpfs", "-o", f"mode={mode},size={size}", "tmpfs", str(where))
        box.run(Command(argv, "mount little memory"))

    return mount


@pytest.mark.parametrize(
    ("size", "package", "problem"),
    [
        ("3m", "big", "no space is left for big-1-1.noarch"),
        ("12m", "filler", "no space is left for the root file system"),
    ],
    ids=["package", "script"],
)
def test_a_full_root_file_system_is_told(site, monkeypatch, size, package, problem):
    """And made when there is room."""
    order = site.order(packages=(package,))
    with monkeypatch.context() as patch:
        patch.setattr("tasks.distro.dnf.mount_memory", memory(size))
        assert "make room" in site.refuses(order, HostFault, problem).hint
    assert site.makes(order) == [package]


def test_a_full_cache_is_told_and_gone_on_from(site, monkeypatch):
    """A disk with no room for what is fetched."""

    @contextmanager
    def full(box: Any, folder: Path, where: Path) -> Iterator[None]:
        with lent(box, folder, where):
            memory("100k")(box, where)
            yield

    order = site.order(packages=("part0", "part1"))
    with monkeypatch.context() as patch:
        patch.setattr("tasks.distro.dnf.lent", full)
        site.refuses(order, HostFault, "what is fetched cannot be written: no space is left for it")
    assert site.makes(order) == ["part0", "part1"]


def test_tls_that_is_not_there_cannot_be_disabled(site):
    """/lib/tls was glibc's until 2010 or so."""
    fault = site.refuses(
        site.order(tls="disabled"),
        ConfigFault,
        "tls: `disabled` is about /lib/tls, and no package of the image brings that",
    )
    assert "tls: enabled" in fault.hint


def test_a_run_that_is_killed_leaves_nothing_but_what_it_fetched(site, tmp_path):
    """In the middle of the transaction; the next one fetches no package again, and ends well."""
    project = projects.copy(tmp_path / "project")
    (project.path / f"config/images/{IMAGE}.yaml").write_text("{}\n")
    project.configure(
        f"images/{IMAGE}.yaml",
        distro="fedora",
        release="44",
        architecture="x86_64",
        repositories=[site.repository().model_dump(mode="json", exclude_defaults=True)],
        packages=["app", "sleeper"],
        disk={"size": "1 GiB"},
    )
    log = project.build / IMAGE / "log/rootfs.log"

    def in_the_transaction() -> bool:
        return log.exists() and "Running scriptlet: sleeper" in log.read_text()

    running = project.start(f"rootfs:{IMAGE}")
    try:
        wait_for(lambda: running.poll() is not None or in_the_transaction())
        ended = running.poll()
        dnf = any(" dnf " in each for each in processes(str(project.path)))
    finally:
        running.kill()
        said, _ = running.communicate(timeout=30)
    assert ended is None, said
    assert dnf
    wait_for(lambda: processes(str(project.path)) == [], 10)
    assert not (project.build / IMAGE / "rootfs.tar").exists()
    assert len(site.mirror.fetched("*.rpm")) == 3
    site.mirror.forget()
    assert "DONE    rootfs" in project.doit(f"rootfs:{IMAGE}")
    assert site.mirror.fetched("*.rpm") == []
    assert leftovers(project) == []
