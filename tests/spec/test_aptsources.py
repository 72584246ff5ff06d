"""The machine's own sources become an image's repositories: both formats, the right suites, and nothing that is off."""

import pytest

from tasks.spec.aptsources import host_repositories

DEB822 = """\
# a comment
Types: deb deb-src
URIs: https://mirror.example/debian
Suites: bookworm bookworm-updates
 bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/some.gpg

Types: deb
Enabled: no
URIs: https://off.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: https://source.example/debian
Suites: bookworm
Components: main
"""
ONE_LINE = """\
# deb https://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] https://user:secret@old.example/security bookworm-security main non-free # why
deb https://other.example/debian trixie main
deb-src https://old.example/debian bookworm main
"""


@pytest.fixture
def etc(tmp_path):
    """/etc of a host with sources in both formats."""
    (tmp_path / "apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "apt/sources.list").write_text(ONE_LINE)
    (tmp_path / "apt/sources.list.d/debian.sources").write_text(DEB822)
    (tmp_path / "apt/sources.list.d/off.sources.disabled").write_text(DEB822.replace("mirror", "no"))
    (tmp_path / "os-release").write_text(
        'PRETTY_NAME="Debian 12"\nID=debian\nVERSION_CODENAME="bookworm"\n'
    )
    return tmp_path


def test_both_formats_are_read(etc):
    """Only enabled binary sources of the release, its updates and its security suite."""
    old, new = host_repositories("debian", "bookworm", etc)
    assert (old.uri, old.suites) == ("https://user:secret@old.example/security", ("bookworm-security",))
    assert (old.components, old.signed_by) == (("main", "non-free"), "/k.gpg")
    assert old.public_uri == "https://old.example/security"
    assert (new.uri, new.suites) == ("https://mirror.example/debian", ("bookworm", "bookworm-updates"))
    assert (new.components, new.signed_by) == (("main", "contrib"), "/usr/share/keyrings/some.gpg")


def test_a_source_of_the_release_itself_goes_before_any_other(etc):
    """A host that is about to be upgraded names both."""
    (only,) = host_repositories("debian", "trixie", etc)
    assert (only.uri, only.suites) == ("https://other.example/debian", ("trixie",))


def test_a_host_of_another_release_has_mirrors_that_hold_this_one_too(etc):
    """Its own suites, called by the other name; everything else as it is."""
    own, other = (host_repositories("debian", release, etc) for release in ("bookworm", "forky"))
    assert [each.suites for each in other] == [("forky-security",), ("forky", "forky-updates")]
    assert [each.model_dump(exclude={"suites"}) for each in other] == [
        each.model_dump(exclude={"suites"}) for each in own
    ]


def test_a_host_of_another_distribution_has_none(etc):
    """Debian's mirrors hold no Ubuntu; and a host that does not say what it is, is nobody's."""
    assert host_repositories("ubuntu", "noble", etc) == ()
    (etc / "os-release").unlink()
    assert host_repositories("debian", "forky", etc) == ()
    assert len(host_repositories("debian", "bookworm", etc)) == 2


def test_a_host_without_a_release_name_has_none_for_others(etc):
    """Debian's testing has none between two releases; an empty name is in every suite."""
    (etc / "os-release").write_text("ID=debian\n")
    assert host_repositories("debian", "forky", etc) == ()


def test_a_machine_without_apt_has_none(tmp_path):
    """A Fedora host, say."""
    assert host_repositories("debian", "bookworm", tmp_path / "nothing") == ()
