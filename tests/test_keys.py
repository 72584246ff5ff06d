"""Keys are made once, private, and never overwritten; what is wrong with yours is said."""

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tasks import keys
from tasks.kit.fault import HostFault
from tasks.kit.report import Silent

NAMES = {
    "private_key": "ssh_key",
    "public_key": "ssh_key.pub",
    "signing_key": "pk.pem",
    "certificate": "cert.pem",
}


def make(folder: Path, kind: str = "ed25519") -> dict[str, Path]:
    paths = {name: folder / file for name, file in NAMES.items()}
    keys.body(keys.Order(owner="debian-12", ssh=kind), report=Silent(), **paths)
    return paths


@pytest.mark.parametrize(("kind", "starts"), [("ed25519", "ssh-ed25519 AAAA"), ("rsa", "ssh-rsa AAAA")])
def test_both_pairs_are_made_and_private(tmp_path, kind, starts):
    """OpenSSH and OpenSSL read them: programs that are not ours."""
    paths = make(tmp_path / "keys", kind)
    assert [paths[name].stat().st_mode & 0o777 for name in ("private_key", "signing_key")] == [
        0o600,
        0o600,
    ]
    derived = subprocess.run(
        ["ssh-keygen", "-y", "-f", paths["private_key"]], capture_output=True, text=True, check=True
    )
    assert derived.stdout.split()[:2] == paths["public_key"].read_text().split()[:2]
    assert paths["public_key"].read_text().startswith(starts)
    assert paths["public_key"].read_text().endswith(" debian-12\n")
    modulus = [
        subprocess.run(
            ["openssl", kind, "-noout", "-modulus", "-in", paths[name]], capture_output=True, check=True
        ).stdout
        for kind, name in (("rsa", "signing_key"), ("x509", "certificate"))
    ]
    assert modulus[0] == modulus[1]


def test_what_is_there_is_kept(tmp_path):
    """A second run changes no byte, and makes only what is missing: a lost public half, or certificate, is made anew."""
    paths = make(tmp_path)
    before = {name: path.read_bytes() for name, path in paths.items()}
    make(tmp_path)
    assert {name: path.read_bytes() for name, path in paths.items()} == before
    paths["public_key"].unlink()
    paths["certificate"].unlink()
    make(tmp_path)
    assert paths["public_key"].read_bytes() == before["public_key"]
    old, new = (
        x509.load_pem_x509_certificate(pem)
        for pem in (before["certificate"], paths["certificate"].read_bytes())
    )
    assert old.public_key() == new.public_key()


def stranger() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _open(paths):
    paths["private_key"].chmod(0o644)


def _garbage(paths):
    paths["signing_key"].write_text("no key")


def _mixed(paths):
    paths["public_key"].write_text("ssh-ed25519 AAAAC3Nza somebody\n")


def _swapped(paths):
    paths["signing_key"].write_bytes(
        make(paths["signing_key"].parent / "other")["signing_key"].read_bytes()
    )


def _uncertified(paths):
    paths["certificate"].write_text("no certificate")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_open, "can be read by others"),
        (_garbage, "is no private key that can be used"),
        (_mixed, "is not the public half of ssh_key"),
        (_swapped, "is not the certificate of pk.pem"),
        (_uncertified, "is no certificate"),
    ],
    ids=["open to all", "garbage", "a stranger's half", "another key", "no certificate"],
)
def test_keys_that_cannot_be_used_are_told_of_and_left(tmp_path, spoil, said):
    """Nobody wants a key of theirs replaced because a mode was wrong."""
    paths = make(tmp_path)
    spoil(paths)
    before = {name: path.read_bytes() for name, path in paths.items()}
    with pytest.raises(HostFault, match=said):
        make(tmp_path)
    assert {name: path.read_bytes() for name, path in paths.items()} == before
