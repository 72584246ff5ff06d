"""What is laid over the tree: rendered or refused, sorted, and of one age."""

import io
import tarfile

import pytest

from tasks.kit.fault import ConfigFault
from tasks.plan.content import Entry, authorized, overlay, rendered


def test_a_template_is_rendered_as_text_not_as_a_page():
    """No HTML escapes, and the last newline stays."""
    assert rendered("motd", "{{ who }} & co\n", {"who": "<root>"}) == "<root> & co\n"


@pytest.mark.parametrize(
    ("text", "said", "where"),
    [
        ("line\n{{ nosuch }}\n", "'nosuch' is undefined", "templates/motd:2"),
        ("line\n\n{% if %}\n", "Expected an expression", "templates/motd:3"),
        ("{{ open\n", "unexpected end of template", "templates/motd:1"),
        ("{{ who.colour }}", "has no attribute 'colour'", "templates/motd:1"),
    ],
    ids=["unknown name", "no expression", "not closed", "unknown attribute"],
)
def test_a_template_that_does_not_render_is_refused_with_its_line(text, said, where):
    """An empty text in its place would boot, and be wrong."""
    with pytest.raises(ConfigFault, match="template motd does not render") as caught:
        rendered("motd", text, {"who": "x"})
    assert said in caught.value.problem
    assert caught.value.where == where


def members(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getmembers()


def test_the_order_of_entries_does_not_matter():
    """The same files give the same bytes."""
    one, two = Entry("/etc/b", b"2"), Entry("/etc/a", b"1", 0o600, 5, 6)
    assert overlay([one, two], epoch=7) == overlay([two, one], epoch=7)
    first = members(overlay([one, two], epoch=7))[0]
    assert (first.name, first.mode, first.uid, first.gid, first.mtime) == ("etc/a", 0o600, 5, 6, 7)


def test_the_later_of_two_entries_wins():
    """The configuration's own file, over a template of ours."""
    data = overlay([Entry("/etc/motd", b"ours"), Entry("/etc/motd", b"theirs")], epoch=0)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        file = archive.extractfile("etc/motd")
        assert file is not None
        assert file.read() == b"theirs"
        assert len(archive.getmembers()) == 1


def test_what_is_appended_replaces_nothing():
    """It is not in the layer that is laid over the tree."""
    data = overlay([Entry("/etc/a", b"1"), Entry("/etc/b", b"2", append=True)], epoch=0)
    assert [member.name for member in members(data)] == ["etc/a"]


def test_keys_lie_where_sshd_accepts_them():
    """Folder 0700, file 0600, one line a key."""
    folder, file = authorized(
        "/root/.ssh/authorized_keys", ["ssh-ed25519 AAAA one\n", "ssh-rsa BBBB two"], mode=0o600
    )
    assert (folder.path, folder.data, folder.mode) == ("/root/.ssh", None, 0o700)
    assert (file.data, file.mode) == (b"ssh-ed25519 AAAA one\nssh-rsa BBBB two\n", 0o600)
