"""Key pairs: imported, found by name, id and fingerprint, deleted."""

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests import localimages
from tests.localcloud import refused


@pytest.fixture(scope="module")
def ec2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of one cloud for all tests that change nothing."""
    with localimages.standing(tmp_path_factory.mktemp("standing")) as cloud:
        yield cloud.client("ec2")


def line(key):
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ED25519 = ed25519.Ed25519PrivateKey.generate()


def test_fingerprints_are_as_aws_computes_them(localcloud):
    """MD5 of an RSA key's DER form, with colons; SHA-256 of an ED25519 key's own, in base64."""
    ec2 = localcloud.client("ec2")
    made = ec2.import_key_pair(KeyName="rsa", PublicKeyMaterial=line(RSA) + b" me@home\n")
    der = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    plain = hashlib.md5(der, usedforsecurity=False).hexdigest()
    assert made["KeyFingerprint"] == ":".join(plain[at : at + 2] for at in range(0, 32, 2))
    made = ec2.import_key_pair(KeyName="ed", PublicKeyMaterial=line(ED25519))
    blob = base64.b64decode(line(ED25519).split()[1])
    assert made["KeyFingerprint"] == base64.b64encode(hashlib.sha256(blob).digest()).decode()


def test_pairs_are_listed_with_their_keys_if_asked(localcloud):
    """And are there again after a restart."""
    ec2 = localcloud.client("ec2")
    tags = [{"ResourceType": "key-pair", "Tags": [{"Key": "a", "Value": "b"}]}]
    one = ec2.import_key_pair(KeyName="one", PublicKeyMaterial=line(RSA), TagSpecifications=tags)
    two = ec2.import_key_pair(KeyName="two", PublicKeyMaterial=line(ED25519))
    localcloud.restart()
    ec2 = localcloud.client("ec2")
    pairs = ec2.describe_key_pairs()["KeyPairs"]
    assert [(pair["KeyName"], pair["KeyType"]) for pair in pairs] == [("one", "rsa"), ("two", "ed25519")]
    assert pairs[0]["Tags"] == one["Tags"] == [{"Key": "a", "Value": "b"}]
    assert "PublicKey" not in pairs[0]
    [found] = ec2.describe_key_pairs(KeyNames=["one"], IncludePublicKey=True)["KeyPairs"]
    assert found["PublicKey"] == f"{line(RSA).decode()} one"
    [found] = ec2.describe_key_pairs(KeyPairIds=[two["KeyPairId"]])["KeyPairs"]
    assert found["KeyName"] == "two"
    for name, value in {
        "fingerprint": two["KeyFingerprint"],
        "key-name": "tw*",
        "key-pair-id": two["KeyPairId"],
    }.items():
        [found] = ec2.describe_key_pairs(Filters=[{"Name": name, "Values": [value]}])["KeyPairs"]
        assert found["KeyName"] == "two"


@pytest.mark.parametrize(
    "material",
    [
        b"",
        b"ssh-rsa",
        b"ssh-rsa AAAA",
        b"no key",
        "ssh-rsa clé".encode(),
        line(RSA) + b"\n" + line(ED25519),
        line(ec.generate_private_key(ec.SECP256R1())),
        line(rsa.generate_private_key(public_exponent=65537, key_size=3072)),
        RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ],
)
def test_what_is_no_key_for_ec2_is_refused(ec2, material):
    """One line of OpenSSH's; RSA of 1024, 2048 or 4096 bits, or ED25519."""
    asked = {"KeyName": "one", "PublicKeyMaterial": material}
    assert refused(ec2.import_key_pair, **asked) == "InvalidKey.Format"
    assert ec2.describe_key_pairs()["KeyPairs"] == []


@pytest.mark.parametrize("name", ["", "n" * 256, "é", " one", "a\nb"])
def test_a_name_is_plain(ec2, name):
    """Up to 255 characters of ASCII."""
    asked = {"KeyName": name, "PublicKeyMaterial": line(ED25519)}
    assert refused(ec2.import_key_pair, **asked) == "InvalidParameterValue"


def test_a_name_is_of_one_pair(localcloud):
    """Until that is deleted, which may be done as often as one likes."""
    ec2 = localcloud.client("ec2")
    asked = {"KeyName": "one", "PublicKeyMaterial": line(ED25519)}
    made = ec2.import_key_pair(**asked)
    assert refused(ec2.import_key_pair, **asked) == "InvalidKeyPair.Duplicate"
    localcloud.client("ec2", region="eu-west-1").import_key_pair(**asked)
    localcloud.client("ec2", account="210987654321").import_key_pair(**asked)
    assert refused(ec2.delete_key_pair) == "MissingParameter"
    both = {"KeyName": "one", "KeyPairId": made["KeyPairId"]}
    assert refused(ec2.delete_key_pair, **both) == "InvalidParameterCombination"
    assert ec2.delete_key_pair(KeyName="one")["KeyPairId"] == made["KeyPairId"]
    assert ec2.delete_key_pair(KeyName="one")["Return"]
    assert refused(ec2.describe_key_pairs, KeyNames=["one"]) == "InvalidKeyPair.NotFound"
    assert refused(ec2.describe_key_pairs, KeyPairIds=[made["KeyPairId"]]) == "InvalidKeyPair.NotFound"
    again = ec2.import_key_pair(**asked)
    ec2.delete_key_pair(KeyPairId=again["KeyPairId"])
    assert ec2.describe_key_pairs()["KeyPairs"] == []


def test_nobody_is_given_a_private_key(ec2):
    """CreateKeyPair is not known."""
    assert refused(ec2.create_key_pair, KeyName="one") == "UnsupportedOperation"
