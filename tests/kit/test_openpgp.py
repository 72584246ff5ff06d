"""A key that is made once, and signatures that a program which is not ours finds good."""

from pathlib import Path

import pytest

from tasks.kit import openpgp
from tasks.kit.fault import HostFault
from tests import rpms
from tests.trees import EPOCH, program

TEXT = "Suite: bookworm\n- a line with a dash\n"


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    """In a folder so deep that no agent's socket would fit there."""
    path = tmp_path_factory.mktemp("keys") / ("deep " * 30) / "openpgp.asc"
    openpgp.keep(path, "a test")
    return path


def verified(folder: Path, signed: str, public: str) -> str:
    """What gpgv takes for what was signed."""
    (folder / "signed").write_text(signed)
    (folder / "armour").write_text(public)
    key = folder / "public"
    program("gpg", "--batch", "--yes", "--quiet", "--dearmor", "--output", key, folder / "armour")
    return program("gpgv", "--keyring", key, "--output", "-", folder / "signed")


def test_what_is_signed_is_found_good_by_others(key, tmp_path):
    """Even when it is of 1970: a signature is no older than its key."""
    for when in (0, EPOCH):
        signed, public = openpgp.signed(TEXT, key, when)
        assert verified(tmp_path, signed, public) == TEXT


def test_the_same_is_signed_with_the_same_bytes(key):
    """Another time or another text has others."""
    once = openpgp.signed(TEXT, key, EPOCH)
    assert openpgp.signed(TEXT, key, EPOCH) == once
    assert openpgp.signed(TEXT, key, EPOCH + 1) != once


def test_a_key_is_made_once_and_nobody_else_reads_it(key):
    """And nothing else is left of its making."""
    before = key.read_bytes()
    openpgp.keep(key, "somebody else")
    assert key.read_bytes() == before
    assert key.stat().st_mode & 0o077 == 0
    assert list(key.parent.iterdir()) == [key]


def test_a_key_of_ones_own_signs_though_it_is_younger(tmp_path):
    """Its signatures are then as old as itself."""
    theirs = rpms.signing_key(tmp_path)
    argv = ("gpg", "--batch", "--armor", "--export-secret-keys")
    own = tmp_path / "openpgp.asc"
    own.write_text(rpms.run(*argv, home=theirs.home))
    rpms.run("gpgconf", "--homedir", theirs.home, "--kill", "all", home=theirs.home)
    own.chmod(0o600)
    openpgp.keep(own, "nobody")
    signed, public = openpgp.signed(TEXT, own, EPOCH)
    assert verified(tmp_path, signed, public) == TEXT


def test_a_key_that_cannot_be_used_is_told_of(tmp_path):
    """With what to do."""
    path = tmp_path / "openpgp.asc"
    path.write_text("-----BEGIN PGP PRIVATE KEY BLOCK-----\n")
    with pytest.raises(HostFault, match=r"openpgp\.asc can be read by others") as caught:
        openpgp.keep(path, "x")
    assert caught.value.hint == f"chmod 600 {path}"
    with pytest.raises(HostFault, match="is no key that can be signed with") as caught:
        openpgp.signed(TEXT, path, EPOCH)
    assert "move the file away and a new one is made" in caught.value.hint
