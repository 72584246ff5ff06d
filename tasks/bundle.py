"""<image>.img -> <image>.img.manifest.xml and its parts, the S3-backed form of an image

In:    a disk image with its stamp; the user's private key and certificate; EC2's certificate
Out:   in a directory of its own: the manifest and parts of 10 MiB (tar, gzip, AES-128-CBC); beside or in it, last of all, their stamp
Needs: nothing: no root, no program; memory for a few blocks of 1 MiB per core

The AES key and IV are derived from the private key and from what is bundled, and look random to everybody who lacks that key. So a bundle made
again from the same image has the same parts, and an upload sends nothing twice. Neither is ever on a command line: no other program runs.
"""

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, field_validator

from tasks.kit import files
from tasks.kit.blocks import Buffers, batches
from tasks.kit.cut import cut
from tasks.kit.fault import ConfigFault, HostFault, ImageFault
from tasks.kit.parallel import alongside, in_order
from tasks.kit.report import Report, amount
from tasks.plan import envelope, gnutar, gzipped
from tasks.plan.manifest import LARGEST, PART, Manifest, Piece, document, part_names, signed
from tasks.spec.model import S3_BACKED, Image, Prefix
from tasks.spec.part import Part
from tasks.spec.record import BundleStamp, ImgStamp, PartFile
from tasks.spec.types import Word

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

RECIPE = 1  # raise when the same order ought to give a different bundle

BLOCK = files.CHUNK  # compressed by one thread at a time: larger ones gain under 1 % and cost memory
MOST_THREADS = 16  # more than one writer keeps up with at ISA-L's speed; each holds two blocks
AHEAD = 4  # blocks ready for the writer beyond one per thread: nobody waits, and memory stays small
BEHIND = 4  # blocks that the digest of the tar stream may be late
LACKING = "write `account:` and `ec2_certificate:` in the cloud's file; or `ami: {backing: ebs}` in the image's"
FULL = {errno.ENOSPC, errno.EDQUOT}

# Names of a bundle's files, grown or growing.
OURS = re.compile(r"\.?.+(\.part\.[0-9]+|\.manifest\.xml)(\.scratch)?")
Mapping = tuple[Word, Word]  # virtual name, device


class Order(Part):
    """The options of ec2-bundle-image that say what is in a bundle. Where things lie (-i -d -c -k --ec2cert) come as paths."""

    image: str
    architecture: Annotated[Literal["i386", "x86_64", "arm64"], Field(description="-r")]
    account: Annotated[
        Annotated[str, Field(pattern=r"^[0-9]{12}$")] | None,
        Field(description="-u: 12 digits, no hyphens; nothing: the cloud lacks what a bundle needs"),
    ]
    block_devices: Annotated[tuple[Mapping, ...], Field(description="-B")]
    kernel_id: Annotated[Word | None, Field(description="--kernel")]
    ramdisk_id: Annotated[Word | None, Field(description="--ramdisk")]
    product_codes: Annotated[tuple[Word, ...], Field(description="--productcodes")]
    ancestors: Annotated[tuple[Word, ...], Field(description="AMIs that this image descends from")]
    prefix: Annotated[Prefix | None, Field(description="-p; without it, the image file's own name")]
    compression: Annotated[
        gzipped.Compression, Field(description="small: 8 % less for 4 times the time")
    ]

    @field_validator("block_devices")
    @classmethod
    def _mapped_once(cls, value: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        names = [virtual for virtual, _ in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} is mapped twice; a virtual name has one device")
        return value

    @classmethod
    def of(cls, image: Image, account: str | None) -> Self:
        return cls(
            image=image.name,
            architecture=image.architecture,
            account=account,
            block_devices=tuple(image.ami.block_devices.items()),
            kernel_id=image.ami.kernel_id,
            ramdisk_id=image.ami.ramdisk_id,
            product_codes=image.bundle.product_codes,
            ancestors=image.bundle.ancestors,
            prefix=image.bundle.prefix,
            compression=image.bundle.compression,
        )


@dataclass(frozen=True)
class Keys:
    """Who signs, and who can open; `prints` are the SHA-256 of both certificates' files."""

    private: "RSAPrivateKey"
    user: "RSAPublicKey"
    ec2: "RSAPublicKey"
    prints: dict[str, str]


def body(
    order: Order,
    *,
    report: Report,
    image: Path,
    stamp: Path,
    key: Path,
    certificate: Path,
    manifest: Path,
    bundle: Path,
    ec2_certificate: Path | None = None,
) -> None:
    """The directory of `manifest` is the bundle's own: what an earlier run left there goes first.

    There is no `ec2_certificate` where the order names no account.
    """
    _startable(order)
    made = ImgStamp.read(stamp).file
    made.check(image)
    _bundleable(image, made.size)
    keys = _keys(key, certificate, ec2_certificate)
    with _whole(manifest.parent, bundle):
        report.said("compressing and encrypting")
        unsigned, parts = _pack(
            order, image=image, sha256=made.sha256, keys=keys, directory=manifest.parent, report=report
        )
        made.check(image)
        signature = envelope.sign(signed(document(unsigned)), keys.private)
        files.write(manifest, document(replace(unsigned, signature=signature)))
        _stamp(order, made.sha256, keys, manifest, parts).write(bundle)


def _stamp(
    order: Order, sha256: str, keys: Keys, manifest: Path, parts: tuple[PartFile, ...]
) -> BundleStamp:
    text = manifest.read_bytes()
    sha1 = hashlib.sha1(text, usedforsecurity=False).hexdigest()
    return BundleStamp(
        sha256=sha256,
        # With the bytes themselves: another compressor must not overwrite what a registered image is made of.
        digest=files.digest(
            {
                "image": sha256,
                "order": order.model_dump(mode="json"),
                "parts": [part.sha256 for part in parts],
                **keys.prints,
            }
        ),
        manifest=PartFile(name=manifest.name, size=len(text), sha1=sha1, sha256=files.sha256(manifest)),
        parts=parts,
    )


def _startable(order: Order) -> None:
    """Raises ConfigFault for what nobody could start."""
    if order.architecture not in S3_BACKED:
        raise ConfigFault(
            f"{order.image} cannot become an AMI: S3-backed ones start on {' and '.join(S3_BACKED)} alone",
            where=f"config/images/{order.image}.yaml: architecture: {order.architecture}",
            hint=f"write `backing: ebs`; or leave it so: doit boot:{order.image} builds it and proves it",
        )
    _owner(order)


def _owner(order: Order) -> str:
    if order.account is None:
        raise ConfigFault(
            f"{order.image} is S3-backed: its bundle names its owner, and is encrypted to EC2's certificate",
            where="config/clouds: account, ec2_certificate",
            hint=LACKING,
        )
    return order.account


def _bundleable(image: Path, size: int) -> None:
    if size == 0:
        raise ImageFault(f"{image.name} is empty", where=str(image), hint="delete it and run doit again")
    if size > LARGEST:
        raise ImageFault(
            f"{image.name} has {amount(size)}, {amount(size - LARGEST)} more than EC2 takes as a bundle",
            where=str(image),
            hint=f"disk.size: {LARGEST >> 30} GiB, or less",
        )


def _keys(key: Path, certificate: Path, ec2_certificate: Path | None) -> Keys:
    """Raises ConfigFault unless the private key is the certificate's."""
    if ec2_certificate is None:
        raise ConfigFault("there is no certificate of EC2's", hint=LACKING)
    private = envelope.private_key(key.read_bytes(), key)
    user = envelope.public_key(certificate.read_bytes(), certificate)
    ec2 = envelope.public_key(ec2_certificate.read_bytes(), ec2_certificate)
    if private.public_key() != user:
        raise ConfigFault(
            f"{certificate.name} is not the certificate of {key.name}: nobody could open or verify the bundle",
            where=f"{key}, {certificate}",
            hint="give the two that were made together",
        )
    prints = {"certificate": files.sha256(certificate), "ec2_certificate": files.sha256(ec2_certificate)}
    return Keys(private, user, ec2, prints)


@contextmanager
def _whole(directory: Path, bundle: Path) -> Iterator[None]:
    """A bundle that is not finished goes, from now and from earlier; a full disk is called one."""
    directory.mkdir(parents=True, exist_ok=True)
    _sweep(directory, bundle)
    try:
        yield
    except BaseException as error:
        _sweep(directory, bundle)
        if isinstance(error, OSError) and error.errno in FULL:
            raise HostFault(
                "the disk is full: the bundle did not fit, and what there was of it is removed",
                where=str(directory),
                hint="make room there (a bundle is smaller than the data in its image) and run doit again",
            ) from error
        raise


def _sweep(directory: Path, bundle: Path) -> None:
    """The stamp first: while it is there, the bundle is whole."""
    bundle.unlink(missing_ok=True)
    for path in directory.iterdir():
        if OURS.fullmatch(path.name):
            path.unlink()


def _pack(
    order: Order, *, image: Path, sha256: str, keys: Keys, directory: Path, report: Report
) -> tuple[Manifest, tuple[PartFile, ...]]:
    """The pipe: image, tar, gzip, AES, parts; each byte passes once. The manifest lacks its signature."""
    prefix, sha1 = order.prefix or image.name, hashlib.sha1(usedforsecurity=False)
    with ExitStack() as stack:
        handle = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, handle)
        member = _member(handle, prefix)
        secret = envelope.secret(keys.private, _salt(order, sha256, member))
        threads = min(len(os.sched_getaffinity(0)), MOST_THREADS)
        buffers = Buffers(threads + AHEAD + BEHIND, BLOCK)

        def hashing(block: gzipped.Block) -> None:
            sha1.update(block.plain)
            buffers.back(block.plain)

        jobs = _jobs(handle, member, order.compression, buffers)
        blocks = stack.enter_context(closing(in_order(jobs, threads=threads, ahead=AHEAD)))
        hashed = stack.enter_context(closing(alongside(blocks, hashing, behind=BEHIND)))
        zipped = gzipped.member(_told(hashed, report, member.stored), order.compression)
        parts = _parts(envelope.encrypted(zipped, secret), directory, prefix)
    return _manifest(order, prefix, member, sha1.hexdigest(), parts, secret, keys), parts


def _manifest(  # noqa: PLR0917 - a manifest is where all of this meets
    order: Order,
    name: str,
    member: gnutar.Member,
    digest: str,
    parts: tuple[PartFile, ...],
    secret: envelope.Secret,
    keys: Keys,
) -> Manifest:
    return Manifest(
        architecture=order.architecture,
        name=name,
        user=_owner(order),
        digest=digest,
        size=member.size,
        bundled_size=sum(part.size for part in parts),
        for_ec2=envelope.seal(secret, keys.ec2),
        for_user=envelope.seal(secret, keys.user),
        parts=tuple(Piece(part.name, part.sha1) for part in parts),
        block_devices=order.block_devices,
        kernel_id=order.kernel_id,
        ramdisk_id=order.ramdisk_id,
        product_codes=order.product_codes,
        ancestors=order.ancestors,
    )


def _member(handle: int, name: str) -> gnutar.Member:
    status = os.fstat(handle)
    return gnutar.member(
        name,
        size=status.st_size,
        mode=status.st_mode,
        mtime=status.st_mtime_ns // 10**9,
        data=files.extents(handle, status.st_size),
    )


def _salt(order: Order, sha256: str, member: gnutar.Member) -> bytes:
    """All that the encrypted stream depends on, so that no two streams share a key: the tar header tells time, mode and holes."""
    header = hashlib.sha256(gnutar.header(member)).hexdigest()
    said = {"image": sha256, "order": order.model_dump(mode="json"), "header": header, "recipe": RECIPE}
    return bytes.fromhex(files.digest(said))


def _jobs(
    handle: int, member: gnutar.Member, compression: gzipped.Compression, buffers: Buffers
) -> Iterator[Callable[[], gzipped.Block]]:
    """The tar stream, block by block, each to be read and compressed by whoever is free."""
    yield partial(gzipped.block, gnutar.header(member), compression)
    for extents in batches(member.runs, BLOCK):
        yield partial(_squeezed, buffers, handle, extents, compression)
    yield partial(gzipped.block, gnutar.trailer(member), compression, last=True)


def _squeezed(
    buffers: Buffers, handle: int, extents: tuple[gnutar.Extent, ...], compression: gzipped.Compression
) -> gzipped.Block:
    return gzipped.block(buffers.filled(handle, extents), compression)


def _told(blocks: Iterable[gzipped.Block], report: Report, total: int) -> Iterator[gzipped.Block]:
    done = 0
    for block in blocks:
        yield block
        done += len(block.plain)
        report.moved(min(done, total), total)


def _parts(stream: Iterable[memoryview], directory: Path, prefix: str) -> tuple[PartFile, ...]:
    """They get their names when they are all there: how many digits a name has depends on how many they are."""
    pieces = cut(stream, PART, lambda index: files.scratch_of(directory / f"{prefix}.part.{index}"))
    parts = []
    for piece, name in zip(pieces, part_names(prefix, len(pieces)), strict=True):
        piece.path.replace(directory / name)
        parts.append(PartFile(name=name, size=piece.size, sha1=piece.sha1, sha256=piece.sha256))
    return tuple(parts)
