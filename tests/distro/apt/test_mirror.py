"""What apt has fetched becomes an archive that says what upstream's index said."""

import hashlib

import pytest

from tasks.distro import Wanted, apt
from tasks.distro.apt import mirror as aptmirror
from tasks.kit.fault import HostFault
from tasks.kit.files import time_of
from tests.trees import EPOCH

AVAILABLE = """\
Package: hello
Version: 2:1.0-1
Architecture: all
Priority: required
Section: devel
SHA256: {}

Package: hello
Version: 0.9
Architecture: all
SHA256: 00
"""


@pytest.fixture
def fetched(tmp_path):
    """A folder with a package that apt has fetched, and its path in the tree where apt saw it."""
    (tmp_path / "archives").mkdir()
    deb = tmp_path / "archives/hello_2%3a1.0-1_all.deb"
    deb.write_bytes(b"debian binary")
    (tmp_path / "available").write_text(AVAILABLE.format(hashlib.sha256(b"debian binary").hexdigest()))
    return tmp_path, [tmp_path / "tree/var/cache/apt/archives" / deb.name]


def test_a_package_lies_where_an_archive_has_it(fetched):
    """The epoch of its version is no part of the name; its time is of its content, and no copy was made."""
    work, debs = fetched
    known = aptmirror._stanzas(work / "available")
    chosen = list(aptmirror._chosen(debs, work / "archives", known))
    (held,) = aptmirror._pool(chosen, work / "new", work, EPOCH)
    assert (held.package.version, held.name) == ("2:1.0-1", "pool/hello_1.0-1_all.deb")
    status = (work / "new" / held.name).stat()
    assert status.st_mtime_ns == time_of(EPOCH, held.sha256)
    assert status.st_nlink == 2


def test_a_package_that_changed_on_the_disk_is_thrown_away(fetched):
    """apt, which looks at sizes, would take it."""
    work, debs = fetched
    (work / "archives" / debs[0].name).write_bytes(b"devious binary")
    with pytest.raises(HostFault, match="1 package\\(s\\) have changed on this disk") as caught:
        list(aptmirror._chosen(debs, work / "archives", aptmirror._stanzas(work / "available")))
    assert caught.value.evidence == (debs[0].name,)
    assert list((work / "archives").iterdir()) == []


def test_a_mirror_is_named_with_its_key_and_without_spaces(tmp_path):
    """Neither a path with spaces nor one to a keyring could stand in a sources file."""
    mirror = tmp_path / "a mirror"
    mirror.mkdir()
    (mirror / apt.ARCHIVE_KEY).write_text("-----BEGIN\n\nabc\n-----END\n")
    assert apt.mirrored(mirror, "bookworm") == (
        f"Types: deb\nURIs: copy:{tmp_path}/a%20mirror\nSuites: bookworm\nComponents: main\n"
        "Signed-By:\n -----BEGIN\n .\n abc\n -----END\n"
    )


def test_a_mirror_has_no_other_suites():
    """What is to be from one of upstream's is in it once; patterns and versions stay as they are."""
    packages = ("linux-image-cloud-amd64/bookworm-backports", "ed=1.19-1", "?archive(a/b)", "hello")
    wanted = Wanted(
        distro="debian",
        release="bookworm",
        architecture="x86_64",
        repositories=(),
        packages=packages,
        epoch=EPOCH,
    )
    assert apt.in_mirror(wanted).packages == ("linux-image-cloud-amd64", *packages[1:])
