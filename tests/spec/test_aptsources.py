"""The machine's own sources become an image's repositories: both formats, the right suites, and nothing that is off."""

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


def test_both_formats_are_read(tmp_path):
    """Only enabled binary sources of the release, its updates and its security suite."""
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(ONE_LINE)
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822)
    (tmp_path / "sources.list.d/off.sources.disabled").write_text(DEB822.replace("mirror", "no"))
    old, new = host_repositories("bookworm", tmp_path)
    assert (old.uri, old.suites) == ("https://user:secret@old.example/security", ("bookworm-security",))
    assert (old.components, old.signed_by) == (("main", "non-free"), "/k.gpg")
    assert old.public_uri == "https://old.example/security"
    assert (new.uri, new.suites) == ("https://mirror.example/debian", ("bookworm", "bookworm-updates"))
    assert (new.components, new.signed_by) == (("main", "contrib"), "/usr/share/keyrings/some.gpg")


def test_a_machine_without_apt_has_none(tmp_path):
    """A Fedora host, say."""
    assert host_repositories("bookworm", tmp_path / "nothing") == ()
