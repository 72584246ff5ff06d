"""The files of an instance: a folder in the cloud's, by its id."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

MACHINES = "machines"
KERNELS = "kernels"  # by id: AKIs that the cloud's owner lends, a `kernel` and an `initrd` each
CONSOLE = 64 << 10  # bytes that EC2 keeps of what is written there
MOST = 16 << 20  # bytes that the console of a running machine may take on the disk
KEPT = ("console.log", "console.past")  # of an instance that ended: AWS shows its console for an hour


@dataclass(frozen=True)
class Den:
    path: Path

    @classmethod
    def of(cls, home: Path, identity: str) -> "Den":
        return cls(home / MACHINES / identity)

    @property
    def work(self) -> Path:
        """What is needed only until the disk is there."""
        return self.path / "work"

    @property
    def image(self) -> Path:
        """What the AMI holds: never written to."""
        return self.path / "image"

    @property
    def disk(self) -> Path:
        """What the guest writes to, over the image. Once it is there, all is."""
        return self.path / "disk.qcow2"

    @property
    def volumes(self) -> Path:
        """A folder: the volumes beside the root's."""
        return self.path / "volumes"

    def beside(self, volume: str) -> Path:
        """What the guest writes to, of such a volume."""
        return self.volumes / f"{volume}.qcow2"

    @property
    def variables(self) -> Path:
        """What UEFI remembers."""
        return self.path / "variables.fd"

    @property
    def boot(self) -> Path:
        return self.path / "boot.json"

    @property
    def kernel(self) -> Path:
        return self.path / "kernel"

    @property
    def initrd(self) -> Path:
        return self.path / "initrd"

    @property
    def metadata(self) -> Path:
        return self.path / "metadata"

    @property
    def console(self) -> Path:
        """Since the machine was last switched on."""
        return self.path / "console.log"

    @property
    def past(self) -> Path:
        """The end of what was on the console before that."""
        return self.path / "console.past"

    @property
    def log(self) -> Path:
        """QEMU's own words."""
        return self.path / "qemu.log"

    def said(self) -> bytes:
        """What EC2 would have kept of the console."""
        last = _tail(self.console, CONSOLE).lstrip(b"\0")  # a hole, where something was cut off
        return _tail(self.past, CONSOLE - len(last)) + last

    def written(self) -> float | None:
        """When something was last written there."""
        return self.console.stat().st_mtime if self.console.exists() else None

    def turn(self) -> None:
        """The console becomes past: it is switched on again."""
        if self.console.exists():
            self.past.write_bytes(self.said())
            self.console.unlink()

    def trim(self) -> None:
        """QEMU writes on where it was, behind a hole then; what was written is past."""
        if self.console.exists() and self.console.stat().st_blocks * 512 > MOST:
            self.past.write_bytes(self.said())
            os.truncate(self.console, 0)

    def strip(self) -> None:
        """Nothing stays but the console."""
        for each in self.path.iterdir() if self.path.exists() else ():
            if each.is_dir():
                shutil.rmtree(each)
            elif each.name not in KEPT:
                each.unlink()

    def clear(self) -> None:
        if self.path.exists():
            shutil.rmtree(self.path)


def _tail(path: Path, most: int) -> bytes:
    if not path.exists() or most <= 0:
        return b""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - most))
        return file.read(most)
