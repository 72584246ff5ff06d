"""The cryptography of a bundle: who can open it, and who made it.

The image is encrypted with an AES key and IV; those two travel in the manifest, encrypted with RSA, once for the user and
once for EC2. Certificates are mere wrappers of public keys here: EC2's own expired in 2006 and has 1024 bits, so nobody looks at dates and sizes.

`cryptography` is imported inside: it takes longer than all the rest of a `doit list`.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.kit.fault import ConfigFault, ImageFault

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

AES_BLOCK = 16
PURPOSE = b"doit-ami: S3-backed bundle, AES-128 "  # raise a number behind it when keys must differ from older ones


@dataclass(frozen=True)
class Secret:
    """An AES-128 key and its IV."""

    key: bytes
    iv: bytes

    def __repr__(self) -> str:
        return "Secret(...)"  # never into a log or a traceback


@dataclass(frozen=True)
class Sealed:
    """A Secret that one recipient can open: RSA ciphertexts in hex."""

    key: str
    iv: str


def private_key(pem: bytes, where: object) -> "RSAPrivateKey":
    """Raises ConfigFault unless it is an RSA key without a passphrase."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    hint = "an RSA key without a passphrase, as `openssl genrsa` or `doit keys` makes it"
    try:
        # Whether its numbers fit each other takes 40 ms to see, and shows at once when the key is used.
        key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise ConfigFault("the private key has a passphrase", where=str(where), hint=hint) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigFault("this is not a private key in PEM", where=str(where), hint=hint) from None
    if not isinstance(key, RSAPrivateKey):
        raise ConfigFault("the private key is not an RSA key", where=str(where), hint=hint)
    return key


def public_key(certificate: bytes, where: object) -> "RSAPublicKey":
    """The key inside a certificate. Raises ConfigFault unless it is an RSA key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509 import load_pem_x509_certificate

    hint = "an X.509 certificate in PEM, as `openssl req -x509` or `doit keys` makes it"
    try:
        key = load_pem_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigFault("this is not a certificate in PEM", where=str(where), hint=hint) from None
    if not isinstance(key, RSAPublicKey):
        raise ConfigFault("the certificate is not about an RSA key", where=str(where), hint=hint)
    return key


def secret(key: "RSAPrivateKey", salt: bytes) -> Secret:
    """Derived, not drawn: random to all who lack the private key, and the same again for the same bundle."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    own = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return Secret(
        *(HKDF(SHA256(), AES_BLOCK, salt, PURPOSE + part).derive(own) for part in (b"key", b"IV"))
    )


def seal(what: Secret, reader: "RSAPublicKey") -> Sealed:
    """The format wants the 32 hex digits encrypted, not the 16 bytes."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    return Sealed(
        *(reader.encrypt(half.hex().encode(), PKCS1v15()).hex() for half in (what.key, what.iv))
    )


def unseal(sealed: Sealed, key: "RSAPrivateKey") -> Secret:
    """Raises ImageFault when it was sealed for somebody else, or is broken."""
    return Secret(_opened(sealed.key, key, "key"), _opened(sealed.iv, key, "IV"))


def _opened(sealed: str, key: "RSAPrivateKey", what: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    try:
        digits = key.decrypt(bytes.fromhex(sealed), PKCS1v15())
    except ValueError:
        digits = b""
    # A wrong RSA key does not fail: it gives other bytes (OpenSSL's guard against padding oracles). A short IV is an old writer's; openssl fills it up.
    if not re.fullmatch(rb"[0-9a-fA-F]{32}" if what == "key" else rb"([0-9a-fA-F]{2}){8,16}", digits):
        raise ImageFault(
            f"the private key does not open this bundle's AES {what}",
            hint="use the key whose certificate the bundle was made with, or the recipient it was made for",
        )
    return bytes.fromhex(digits.decode().ljust(32, "0"))


def sign(document: bytes, key: "RSAPrivateKey") -> str:
    """Raises ConfigFault when the key is damaged, so that its own public half does not accept the signature."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA1

    signature = key.sign(document, PKCS1v15(), SHA1()).hex()  # noqa: S303 - the format's choice
    if not signed_by(document, signature, key.public_key()):
        raise ConfigFault(
            "the private key is damaged: what it signs cannot be verified",
            hint="doit keys, or a backup of it",
        )
    return signature


def signed_by(document: bytes, signature: str, key: "RSAPublicKey") -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA1

    try:
        key.verify(bytes.fromhex(signature), document, PKCS1v15(), SHA1())  # noqa: S303 - the format's choice
    except (InvalidSignature, ValueError):
        return False
    return True


def encrypted(stream: Iterable[bytes], what: Secret) -> Iterator[memoryview]:
    """AES-128-CBC with PKCS#7 padding, as `openssl enc -K -iv` does it: no salt, no header.

    Each view is good until the next is asked for: they share a buffer.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import CBC

    cipher = Cipher(AES(what.key), CBC(what.iv)).encryptor()
    length, buffer = 0, bytearray()
    for data in stream:
        length += len(data)
        if len(buffer) < len(data) + AES_BLOCK:
            buffer = bytearray(len(data) + AES_BLOCK)
        yield memoryview(buffer)[: cipher.update_into(data, buffer)]
    missing = AES_BLOCK - length % AES_BLOCK
    yield memoryview(cipher.update(bytes([missing]) * missing) + cipher.finalize())


def decrypted(stream: Iterable[bytes], what: Secret) -> Iterator[bytes]:
    """The reverse. Raises ImageFault when the end is not padded as it must be."""
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import CBC
    from cryptography.hazmat.primitives.padding import PKCS7

    cipher, padding = Cipher(AES(what.key), CBC(what.iv)).decryptor(), PKCS7(8 * AES_BLOCK).unpadder()
    for data in stream:
        yield padding.update(cipher.update(data))
    try:
        yield padding.update(cipher.finalize()) + padding.finalize()
    except ValueError:
        raise ImageFault("the encrypted image is cut short or was made with another key") from None
