"""What a cloud holds of ours, as far as a verdict asks; and the verdict on one of them."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from tasks.kit.report import amount

Decision = Literal["goes", "stays", "refused"]


SOME = "one of them"


def is_snapshot(source: str) -> bool:
    """Of what an image is made of: a snapshot's id, or bucket/key of a manifest."""
    return source.startswith("snap-")


@dataclass(frozen=True)
class Image:
    """An AMI; `of` is the image of ours that its tag names, `users` the instances that need it."""

    id: str
    name: str
    owner: str
    of: str
    sources: tuple[str, ...]  # what it is made of: bucket/key of a manifest, or snapshots' ids
    users: tuple[str, ...] = ()
    protected: bool = False
    what = "image"

    def __str__(self) -> str:
        return f"{self.id} {self.name}"


@dataclass(frozen=True)
class Snapshot:
    id: str
    of: str
    state: str
    size: int  # GiB
    since: datetime
    what = "snapshot"

    def __str__(self) -> str:
        return f"{self.id} ({self.size} GiB)"


@dataclass(frozen=True)
class Bundle:
    """A manifest and its parts, or what is left of them. Sizes are bytes."""

    bucket: str
    manifest: str  # its key, whether it is still there or not
    keys: tuple[str, ...]  # the manifest first, when it is there
    size: int
    since: datetime  # the youngest of its objects
    what = "bundle"
    of: str | None = None  # its place says whose it is

    @property
    def id(self) -> str:
        """As EC2 calls it: the location of an image."""
        return f"{self.bucket}/{self.manifest}"

    def __str__(self) -> str:
        return f"{self.id} ({len(self.keys)} objects, {amount(self.size)})"


@dataclass(frozen=True)
class Uploads:
    """Multipart uploads that were never completed."""

    bucket: str
    ids: tuple[tuple[str, str], ...]  # key, upload
    what = "unfinished uploads"

    @property
    def id(self) -> str:
        return self.bucket

    def __str__(self) -> str:
        return f"{len(self.ids)} in {self.bucket}"


@dataclass(frozen=True)
class Others:
    """Objects that belong to no bundle."""

    bucket: str
    keys: tuple[str, ...]
    what = "objects"

    @property
    def id(self) -> str:
        return self.bucket

    def __str__(self) -> str:
        return f"{self.bucket}/{self.keys[0]}" + (
            f" and {len(self.keys) - 1} more" if len(self.keys) > 1 else ""
        )


@dataclass(frozen=True)
class Bucket:
    id: str
    what = "bucket"

    def __str__(self) -> str:
        return self.id


@dataclass(frozen=True)
class Instance:
    id: str
    of: str
    state: str
    key: str  # the name of its key pair
    protected: bool = False
    what = "instance"

    def __str__(self) -> str:
        return f"{self.id} ({self.state})"


@dataclass(frozen=True)
class KeyPair:
    id: str
    name: str
    what = "key pair"

    def __str__(self) -> str:
        return f"{self.id} {self.name}"


@dataclass(frozen=True)
class Receipt:
    """A file here that speaks of what a cloud holds."""

    path: Path
    what = "receipt"

    @property
    def id(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return self.id


Thing = Image | Snapshot | Bundle | Uploads | Others | Bucket | Instance | KeyPair | Receipt


@dataclass(frozen=True)
class Verdict:
    decision: Decision
    thing: Thing
    because: str

    @property
    def goes(self) -> bool:
        return self.decision == "goes"

    @property
    def row(self) -> tuple[str, ...]:
        return (self.decision, self.thing.what, str(self.thing), self.because)


@dataclass(frozen=True)
class Known:
    """What the receipts here speak of, and that is there to be asked about."""

    image: str = ""  # the id in ami.json
    made_of: str = ""  # what that image was made of
    uploaded: str = ""  # what upload.stamp speaks of: bucket/key, or a snapshot's id
    writing: str = (
        ""  # the snapshot that an upload here goes on with, or SOME: it was killed before it knew which
    )
