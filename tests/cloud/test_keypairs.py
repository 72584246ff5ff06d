"""An image's key in EC2: imported once, and no stranger's taken for it."""

import subprocess

import pytest
from botocore.stub import Stubber

from tasks.cloud import keypairs
from tasks.kit.fault import CloudFault
from tasks.plan import keypair
from tasks.spec import names


def made(folder, kind, name="key"):
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", folder / name], check=True)
    return (folder / f"{name}.pub").read_text()


@pytest.fixture
def client(account):
    return account.ec2()


def test_an_rsa_key_is_imported_once(client, tmp_path):
    """moto's fingerprint of it is AWS's."""
    line = made(tmp_path, "rsa")
    name = keypairs.imported(client, "debian-12", line)
    assert name == names.key_pair("debian-12", keypair.digest(line))
    assert keypairs.imported(client, "debian-12", line) == name
    (pair,) = client.describe_key_pairs()["KeyPairs"]
    assert pair["Tags"] == [{"Key": "doit-ami:image", "Value": "debian-12"}]
    assert pair["KeyFingerprint"] == keypair.fingerprint(line)


def test_of_an_ed25519_key_moto_has_another_idea(client, tmp_path):
    """It hashes the DER form into hex; AWS says base64 of OpenSSH's ("Verify the fingerprint of your key pair"). We say
    what AWS says, and to moto's that is a key that does not match.
    """
    line = made(tmp_path, "ed25519")
    with pytest.raises(CloudFault, match="does not match"):
        keypairs.imported(client, "debian-12", line)
    assert ":" in client.describe_key_pairs()["KeyPairs"][0]["KeyFingerprint"]


def test_an_ed25519_key_as_aws_has_it(client, tmp_path):
    line = made(tmp_path, "ed25519")
    name = names.key_pair("debian-12", keypair.digest(line))
    pair = {"KeyName": name, "KeyFingerprint": keypair.fingerprint(line)}
    with Stubber(client) as stub:
        stub.add_client_error("describe_key_pairs", "InvalidKeyPair.NotFound")
        stub.add_client_error("import_key_pair", "InvalidKeyPair.Duplicate")  # another run was quicker
        stub.add_response("describe_key_pairs", {"KeyPairs": [pair]}, {"KeyNames": [name]})
        assert keypairs.imported(client, "debian-12", line) == name
        stub.assert_no_pending_responses()


def test_another_key_of_that_name_is_refused(client, tmp_path):
    """Whoever put it there could log in; the fault has both fingerprints, and what to type."""
    line, other = made(tmp_path, "rsa"), made(tmp_path, "rsa", "other")
    name = names.key_pair("debian-12", keypair.digest(line))
    client.import_key_pair(KeyName=name, PublicKeyMaterial=other.encode())
    with pytest.raises(
        CloudFault, match=rf"(?s){name} holds a key that does not match.*delete-key-pair"
    ) as caught:
        keypairs.imported(client, "debian-12", line)
    assert keypair.fingerprint(line) in str(caught.value)
    assert keypair.fingerprint(other) in str(caught.value)


def test_to_check_changes_nothing(client, tmp_path):
    line = made(tmp_path, "rsa")
    assert keypairs.checked(client, "debian-12", line)[1] is False
    assert client.describe_key_pairs()["KeyPairs"] == []
