"""What the tests of bundles share: key pairs, images with holes, whole bundles, and forged ones."""

import gzip
import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tasks import bundle
from tasks.kit.report import Silent
from tasks.plan import envelope
from tasks.plan.manifest import PART, Manifest, Piece, document, parse, signed
from tasks.spec.record import FileStamp, ImgStamp

LONG_AGO = datetime(2006, 8, 9, tzinfo=UTC)  # the day EC2's own certificate ended
MADE = datetime(2026, 11, 23, tzinfo=UTC)


@cache
def pair(name: str, bits: int = 2048) -> tuple[bytes, bytes]:
    """A private key and an expired certificate of it, in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(LONG_AGO.replace(year=2005))
        .not_valid_after(LONG_AGO)
        .sign(key, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem, certificate.public_bytes(Encoding.PEM)


@dataclass(frozen=True)
class Place:
    """A directory with keys, and room for an image and its bundle."""

    root: Path

    @property
    def key(self) -> Path:
        return self.root / "pk.pem"

    @property
    def certificate(self) -> Path:
        return self.root / "cert.pem"

    @property
    def ec2_key(self) -> Path:
        return self.root / "ec2-pk.pem"

    @property
    def ec2_certificate(self) -> Path:
        return self.root / "ec2-cert.pem"

    @property
    def image(self) -> Path:
        return self.root / "disk.img"

    @property
    def stamp(self) -> Path:
        return self.root / "disk.img.stamp"

    @property
    def bundle(self) -> Path:
        return self.root / "bundle.stamp"

    @property
    def parts(self) -> Path:
        return self.root / "bundle"

    @property
    def manifest(self) -> Path:
        return self.parts / "disk.img.manifest.xml"

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.parts.iterdir()}


def place(root: Path) -> Place:
    """EC2's key is of 1024 bits, as the real one."""
    made = Place(root)
    for name, bits, key, certificate in (
        ("user", 2048, made.key, made.certificate),
        ("ec2", 1024, made.ec2_key, made.ec2_certificate),
    ):
        for path, pem in zip((key, certificate), pair(name, bits), strict=True):
            path.write_bytes(pem)
    return made


def write_image(
    path: Path, size: int, runs: Iterable[tuple[int, int]] | None = None, *, seed: int = 0
) -> None:
    """A file of `size` bytes with noise in its runs (offset, length); everywhere when they are not given."""
    noise = random.Random(seed)
    with path.open("wb") as file:
        for start, length in ((0, size),) if runs is None else runs:
            file.seek(start)
            file.write(noise.randbytes(length))
        file.truncate(size)


def write_stamp(at: Place) -> None:
    ImgStamp(file=FileStamp.of(at.image), layout="none", made=MADE).write(at.stamp)


def order(**changes: Any) -> bundle.Order:
    plain: dict[str, Any] = {
        "image": "disk",
        "architecture": "x86_64",
        "account": "123456789012",
        "block_devices": (),
        "kernel_id": None,
        "ramdisk_id": None,
        "product_codes": (),
        "ancestors": (),
        "prefix": None,
        "compression": "fast",
    }
    return bundle.Order(**plain | changes)


def make(at: Place, *, part: int = PART, **changes: Any) -> None:
    """Bundle the image of a place, stamped already, in parts of `part` bytes."""
    with mock.patch.object(bundle, "PART", part):
        bundle.body(
            order(**changes),
            report=Silent(),
            image=at.image,
            stamp=at.stamp,
            key=at.key,
            certificate=at.certificate,
            ec2_certificate=at.ec2_certificate,
            manifest=at.manifest,
            bundle=at.bundle,
        )


def ready(root: Path, size: int = 700_000, runs: Iterable[tuple[int, int]] | None = None) -> Place:
    """A place with a stamped image."""
    root.mkdir(parents=True, exist_ok=True)
    at = place(root)
    write_image(at.image, size, runs)
    write_stamp(at)
    return at


def sign(at: Place, text: bytes) -> bytes:
    """The manifest with a true signature of what it says now."""
    signature = envelope.sign(signed(text), envelope.private_key(at.key.read_bytes(), at.key))
    before, rest = text.split(b"<signature>")
    return (
        before + b"<signature>" + signature.encode() + b"</signature>" + rest.split(b"</signature>")[1]
    )


def told(at: Place) -> Manifest:
    return parse(at.manifest.read_bytes())


def retell(at: Place, **changes: Any) -> None:
    """Make the manifest say something else, truly signed."""
    at.manifest.write_bytes(sign(at, document(replace(told(at), **changes))))


def forge(
    at: Place, tar: bytes, *, size: int, zipped: bytes | None = None, name: str = "disk.img"
) -> None:
    """A bundle around any archive (or any bytes in gzip's place), consistent in all that surrounds it."""
    at.parts.mkdir(exist_ok=True)
    private = envelope.private_key(at.key.read_bytes(), at.key)
    secret = envelope.secret(private, b"forged")
    sealed = envelope.seal(secret, private.public_key())
    data = b"".join(
        bytes(each)
        for each in envelope.encrypted([gzip.compress(tar) if zipped is None else zipped], secret)
    )
    (at.parts / "forged.part.0").write_bytes(data)
    manifest = Manifest(
        architecture="x86_64",
        name=name,
        user="123456789012",
        digest=hashlib.sha1(tar, usedforsecurity=False).hexdigest(),
        size=size,
        bundled_size=len(data),
        for_ec2=sealed,
        for_user=sealed,
        parts=(Piece("forged.part.0", hashlib.sha1(data, usedforsecurity=False).hexdigest()),),
    )
    at.manifest.write_bytes(sign(at, document(manifest)))
