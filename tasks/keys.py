"""→ ssh_key, pk.pem, cert.pem: the key pairs of an image, made once and never overwritten.

In:    nothing but the kind of key
Out:   an SSH pair to log in with; an X.509 pair (RSA) that bundles are signed with and encrypted to. Private halves 0600
Needs: nothing

What is there is kept, and checked: put your own files in their place and they are used.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tasks.kit import files
from tasks.kit.fault import HostFault
from tasks.kit.report import Report
from tasks.spec.part import Part

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

RECIPE = 1
RSA_BITS = 2048  # what every reader of the bundle format, back to 2007, can decrypt with
# EC2 looks at no date in it; a certificate that runs out would only break readers of old bundles.
VALID = (datetime(2006, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, tzinfo=UTC))


class Order(Part):
    """All this stage may know."""

    owner: str
    ssh: Literal["ed25519", "rsa"] | None  # none for what nobody logs in to


def body(
    order: Order,
    *,
    report: Report,
    signing_key: Path,
    certificate: Path,
    private_key: Path | None = None,
    public_key: Path | None = None,
) -> None:
    signing_key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if order.ssh and private_key and public_key:
        report.said("making the SSH key")
        pair = _kept(private_key, _new_ed25519 if order.ssh == "ed25519" else _new_rsa, _openssh)
        _follow(public_key, _public_line(pair, order.owner), private_key)
    report.said("making the signing key")
    signer = _kept(signing_key, _new_rsa, _pkcs8)
    if not certificate.exists():
        files.write(certificate, _certificate(signer, order.owner))
    _check_certificate(certificate, signer, signing_key)


def _kept(path: Path, new: Callable[[], Any], written: Callable[[Any], bytes]) -> Any:
    """The private key at `path`, made when there is none. Raises HostFault when what is there cannot be used."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    if not path.exists():
        files.write(path, written(new()), mode=0o600)
    text = path.read_bytes()
    if path.stat().st_mode & 0o077:
        raise HostFault(f"{path.name} can be read by others", where=str(path), hint=f"chmod 600 {path}")
    load = load_ssh_private_key if b"BEGIN OPENSSH" in text else load_pem_private_key
    try:
        return load(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise HostFault(
            f"{path.name} is no private key that can be used: {error}",
            where=str(path),
            hint="put a key without a passphrase there, or move the file away and a new one is made",
        ) from error


def _follow(public: Path, line: str, private: Path) -> None:
    """The public half says what the private one is; a stranger's is not overwritten."""
    if not public.exists():
        files.write(public, line)
    elif public.read_text().split()[:2] != line.split()[:2]:
        raise HostFault(
            f"{public.name} is not the public half of {private.name}",
            where=str(public),
            hint="move the one that is wrong away",
        )


def _new_ed25519() -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()


def _new_rsa() -> Any:
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def _openssh(key: Any) -> bytes:
    return _pem(key, "OpenSSH")


def _pkcs8(key: Any) -> bytes:
    return _pem(key, "PKCS8")


def _pem(key: Any, kind: str) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem: bytes = key.private_bytes(Encoding.PEM, getattr(PrivateFormat, kind), NoEncryption())
    return pem


def _public_line(key: Any, owner: str) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    line: bytes = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return f"{line.decode()} {owner}\n"


def _certificate(key: "RSAPrivateKey", owner: str) -> bytes:
    """Self-signed: EC2 knows no user's certificate, and asks for none to be registered."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"doit-ami {owner}"[:64])])
    start, end = VALID
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), start, end
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _check_certificate(path: Path, key: "RSAPrivateKey", key_path: Path) -> None:
    from cryptography import x509

    try:
        public = x509.load_pem_x509_certificate(path.read_bytes()).public_key()
    except ValueError as error:
        raise HostFault(f"{path.name} is no certificate: {error}", where=str(path)) from error
    if public != key.public_key():
        raise HostFault(
            f"{path.name} is not the certificate of {key_path.name}",
            where=str(path),
            hint="move the one that is wrong away; a certificate is made to fit the key",
        )
