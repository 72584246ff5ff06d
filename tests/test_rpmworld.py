"""The material of the tests of RPMs is itself what it says: keys, small packages, repositories, and a mirror with faults."""

import socket
import time
import urllib.error
import urllib.request
from http.client import HTTPException, IncompleteRead
from urllib.parse import urlsplit

import pytest

from tests import rpms
from tests.mirrors import Mirror
from tests.rpmtree import BASE, NOTHING, Deb, Member, Rpm, Shape, Tree, packages, spec, units


def get(url: str, **headers: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:  # noqa: S310
        data: bytes = answer.read()
        return data


def test_a_small_repository_is_signed_indexed_and_the_same_each_time(tmp_path):
    """Files, scriptlets and names with odd characters; comps; SHA-1 as in 2005."""
    key, folder = rpms.signing_key(tmp_path), tmp_path / "repository"
    odd = {"/usr/bin/[": "#!/bin/sh\n", "/usr/bin/w": "w", "/etc/100%": "x", "/var/empty": None}

    def make(folder):
        return rpms.tiny(
            *(folder, "b"),
            version="2",
            epoch=3,
            arch="i386",
            files=odd,
            requires=["a"],
            provides=["c = 2"],
            conflicts=["d"],
            obsoletes=["e < 1"],
            scripts={"post": "echo %{x}"},
        )

    built = make(folder)
    assert built == folder / "b-2-1.i386.rpm"
    assert built.read_bytes() == make(tmp_path / "again").read_bytes()
    rpms.sign([built], key)

    def ask(*query):
        return rpms.run("rpm", "--dbpath", tmp_path / "db", *query, built, home=tmp_path).splitlines()

    assert sorted(path for path in ask("-qpl") if path.startswith("/")) == sorted(odd)
    assert "echo %{x}" in ask("-qp", "--nosignature", "--scripts")
    rpms.run("rpmkeys", "--dbpath", tmp_path / "db", "--import", key.public, home=tmp_path)
    assert ask("-K")[-1].endswith("digests signatures OK")
    groups = {"Base": {"id": "base", "mandatory": ["b"], "optional": ["x"]}}
    rpms.index(folder, groups=groups, checksum="sha")
    before = (folder / "repodata/repomd.xml").read_bytes()
    assert b'<checksum type="sha">' in before
    assert (folder / "repodata/primary.xml.gz").is_file()
    assert '<packagereq type="mandatory">b<' in (folder / "repodata/comps.xml").read_text()
    rpms.index(folder, groups=groups, checksum="sha")
    assert (folder / "repodata/repomd.xml").read_bytes() == before


@pytest.fixture
def served(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base/file").write_bytes(bytes(range(256)) * 400)
    with Mirror(tmp_path) as mirror:
        yield mirror


def test_a_mirror_serves_wholes_and_parts_and_remembers(served):
    """As a client that resumes needs it."""
    whole = (served.folder / "base/file").read_bytes()
    url = f"{served.url}/base/file"
    assert get(url) == get(f"{served.url}//base//file") == whole
    parts = {"bytes=5-": whole[5:], "bytes=5-9": whole[5:10], "bytes=-7": whole[-7:]}
    assert {part: get(url, Range=part) for part in parts} == parts
    for missing, status in ((f"{url}s", 404), (f"{served.url}/../x", 404), (f"{served.url}/base", 404)):
        with pytest.raises(urllib.error.HTTPError, match=str(status)) as caught:
            get(missing)
        caught.value.close()
    assert served.fetched("base/*") == ["base/file"] * 5
    assert [each.range for each in served.asked][2] == "bytes=5-"
    served.forget()
    assert served.fetched() == []


def test_a_list_of_mirrors_has_the_lines_of_the_test(served):
    """By query where one is given; at the place where CentOS had it, too."""
    served.name_mirrors(served.nobody, f"{served.url}/base")
    served.name_mirrors("http://other", query="repos=updates")
    assert get(served.mirrorlist).decode().split() == [served.nobody, f"{served.url}/base"]
    assert get(f"{served.mirrorlist}?repos=os") == get(served.mirrorlist)
    assert get(f"{served.url}/?repos=updates") == b"http://other\n"
    with pytest.raises(ConnectionRefusedError), socket.socket() as connection:
        connection.connect((urlsplit(served.nobody).hostname, urlsplit(served.nobody).port))


def test_faults_come_as_ordered_and_go(served):
    """A refusal, wrong bytes of the right number, and a death in mid-body that lasts."""
    whole, url = get(f"{served.url}/base/file"), f"{served.url}/base/file"
    served.refuse("base/f*", 503)
    with pytest.raises(urllib.error.HTTPError, match="503") as caught:
        get(url)
    caught.value.close()
    served.heal()
    served.spoil("base/file")
    assert len(get(url)) == len(whole)
    assert get(url) != whole
    served.heal()
    served.die_after(len(whole) + 20_000)
    assert get(url) == whole
    with pytest.raises(IncompleteRead) as cut:
        get(url)
    assert cut.value.partial == whole[:20_000]
    with pytest.raises((HTTPException, OSError)):
        get(url)
    served.revive()
    assert get(url) == whole
    # In the order of their ends: the one that died may be noted after the one that followed.
    assert sorted(each.whole for each in served.asked if each.status == 200)[-3:] == [True] * 3
    assert [each.whole for each in served.asked if each.status == 200][-3:].count(False) == 1


def test_a_mirror_ends_though_a_client_waits(tmp_path):
    """One that was told to wait, and one that keeps its connection."""
    began = time.monotonic()
    with Mirror(tmp_path) as mirror, socket.socket() as waiting, socket.socket() as idle:
        for each in (waiting, idle):
            each.settimeout(5)
            each.connect((urlsplit(mirror.url).hostname, urlsplit(mirror.url).port))
        idle.sendall(b"GET /none HTTP/1.1\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 404")
        mirror.delay("*", 60)
        waiting.sendall(b"GET /none HTTP/1.1\r\n\r\n")
    assert time.monotonic() - began < 5


def member(path: str, kind: str = "f", target: str = "", mode: str = "644") -> tuple[str, Member]:
    return path, Member(kind, mode, "root", "root", path, target)


def deb(
    name: str, *lists: str, depends=(), provides=(), version: str = "1:2.0-rc1-3"
) -> tuple[str, Deb]:
    return name, Deb(name, version, noarch=False, depends=depends, provides=provides, lists=lists)


TREE = Tree(
    dict(
        [
            *(member(path, "d", mode="755") for path in ("/etc", "/usr", "/usr/bin", "/usr/own")),
            member("/bin", "l", "usr/bin"),
            member("/etc/awk", "l", "/bin/mawk"),
            member("/usr/bin/awk", "l", "../../etc/awk"),
            member("/usr/bin/mawk"),
            member("/usr/bin/["),
            member("/etc/passwd"),
            member("/etc/made"),
            member("/usr/own/systemd"),
        ]
    ),
    dict(
        [
            deb("mawk", "/bin", "/bin/mawk", depends=(("no", "libc"), ("no",)), provides=("awk",)),
            deb("test", "/bin", "/bin/[", "/usr/own", "/usr/own/systemd", depends=(("awk",), ("gone",))),
            deb("libc", version="2"),
            deb("gone"),
        ]
    ),
)
SHAPE = Shape(
    *("i386", "i386", "", ""),
    names={"mawk": "gawk", "gone": NOTHING},
    claims={"/etc/passwd": "setup"},
    own=(Rpm("setup"), Rpm(BASE), Rpm("gawk", scripts={"post": "echo 100%"})),
)


def test_a_tree_is_taken_apart_by_owner():
    """Through links, as in a chroot; dependencies and names as the shape has them; nothing is lost or twice."""
    made = packages(TREE, SHAPE)
    assert set(made) == {"setup", BASE, "gawk", "test", "libc"}
    assert (made["gawk"].epoch, made["gawk"].version, made["gawk"].release) == ("1", "2.0.rc1", "3")
    assert made["libc"].release == "0"
    assert made["gawk"].requires == {"libc"}
    assert made["test"].requires == {"gawk"}
    assert made["setup"].requires | made["setup"].before == set()
    assert made[BASE].before == {"setup"}
    paths = {name: [line.split('"')[1] for line in rpm.files] for name, rpm in made.items()}
    assert paths.pop("gawk") == ["/etc/awk", "/usr/bin/awk", "/usr/bin/mawk"]
    assert paths.pop("test") == ["/usr/bin/[[]", "/usr/own", "/usr/own/systemd"]
    assert paths.pop("setup") == ["/etc/passwd"]
    assert paths.pop(BASE) == [
        "/bin",
        "/etc",
        "/etc/made",
        "/usr",
        "/usr/bin",
    ]
    text = spec(made.values(), SHAPE)
    assert "%post -n gawk\necho 100%%\n" in text
    assert '%verify(not md5 size mtime) %config(noreplace) %attr(644,root,root) "/etc/passwd"' in text


def test_a_preset_becomes_scriptlets():
    """Of the packages that have the units."""
    path = "/usr/lib/systemd/system/own.service"
    tree = Tree({**TREE.members, **dict([member(path)])}, dict([deb("test", path)]))
    (rpm,) = units(tree, SHAPE, "enable own.service\ndisable *\n")
    assert (rpm.name, rpm.before) == ("test", {"systemd"})
    assert "systemctl --no-reload preset own.service" in rpm.scripts["post"]
