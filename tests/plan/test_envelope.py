import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateNumbers
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from tasks.kit.fault import ConfigFault, ImageFault
from tasks.plan import envelope
from tests import bundles

KEY = envelope.private_key(bundles.pair("user")[0], "pk.pem")
OTHER = envelope.private_key(bundles.pair("another")[0], "pk.pem")


def test_a_secret_is_the_same_for_the_same_and_differs_for_all_else():
    """By key, by salt, and key from IV."""
    first = envelope.secret(KEY, b"salt")
    assert envelope.secret(KEY, b"salt") == first
    others = (envelope.secret(KEY, b"pepper"), envelope.secret(OTHER, b"salt"))
    assert len({half for each in (first, *others) for half in (each.key, each.iv)}) == 6
    assert [len(first.key), len(first.iv)] == [16, 16]


def test_a_secret_is_not_printed():
    """Not by a traceback, not by a log."""
    secret = envelope.secret(KEY, b"salt")
    assert repr(secret) == f"{secret}" == "Secret(...)"


def test_what_is_sealed_opens_with_its_key_alone():
    """Each time another ciphertext, as PKCS#1 has it."""
    secret = envelope.secret(KEY, b"salt")
    sealed = envelope.seal(secret, KEY.public_key())
    assert envelope.unseal(sealed, KEY) == secret
    assert envelope.seal(secret, KEY.public_key()) != sealed
    with pytest.raises(ImageFault, match="does not open this bundle's AES key"):
        envelope.unseal(sealed, OTHER)


@given(st.lists(st.binary(max_size=100), max_size=8))
def test_openssls_form_of_aes_and_back(stream):
    """Padded to whole blocks, a block more where it was whole; the reader gets every byte."""
    secret = envelope.Secret(b"k" * 16, b"i" * 16)
    sealed = b"".join(bytes(each) for each in envelope.encrypted(stream, secret))
    length = sum(map(len, stream))
    assert len(sealed) == length + 16 - length % 16
    assert b"".join(envelope.decrypted([sealed[:7], sealed[7:]], secret)) == b"".join(stream)


@pytest.mark.parametrize("length", [0, 15, 16, 100_000])
def test_openssl_encrypts_to_the_same_bytes(length):
    """`openssl enc -aes-128-cbc -K -iv`: no salt, no header."""
    secret = envelope.Secret(bytes(range(16)), bytes(range(16, 32)))
    command = ("openssl", "enc", "-aes-128-cbc", "-K", secret.key.hex(), "-iv", secret.iv.hex())
    theirs = subprocess.run(command, input=b"x" * length, check=True, stdout=subprocess.PIPE).stdout
    assert b"".join(bytes(each) for each in envelope.encrypted([b"x" * length], secret)) == theirs


@pytest.mark.parametrize("sealed", [b"", b"x" * 15, b"x" * 32])
def test_a_stream_without_padding_is_refused(sealed):
    """Cut, or of another key."""
    with pytest.raises(ImageFault, match="cut short or was made with another key"):
        list(envelope.decrypted([sealed], envelope.Secret(b"k" * 16, b"i" * 16)))


def test_a_signature_holds_for_its_text_and_key_alone():
    """Changed text, another key, and what is no signature at all."""
    signature = envelope.sign(b"text", KEY)
    assert envelope.signed_by(b"text", signature, KEY.public_key())
    assert not envelope.signed_by(b"test", signature, KEY.public_key())
    assert not envelope.signed_by(b"text", signature, OTHER.public_key())
    assert not envelope.signed_by(b"text", "UNSIGNED", KEY.public_key())


def test_a_damaged_key_is_noticed_when_it_signs():
    """Its public half refuses what it makes."""
    true = KEY.private_numbers()
    numbers = RSAPrivateNumbers(
        true.p, true.q, true.d ^ 2, true.dmp1, true.dmq1 ^ 2, true.iqmp, true.public_numbers
    )
    broken = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    with pytest.raises(ConfigFault, match="the private key is damaged"):
        envelope.sign(b"text", broken)


def pem(key, secrecy):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secrecy)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "not a private key in PEM"),
        (b"\xff\xfe", "not a private key in PEM"),
        (bundles.pair("user")[1], "not a private key in PEM"),
        (pem(KEY, BestAvailableEncryption(b"secret")), "has a passphrase"),
        (pem(ec.generate_private_key(ec.SECP256R1()), NoEncryption()), "not an RSA key"),
    ],
)
def test_what_is_no_rsa_key_is_refused(text, why):
    """With the file's name and what would do."""
    with pytest.raises(ConfigFault, match=why) as caught:
        envelope.private_key(text, "pk.pem")
    assert (caught.value.where, bool(caught.value.hint)) == ("pk.pem", True)


@pytest.mark.parametrize("text", [b"", b"\xff", bundles.pair("user")[0]])
def test_what_is_no_certificate_is_refused(text):
    """The same for the other half."""
    with pytest.raises(ConfigFault, match="not a certificate in PEM"):
        envelope.public_key(text, "cert.pem")


def test_a_certificate_of_another_kind_of_key_is_refused():
    """The format knows RSA only."""
    command = (
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=x",
    )
    out = subprocess.run((*command, "-keyout", "/dev/null"), check=True, capture_output=True).stdout
    with pytest.raises(ConfigFault, match="not about an RSA key"):
        envelope.public_key(out, "cert.pem")
