"""A bundle back to its image, believed in nothing: every size, count, digest and signature in it is checked.

No other reader of the format looks at all of them, and two of them leave half an image behind when they find something. Here the image appears
whole or not at all, in its directory and nowhere else. Memory stays constant. Sizes are bytes.
"""

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from isal import igzip_lib

from tasks.kit import files
from tasks.kit.fault import ConfigFault, HostFault, ImageFault
from tasks.kit.report import amount
from tasks.plan import envelope, gnutar
from tasks.plan.manifest import LARGEST, LONGEST, Manifest, Piece, parse, signed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

Recipient = Literal["user", "ec2"]

AGAIN = "make the bundle again, or fetch it again from where it is whole"
FULL = {errno.ENOSPC, errno.EDQUOT}
ZEROS = bytes(files.CHUNK)
MOST_PADDING = 2 * gnutar.RECORD  # behind the data: the rest of a record, and one more


def unbundle(
    manifest: Path,
    *,
    key: Path,
    into: Path,
    recipient: Recipient = "user",
    certificate: Path | None = None,
) -> Path:
    """The image, as a file in `into` by the name that the manifest gives it; its parts lie beside the manifest.

    `key` is the recipient's. The signature is checked with the signer's `certificate`; without one, with the key itself
    if that is the user's, and not at all if it is EC2's. Raises ImageFault when anything is not as it should be.
    """
    with _about(manifest):
        text = _content(manifest, LONGEST + 1)
        told = parse(text)
        _plausible(told, manifest)
        private = envelope.private_key(_content(key), key)
        _authentic(text, told, private, recipient, certificate)
        secret = envelope.unseal(told.for_user if recipient == "user" else told.for_ec2, private)
        parts = _parts(told, manifest.parent)
        target = into / told.name
        with files.appearing(target) as scratch:
            stream = _Stream(_inflated(envelope.decrypted(_read(parts), secret)))
            _restore(stream, told, scratch)
    return target


@contextmanager
def _about(manifest: Path) -> Iterator[None]:
    """Faults that were found by those who know no files learn here which bundle they are about."""
    try:
        yield
    except ImageFault as fault:
        fault.where = fault.where or str(manifest)
        fault.hint = fault.hint or AGAIN
        raise
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise HostFault(
            "the disk is full: the image did not fit, and what there was of it is removed",
            where=str(manifest),
            hint="make room and try again",
        ) from error


def _content(path: Path, most: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except FileNotFoundError:
        raise ConfigFault(f"{path.name} is missing", where=str(path), hint="check the path") from None


def _plausible(told: Manifest, manifest: Path) -> None:
    if told.size > LARGEST:
        raise ImageFault(
            f"the manifest speaks of an image of {amount(told.size)}; {amount(LARGEST)} is the limit"
        )
    if len(told.name.encode()) > gnutar.NAME:
        raise ImageFault(f"the image's name {told.name!r} is too long")
    if told.name in {manifest.name, *(part.name for part in told.parts)}:
        raise ImageFault(f"the image would overwrite {told.name}, a file of the bundle itself")


def _authentic(
    text: bytes, told: Manifest, key: "RSAPrivateKey", recipient: Recipient, certificate: Path | None
) -> None:
    if certificate:
        signer = envelope.public_key(_content(certificate), certificate)
    elif recipient == "user":
        signer = key.public_key()
    elif told.signature:
        return
    else:
        raise ImageFault("the manifest is not signed")
    if not envelope.signed_by(signed(text), told.signature, signer):
        raise ImageFault(
            "the manifest's signature is wrong: it was changed after it was made, or somebody else made it",
            hint=f"{AGAIN}; or give the certificate of who made it",
        )


def _parts(told: Manifest, directory: Path) -> tuple[Path, ...]:
    """Every part, found to be what the manifest says, before any of them is used."""
    paths = tuple(directory / part.name for part in told.parts)
    for path in paths:
        if not path.is_file():
            raise ImageFault(f"{path.name}, a part of the bundle, is missing", where=str(path))
    size = sum(path.stat().st_size for path in paths)
    if size != told.bundled_size:
        raise ImageFault(
            f"the parts have {size} bytes together, not the {told.bundled_size} of the manifest's <bundled_size>",
            where=str(directory),
        )
    for part, path in zip(told.parts, paths, strict=True):
        _undamaged(part, path)
    return paths


def _undamaged(part: Piece, path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        found = hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False)).hexdigest()
    if found != part.sha1:
        raise ImageFault(
            f"{path.name} is damaged, or is not the part that the manifest means",
            where=str(path),
            evidence=(f"SHA-1 of the file:       {found}", f"SHA-1 in the manifest: {part.sha1}"),
        )


def _read(parts: Iterable[Path]) -> Iterator[bytes]:
    for path in parts:
        with path.open("rb", buffering=0) as file:
            while data := file.read(files.CHUNK):
                yield data


def _inflated(stream: Iterable[bytes]) -> Iterator[bytes]:
    """One gzip member, a chunk at a time however much is in it. Raises ImageFault if it is broken, cut short, or not all there is."""
    gzip = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    for data in stream:
        if data and gzip.eof:
            raise ImageFault("there is more in the bundle behind the end of the image")
        piece = data
        while piece or not (gzip.eof or gzip.needs_input):
            try:
                yield gzip.decompress(piece, files.CHUNK)
            except igzip_lib.error as error:  # type: ignore[misc]  # its stub takes the class for an instance
                raise ImageFault(f"the compressed image is damaged: {error}") from None
            piece = b""
    if not gzip.eof:
        raise ImageFault("the compressed image ends too early")
    if gzip.unused_data:
        raise ImageFault("there is more in the bundle behind the end of the image")


class _Stream:
    """The archive, hashed as it passes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks = (chunk for chunk in chunks if chunk)
        self.left = memoryview(b"")
        self.sha1 = hashlib.sha1(usedforsecurity=False)

    def some(self, most: int) -> bytes:
        """At most so many bytes, none only at the end."""
        if not self.left:
            chunk = next(self.chunks, b"")
            self.sha1.update(chunk)
            self.left = memoryview(chunk)
        taken, self.left = self.left[:most], self.left[most:]
        return taken.tobytes()

    def pieces(self, length: int) -> Iterator[bytes]:
        """The next `length` bytes. Raises ImageFault when there are fewer."""
        while length:
            piece = self.some(length)
            if not piece:
                raise gnutar.broken("it ends too early")
            yield piece
            length -= len(piece)

    def take(self, length: int) -> bytes:
        return b"".join(self.pieces(length))


def _restore(stream: _Stream, told: Manifest, scratch: Path) -> None:
    member = gnutar.parse(stream.take)
    if member.name != told.name:
        raise gnutar.broken(f"its file is named {member.name!r}, the manifest says {told.name!r}")
    if member.size != told.size:
        raise gnutar.broken(f"its file has {member.size} bytes, the manifest says {told.size}")
    handle = os.open(scratch, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.ftruncate(handle, member.size)
        for start, length in member.runs:
            _copy(stream, handle, start, length)
            _only_zeros(stream.take(gnutar.padded(length)))
    finally:
        os.close(handle)
    _ended(stream)
    if stream.sha1.hexdigest() != told.digest:
        raise ImageFault(
            "the image is not the one that was bundled: its digest differs",
            evidence=(
                f"SHA-1 of the archive:    {stream.sha1.hexdigest()}",
                f"SHA-1 in the manifest: {told.digest}",
            ),
        )


def _copy(stream: _Stream, handle: int, start: int, length: int) -> None:
    """A chunk of zeros stays the hole that the file began as."""
    for piece in stream.pieces(length):
        if piece != ZEROS[: len(piece)]:
            left = memoryview(piece)
            while left:  # the kernel may take less than all, as it does on a disk that is nearly full
                left = left[os.pwrite(handle, left, start + len(piece) - len(left)) :]
        start += len(piece)


def _only_zeros(data: bytes) -> None:
    if data.strip(b"\0"):
        raise gnutar.broken("it has more in it than one file")


def _ended(stream: _Stream) -> None:
    """Nothing but zeros, and not many of them; reading to the end has checksum and padding looked at, too."""
    length = 0
    while piece := stream.some(files.CHUNK):
        _only_zeros(piece)
        length += len(piece)
        if length > MOST_PADDING:
            raise gnutar.broken("it goes on behind its end")
    if length < gnutar.END:
        raise gnutar.broken("its end is missing")
