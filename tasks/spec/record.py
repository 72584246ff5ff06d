"""What stages leave behind for each other: stamps beside large files, reports, receipts of deeds in a cloud.

Each is a small JSON file with a seal, the SHA-256 of everything else in it: a record that was changed by hand, or half
copied, is told from a true one. Sizes are bytes, digests hex, times UTC.
"""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from tasks.kit import files
from tasks.kit.fault import ImageFault
from tasks.spec.part import Part


def now() -> datetime:
    """The time of a deed, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


class Record(Part):
    def write(self, path: Path) -> None:
        plain = self.model_dump(mode="json")
        files.write_json(path, {**plain, "seal": files.digest(plain)})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ImageFault when the file is missing, broken, or not what was written."""
        again = f"delete {path} and run doit again: the stage that makes it will look, and repeat what it must"
        try:
            plain = json.loads(path.read_text())
            seal = plain.pop("seal")
            record = cls.model_validate(plain)
        except FileNotFoundError:
            raise ImageFault(f"{path.name} is missing", where=str(path), hint="run doit again") from None
        except (ValueError, KeyError, AttributeError, TypeError) as error:  # pydantic's is a ValueError
            raise ImageFault(
                f"{path.name} is damaged: {str(error).splitlines()[0]}", where=str(path), hint=again
            ) from error
        if seal != files.digest(record.model_dump(mode="json")):
            raise ImageFault(
                f"{path.name} was changed after it was written", where=str(path), hint=again
            )
        return record


class Receipt(Record):
    """Proof of a deed in a cloud: enough to find the thing again, and to see that it is ours."""

    account: str
    region: str
    sha256: str  # of the image that it stands for
    cloud_id: str  # the local cloud that holds it; nothing on AWS
    at: datetime

    def keep(self, path: Path) -> None:
        """Write it; the same deed keeps the time of the first, so that nothing that follows has a reason to run again."""
        try:
            before = self.read(path)
        except ImageFault:
            before = self
        same = before.model_copy(update={"at": self.at}) == self
        (before if same else self).write(path)

    @classmethod
    def of_place(cls, path: Path, *place: str) -> Self | None:
        """What a receipt says, if there is one and it speaks of this place: account, region, local cloud."""
        found = cls.read(path) if path.exists() else None
        return found if found and (found.account, found.region, found.cloud_id) == place else None


class FileStamp(Part):
    """A large file, known by its digest and recognised by size and time, so that nobody hashes it again."""

    name: str
    size: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """Reads the whole file once."""
        status = path.stat()
        return cls(
            name=path.name, size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=files.sha256(path)
        )

    def check(self, path: Path) -> None:
        """Raises ImageFault unless `path` still looks like the file that was stamped."""
        try:
            status = path.stat()
        except FileNotFoundError:
            raise ImageFault(
                f"{path.name} is gone, though its stamp is there",
                where=str(path),
                hint="run doit again: it is made anew",
            ) from None
        if (status.st_size, status.st_mtime_ns) != (self.size, self.mtime_ns):
            raise ImageFault(
                f"{path.name} is not the file that was stamped: its size or time changed",
                where=str(path),
                hint="run doit again: it is made anew",
            )


def swapped(stamp: Path, file: Path) -> bool:
    """Whether a file no longer looks as its stamp says. Cheap enough to be asked in every run; True when neither can be read."""
    try:
        said, status = json.loads(stamp.read_text())["file"], file.stat()
        return bool((status.st_size, status.st_mtime_ns) != (said["size"], said["mtime_ns"]))
    except (OSError, ValueError, KeyError, TypeError):
        return True


class Package(Part):
    name: str
    version: str
    architecture: str


class MirrorFile(Part):
    name: str  # the path below the mirror
    size: int
    sha256: str


class MirrorPackage(Package):
    file: MirrorFile


class MirrorStamp(Record):
    """Of a mirror: everything in it. The time of a package is of its content, see `files.mark`."""

    digest: str  # of all that decides what is in it
    epoch: int
    packages: tuple[MirrorPackage, ...]
    metadata: tuple[MirrorFile, ...]

    def check(self, folder: Path) -> None:
        """Raises ImageFault unless everything looks as it did when it was stamped."""
        wrong = list(_changed(self.model_dump(), folder))
        if wrong:
            raise ImageFault(
                f"{len(wrong)} file(s) of the mirror are gone or changed",
                evidence=wrong[:10],
                where=str(folder),
                hint="run doit again: what is wrong is fetched anew",
            )


def incomplete(stamp: Path, folder: Path) -> bool:
    """Whether a mirror no longer looks as its stamp says. As cheap as `swapped`."""
    try:
        return any(_changed(json.loads(stamp.read_text()), folder))
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _changed(plain: Any, folder: Path) -> Iterator[str]:
    """The files of a mirror that do not look as they were stamped."""
    times = {each["file"]["name"]: each["file"]["sha256"] for each in plain["packages"]}
    for file in (*(each["file"] for each in plain["packages"]), *plain["metadata"]):
        name = file["name"]
        try:
            status = os.stat(folder / name)  # noqa: PTH116 - hundreds of them, in every run
        except OSError:
            yield name
            continue
        right = name not in times or status.st_mtime_ns == files.time_of(plain["epoch"], times[name])
        if status.st_size != file["size"] or not right:
            yield name


class RootfsStamp(Record):
    """Of rootfs.tar."""

    file: FileStamp
    packages: tuple[Package, ...]


class ImgStamp(Record):
    """Of <image>.img."""

    file: FileStamp
    layout: str
    made: datetime  # when these bytes were first made; a rebuild to the same bytes keeps it


class Finding(Part):
    path: str
    reason: str


class ScanReport(Record):
    """What the finished image should not hold; empty findings are a pass."""

    sha256: str  # of the image that was read
    files: int  # how many were read
    findings: tuple[Finding, ...]


class Check(Part):
    name: str
    passed: bool
    detail: str


class Started(Part):
    """One boot of an image, from power on to the last check."""

    firmware: str  # bios, uefi; or whose kernel it was started with, where the disk has no boot loader
    drive: str  # what the root disk was: virtio, nvme, scsi
    accelerator: str
    because: str  # why not KVM, or nothing
    seconds: float  # from power on to the first login
    checks: tuple[Check, ...]


class BootReport(Record):
    """Evidence that an image booted, by each firmware that it claims, and let its key in."""

    sha256: str  # of the image that booted
    boots: tuple[Started, ...]
    at: datetime


class PartFile(Part):
    name: str
    size: int
    sha1: str
    sha256: str


class BundleStamp(Record):
    """Of a manifest and its parts."""

    sha256: str  # of the image inside
    digest: str  # of all that decides what the bundle says: equal bundles have equal digests
    manifest: PartFile
    parts: tuple[PartFile, ...]


class Stored(Part):
    key: str
    etag: str
    size: int


class BlockList(Record):
    """The bundle of an EBS-backed image: what must be written to a snapshot. Every other block is one that nobody reads."""

    version: int
    sha256: str  # of the image
    digest: str  # of sizes and blocks: equal snapshots have equal digests
    block_size: int
    volume_size: int  # bytes, whole GiB
    unread: tuple[
        str, ...
    ]  # by whose word blocks were left out: "gpt", "fat32 at 2097152", "ext4 at 67108864"
    blocks: tuple[tuple[int, str], ...]  # index and SHA-256, by ascending index


class UploadReceipt(Receipt):
    """A bundle lies in a bucket, or a snapshot holds its blocks, whole."""

    digest: str  # of the bundle, or of the block list
    location: str  # bucket/key of the manifest, as RegisterImage wants it; or the snapshot's id
    bucket: str = ""
    objects: tuple[Stored, ...] = ()


class AmiReceipt(Receipt):
    """An image is registered."""

    id: str
    name: str
    digest: str  # of image, bundle and registration together: what makes this AMI itself
    location: str
    boot: BootReport


class LaunchIntent(Record):
    """Instances that are being started. EC2 takes the same token for the same request, however often it is sent."""

    account: str
    region: str
    cloud_id: str
    digest: str  # of the request
    token: str
    count: int
    at: datetime


class Launched(Part):
    id: str
    address: str
    port: int  # that leads to its SSH server
    host_keys: tuple[str, ...]  # from its console; none where it shows none


class InstanceReceipt(Receipt):
    """Instances run, and were reached."""

    ami: str
    digest: str  # of what was asked for: type, groups, user data, all but how many
    instances: tuple[Launched, ...]
