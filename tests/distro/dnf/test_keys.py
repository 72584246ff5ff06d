"""Keys come from files and servers, in any form, and leave in one that rpm reads. What is wrong is told of all of them at once."""

import subprocess
from pathlib import Path

import pytest

from tasks.distro.dnf import upstream
from tasks.distro.dnf.keys import LARGEST, gather
from tasks.kit.fault import ConfigFault, HostFault
from tasks.spec.source import YumRepository
from tests import oldrpms, rpms
from tests.mirrors import Mirror
from tests.rpms import Key


@pytest.fixture(scope="module")
def key(tmp_path_factory) -> Key:
    return rpms.signing_key(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def mirror(tmp_path):
    (tmp_path / "served").mkdir()
    with Mirror(tmp_path / "served") as made:
        yield made


def repository(name: str, *keys: str, proxy: str | None = None) -> YumRepository:
    checked = bool(keys)
    return YumRepository(
        id=name, baseurl=("http://m.example",), gpgkey=keys, gpgcheck=checked, proxy=proxy
    )


def packets(path: Path) -> str:
    done = subprocess.run(
        ["gpg", "--list-packets", str(path)], check=True, capture_output=True, text=True
    )
    return done.stdout


def place(url: str) -> Path:
    return Path(url.removeprefix("file://"))


def test_keys_come_from_files_and_servers_each_once(tmp_path, monkeypatch, key, mirror):
    """By path, by file URL with %20, by http; two repositories may name the same."""
    monkeypatch.chdir(tmp_path)
    Path("a key").write_text(key.public.read_text())
    Path("near").write_text(key.public.read_text())
    (mirror.folder / "key").write_text(key.public.read_text())
    by_file, by_http = f"file://{tmp_path}/a%20key", f"{mirror.url}/key"
    wanted = [repository("a", "near", by_file), repository("b", by_http, "near"), repository("c")]
    found = gather(wanted, tmp_path / "out")
    assert list(map(len, found.values())) == [2, 2, 0]
    assert found["a"][0] == found["b"][1]
    assert {place(url).parent for urls in found.values() for url in urls} == {tmp_path / "out"}
    assert mirror.fetched() == ["key"]
    for url in found["a"]:
        assert packets(place(url)).count(":public key packet:") == 1


def test_a_key_may_be_armoured_binary_or_several_in_one_file(tmp_path, key):
    """All end in armour, which dnf5 asks for."""
    home = key.home
    rpms.run("gpg", "--batch", "--output", tmp_path / "binary", "--export", home=home)
    other = rpms.stranger(tmp_path / "other")
    (tmp_path / "both").write_text(key.public.read_text() + other.public.read_text())
    keys = [str(tmp_path / name) for name in ("binary", "both")]
    found = gather([repository("a", *keys)], tmp_path / "out")["a"]
    assert [packets(place(url)).count(":public key packet:") for url in found] == [1, 2]
    assert all(place(url).read_text().startswith("-----BEGIN PGP PUBLIC KEY") for url in found)


def test_an_elgamal_subkey_is_left_out_and_rpm_takes_the_key(tmp_path):
    """As CentOS 3, 4 and 5 have them; as it stands, rpm refuses this one."""
    old = oldrpms.key_of_2005(tmp_path / "old")
    (found,) = gather([repository("a", str(old.public))], tmp_path / "out")["a"]
    assert ":public sub key packet:" in packets(old.public)
    assert ":public sub key packet:" not in packets(place(found))
    for path, ends in ((old.public, 1), (place(found), 0)):
        command = ["rpmkeys", "--dbpath", tmp_path / "db", "--import", path]
        assert subprocess.run(command, check=False, capture_output=True).returncode == ends


def test_all_that_is_wrong_is_told_at_once(tmp_path, key, mirror):
    """Of every repository that names it; a key that is fine does not hide the others."""
    (tmp_path / "empty").write_text("")
    (mirror.folder / "huge").write_bytes(bytes(LARGEST + 1))
    missing, huge = str(tmp_path / "missing"), f"{mirror.url}/huge"
    wanted = [
        repository("a", missing, str(key.public), str(tmp_path / "empty")),
        repository("b", huge, missing, str(tmp_path)),
    ]
    with pytest.raises(ConfigFault) as caught:
        gather(wanted, tmp_path / "out")
    assert caught.value.problem == "4 key(s) of `repositories` cannot be used"
    assert caught.value.evidence == (
        f"a: gpgkey: {missing}: cannot be read: No such file or directory",
        f"a: gpgkey: {tmp_path}/empty: is not a public key: no valid OpenPGP data found.",
        f"b: gpgkey: {huge}: is larger than 1048576 bytes",
        f"b: gpgkey: {missing}: cannot be read: No such file or directory",
        f"b: gpgkey: {tmp_path}: cannot be read: Is a directory",
    )


def test_a_server_that_is_away_is_no_fault_of_the_configuration(tmp_path, mirror, monkeypatch):
    """Refused, or silent: one as soon as the other, and all of them together."""
    monkeypatch.setattr(upstream, "ANSWER", 0.5)
    mirror.delay("*", 60)
    silent = [f"{mirror.url}/{name}" for name in "abcdef"]
    with pytest.raises(HostFault) as caught:
        gather([repository("a", f"{mirror.nobody}/x", *silent)], tmp_path / "out")
    assert caught.value.evidence == (
        f"a: gpgkey: {mirror.nobody}/x: cannot be fetched: [Errno 111] Connection refused",
        *(f"a: gpgkey: {url}: cannot be fetched: timed out" for url in silent),
    )


def test_a_key_comes_through_the_repositorys_proxy(tmp_path, key, mirror):
    """Which is asked for the whole address."""
    (mirror.folder / "key").write_text(key.public.read_text())
    wanted = repository("a", "http://far.invalid/key", proxy=mirror.url)
    assert gather([wanted], tmp_path / "out")["a"]
    assert [each.path for each in mirror.asked] == ["http://far.invalid/key"]


def test_a_machine_without_gpg_is_told_how_to_get_it(tmp_path, key, monkeypatch):
    """The key is not at fault."""
    monkeypatch.setattr("tasks.kit.proc.tool", lambda name: None if name == "gpg" else name)
    with pytest.raises(HostFault) as caught:
        gather([repository("a", str(key.public))], tmp_path / "out")
    assert "gpg is not installed" in caught.value.evidence[0]
    assert caught.value.hint == "doit host --install"


def test_gpg_leaves_nothing_behind(tmp_path, key, monkeypatch):
    """No agent, and no home."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    gather([repository("a", str(key.public))], tmp_path / "out")
    assert list((tmp_path / "tmp").iterdir()) == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["00.asc"]
    lines = (path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline"))
    assert not any(str(tmp_path).encode() in line and b"gpg-agent" in line for line in lines)
