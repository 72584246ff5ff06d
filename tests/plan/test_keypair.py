"""Fingerprints as EC2 gives them, against OpenSSH's and OpenSSL's own."""

import subprocess

import pytest

from tasks.plan import keypair


@pytest.fixture
def line(tmp_path, request):
    kind = getattr(request, "param", "ed25519")
    argv = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "somebody", "-f", tmp_path / "key"]
    subprocess.run(argv, check=True)
    return (tmp_path / "key.pub").read_text()


def test_an_ed25519_keys_is_opensshs_in_base64_with_padding(line, tmp_path):
    """AWS pads it; `ssh-keygen -l` does not."""
    argv = ["ssh-keygen", "-l", "-f", tmp_path / "key.pub"]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()[1]
    ours = keypair.fingerprint(line)
    assert ours.endswith("=")
    assert keypair.same(ours, said)
    assert said == f"SHA256:{ours.rstrip('=')}"


@pytest.mark.parametrize("line", ["rsa"], indirect=True)
def test_an_imported_rsa_keys_is_the_md5_of_its_der_form(line, tmp_path):
    """As the user guide computes it with openssl, and not as ssh-keygen does."""
    argv = ["ssh-keygen", "-e", "-m", "PKCS8", "-f", tmp_path / "key.pub"]
    pem = subprocess.run(argv, check=True, capture_output=True).stdout
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "DER"], input=pem, check=True, capture_output=True
    ).stdout
    said = subprocess.run(["openssl", "md5", "-c"], input=der, check=True, capture_output=True)
    assert keypair.fingerprint(line) == said.stdout.decode().split()[-1]


def test_a_comment_makes_no_other_key(line):
    other = line.replace("somebody", "somebody-else")
    assert keypair.digest(line) == keypair.digest(other)
    assert keypair.fingerprint(line) == keypair.fingerprint(other)


def test_two_keys_are_not_the_same():
    assert not keypair.same("R9rc8iSPhtpVCqm1wwNZAHVDXwMmDDOYHCBR8L+uqMM=", "other=")
