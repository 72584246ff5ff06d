"""An SSH public key as EC2 knows it: its fingerprints are not those of `ssh-keygen -l`.

docs.aws.amazon.com, "Verify the fingerprint of your key pair": of an imported RSA key the MD5 of its DER form, with colons;
of an ED25519 key the SHA-256 of OpenSSH's form, in base64, with padding.
"""

import base64
import hashlib


def digest(line: str) -> str:
    """SHA-256 (hex) of the key alone: a comment makes no other key."""
    return hashlib.sha256(_blob(line)).hexdigest()


def fingerprint(line: str) -> str:
    """Of the public key in a line of OpenSSH's, imported into EC2."""
    if line.startswith("ssh-rsa "):
        plain = hashlib.md5(_der(line), usedforsecurity=False).hexdigest()
        return ":".join(plain[at : at + 2] for at in range(0, len(plain), 2))
    return base64.b64encode(hashlib.sha256(_blob(line)).digest()).decode()


def same(one: str, other: str) -> bool:
    """Whether two fingerprints are one: not everybody pads, and OpenSSH says by which digest."""
    return _plain(one) == _plain(other)


def _plain(fingerprint: str) -> str:
    return fingerprint.removeprefix("SHA256:").rstrip("=")


def _blob(line: str) -> bytes:
    return base64.b64decode(line.split()[1])


def _der(line: str) -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_ssh_public_key,
    )

    key = load_ssh_public_key(line.encode())
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
