"""What a request carries: small, in memory; large, in a file of its own, so that memory does not grow with it."""

import base64
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from io import BufferedIOBase
from pathlib import Path
from typing import Protocol

from tasks.cloud.local.crc import Crc
from tasks.cloud.local.refusal import Refusal
from tasks.kit import files

SMALL = 1 << 20  # bytes that a body may have in memory: EBS's blocks have half of it
LINE = 1024  # bytes of a chunk's head
UNTRUSTED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


class Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class Crc32:
    """hashlib's manner for zlib's sum."""

    def __init__(self) -> None:
        self.value = 0

    def update(self, data: bytes, /) -> None:
        self.value = zlib.crc32(data, self.value)

    def digest(self) -> bytes:
        return self.value.to_bytes(4, "big")


SUMS: Mapping[str, Callable[[], Hash]] = {
    "SHA256": hashlib.sha256,
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "MD5": lambda: hashlib.md5(usedforsecurity=False),
    "SHA512": hashlib.sha512,
    "CRC32": Crc32,
    "CRC32C": lambda: Crc("CRC32C"),
    "CRC64NVME": lambda: Crc("CRC64NVME"),
}


class Body:
    """Received whole. `trailer`: what came behind it."""

    def __init__(
        self, data: bytes = b"", path: Path | None = None, size: int = 0, sha256: str = ""
    ) -> None:
        self.data, self.path = data, path
        self.size = size if path else len(data)
        self.sha256 = sha256 if path else hashlib.sha256(data).hexdigest()
        self.trailer: dict[str, str] = {}
        self.summed: dict[str, str] = {}

    def chunks(self) -> Iterator[bytes]:
        if self.path is None:
            yield self.data
            return
        with self.path.open("rb", buffering=0) as file:
            while data := file.read(files.CHUNK):
                yield data

    def read(self) -> bytes:
        if self.path:
            raise Refusal("MaxMessageLengthExceeded", f"Your request was too big: {self.size} bytes")
        return self.data

    def sums(self, *names: str) -> dict[str, str]:
        """Digests and check sums by name, in base64, as AWS writes them; each is made once."""
        hashes: dict[str, Hash] = {name: SUMS[name]() for name in names if name not in self.summed}
        for data in self.chunks() if hashes else ():
            for each in hashes.values():
                each.update(data)
        self.summed |= {name: base64.b64encode(each.digest()).decode() for name, each in hashes.items()}
        return {name: self.summed[name] for name in names}

    def settle(self) -> None:
        """Bring it to the disk now, so that keeping it takes no time."""
        if self.path:
            files.settle(self.path)

    def keep(self, target: Path) -> None:
        """As a file, on the disk. The body is spent."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.path is None:
            files.write(target, self.data, mode=0o600)
        else:
            files.settle(self.path)
            self.path.replace(target)
            files.settle(target.parent)
            self.path = None

    def drop(self) -> None:
        if self.path:
            self.path.unlink(missing_ok=True)


class Cut(Exception):
    """The client went away before it had said all."""


def received(source: BufferedIOBase, size: int, scratch: Path, *, chunked: bool = False) -> Body:
    """`size`: bytes on the wire. `chunked`: in AWS's own wrapping, a trailer behind it."""
    pieces = _unwrapped(source) if chunked else _plain(source, size)
    body = _small(next(pieces, b"")) if not chunked and size <= SMALL else _large(pieces, scratch)
    if chunked:
        body.trailer = _trailer(source)
    return body


def _small(data: bytes) -> Body:
    return Body(data)


def _large(pieces: Iterator[bytes], scratch: Path) -> Body:
    digest, size = hashlib.sha256(), 0
    handle = os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            left = memoryview(piece)
            while left:
                left = left[os.write(handle, left) :]
    except BaseException:
        scratch.unlink()
        raise
    finally:
        os.close(handle)
    return Body(path=scratch, size=size, sha256=digest.hexdigest())


def _plain(source: BufferedIOBase, size: int) -> Iterator[bytes]:
    while size:
        piece = source.read(min(size, SMALL))
        if not piece:
            raise Cut
        size -= len(piece)
        yield piece


def _unwrapped(source: BufferedIOBase) -> Iterator[bytes]:
    """aws-chunked: "<length in hex>[;...]", the data, an empty line; the last has length 0."""
    while length := _length(source):
        yield from _plain(source, length)
        source.readline(LINE)


def _length(source: BufferedIOBase) -> int:
    head = source.readline(LINE)
    if not head:
        raise Cut
    try:
        return int(head.split(b";")[0], 16)
    except ValueError:
        raise Refusal("IncompleteBody", "The request body is not chunked as it says") from None


def _trailer(source: BufferedIOBase) -> dict[str, str]:
    found = {}
    while line := source.readline(LINE).strip():
        name, _, value = line.decode("latin-1").partition(":")
        found[name.strip().lower()] = value.strip()
    return found
