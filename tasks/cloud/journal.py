"""What of a snapshot was acknowledged so far: a file that only grows, so that a killed upload goes on where it was.

A line that is true has its CRC-32 before it. The first is the head, which is on the disk before the snapshot is asked for;
then comes the snapshot's id; then a line for each block that EBS has, written by whoever got the answer; and a word when all
are there. A line that is torn or damaged counts as never written: its block is sent again, which EBS takes.
"""

import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from tasks.kit import files
from tasks.spec.part import Part

VERSION = 1
SNAPSHOT, COMPLETING = "snapshot", "completing"


class Head(Part):
    """What is being uploaded, where to, and by which request. The client token follows from all of it."""

    version: int = VERSION
    account: str
    region: str
    cloud_id: str  # the local cloud; nothing on AWS
    image: str
    sha256: str  # of it
    digest: str  # of the blocks and their encryption, as the snapshot's tag says
    parent: str
    delta: str  # the digest of what is sent
    attempt: int  # EBS gives the same snapshot for the same token, even a dead one

    @property
    def token(self) -> str:
        """What EBS knows the request by: up to 64 characters. Derived, so that a lost journal leads to the same snapshot."""
        return files.digest(self.model_dump(mode="json"))


@dataclass
class Journal:
    """`damaged`: lines that could not be believed. `head` is None when that is one of them."""

    path: Path
    head: Head | None = None
    snapshot: str = ""
    completing: bool = False
    acknowledged: dict[int, str] = field(default_factory=dict)  # SHA-256 by index
    damaged: int = 0
    whole: int = 0  # bytes that end with a newline; what follows was torn off
    handle: int = -1

    @classmethod
    def begun(cls, path: Path, head: Head) -> Self:
        """A new one in the place of what was there, on the disk."""
        line = _line(head.model_dump_json())
        files.write(path, line)
        return cls(path, head, whole=len(line))

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What there is, as far as it can be believed; None when there is nothing."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        journal = cls(path, whole=content.rfind(b"\n") + 1)
        for number, line in enumerate(content.split(b"\n")[:-1]):
            journal.damaged += not journal._taken(number, line)
        return journal

    def _taken(self, number: int, line: bytes) -> bool:
        try:
            seal, text = line.decode().split(" ", 1)
            if int(seal, 16) != zlib.crc32(text.encode()):
                return False
            if number == 0:
                self.head = Head.model_validate_json(text)
                return True
            word, _, rest = text.partition(" ")
            if word == SNAPSHOT:
                self.snapshot = rest
            elif word == COMPLETING:
                self.completing = True
            else:
                self.acknowledged[int(word)] = rest
        except (ValueError, ValidationError):
            return False
        return True

    def opened(self) -> Self:
        """Ready for more."""
        self.handle = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.ftruncate(self.handle, self.whole)
        return self

    def close(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

    def started(self, snapshot: str) -> None:
        self.snapshot = snapshot
        self._settled(f"{SNAPSHOT} {snapshot}")

    def acknowledge(self, index: int, sha256: str) -> None:
        """One write, whole, from any thread. Not on the disk yet: what a power cut takes is sent again."""
        os.write(self.handle, _line(f"{index} {sha256}"))

    def complete(self) -> None:
        """All blocks are there, and EBS is about to be told."""
        self.completing = True
        self._settled(COMPLETING)

    def _settled(self, text: str) -> None:
        os.write(self.handle, _line(text))
        os.fsync(self.handle)

    def end(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)


def _line(text: str) -> bytes:
    return f"{zlib.crc32(text.encode()):08x} {text}\n".encode()
