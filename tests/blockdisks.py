"""Disks of a few blocks, with their stamps and block lists as the stages make them, and how they are sent and read back."""

import hashlib
import os
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks import snapshot
from tasks.kit import files
from tasks.kit.report import Report
from tasks.spec.cloud import CloudSpec, Ebs
from tasks.spec.record import BlockList, FileStamp, ImgStamp, UploadReceipt
from tests import clouds

SIZE = 524288  # of a block
GIB = 1 << 30
IMAGE = "debian-12"
MADE = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


class Disk:
    """An image and what lies beside it. `content`: a seed for each block that somebody reads; nothing else is in the list."""

    def __init__(self, folder: Path, content: Mapping[int, int], *, gib: int = 1) -> None:
        self.folder, self.gib = folder, gib
        folder.mkdir(parents=True, exist_ok=True)
        self.write(content)

    def path(self, name: str) -> Path:
        return self.folder / name

    def write(self, content: Mapping[int, int], *, gib: int | None = None) -> None:
        """A new image in the place of the old one, as the stages `img` and `bundle` leave it."""
        self.gib = gib or self.gib
        self.content = dict(content)
        made = self.path("new.img")
        with made.open("wb") as file:
            file.truncate(self.gib * GIB)
            for index, seed in content.items():
                os.pwrite(file.fileno(), block(seed), index * SIZE)
        made.replace(self.path("one.img"))
        status = self.path("one.img").stat()
        listed = tuple(
            (index, hashlib.sha256(block(seed)).hexdigest()) for index, seed in sorted(content.items())
        )
        said: dict[str, Any] = {
            "version": 1,
            "block_size": SIZE,
            "volume_size": self.gib * GIB,
            "blocks": listed,
        }
        sha256 = files.digest(["an image", sorted(content.items()), self.gib])
        stamp = FileStamp(
            name="one.img", size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=sha256
        )
        ImgStamp(file=stamp, layout="none", made=MADE).write(self.path("stamp"))
        self.blocks = BlockList(sha256=sha256, digest=files.digest(said), unread=("ext4 at 0",), **said)
        self.blocks.write(self.path("blocks"))

    def paths(self, home: Path) -> dict[str, Path]:
        names = ("stamp", "blocks", "ledger", "journal", "receipt")
        return {"img": self.path("one.img"), "home": home, **{name: self.path(name) for name in names}}

    def send(
        self,
        home: Path,
        *,
        spec: CloudSpec = clouds.LOCAL,
        image: str = IMAGE,
        report: Report | None = None,
        **ebs: Any,
    ) -> str:
        """The stage, run; the snapshot."""
        spec = spec.model_copy(update={"ebs": Ebs(**ebs)})
        order = snapshot.Order(image=image, cloud=spec)
        snapshot.body(order, report=report or Noting(), **self.paths(home))
        receipt = UploadReceipt.read(self.path("receipt"))
        assert (receipt.digest, receipt.sha256) == (self.blocks.digest, self.blocks.sha256)
        return receipt.location


class Noting(clouds.Heard):
    """A report that remembers what was noted, too."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def noted(self, text: str) -> None:
        self.notes.append(text)

    def moved(self, done: int, total: int, unit: str = "B") -> None:
        """ImportSnapshot tells percents, and no bytes."""
        if unit == "B":
            super().moved(done, total)


def block(seed: int) -> bytes:
    """Half a megabyte that nobody else has; 0 is zeros."""
    return random.Random(seed).randbytes(4096) * (SIZE // 4096) if seed else bytes(SIZE)


def held(ebs: Any, snapshot: str) -> dict[int, str]:
    """What the cloud gives back: SHA-256 by index."""
    found, token = dict[int, str](), dict[str, str]()
    while True:
        page = ebs.list_snapshot_blocks(SnapshotId=snapshot, **token)
        for each in page["Blocks"]:
            data = ebs.get_snapshot_block(SnapshotId=snapshot, **each)["BlockData"].read()
            found[each["BlockIndex"]] = hashlib.sha256(data).hexdigest()
        if not page.get("NextToken"):
            return found
        token = {"NextToken": page["NextToken"]}
