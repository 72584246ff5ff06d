"""Evidence that an image booted, as the stage `boot` leaves it."""

from collections.abc import Iterable

from tasks.spec.record import BootReport, Check, Started
from tests.clouds import MADE, SHA256

LOGIN = Check(name="login", passed=True, detail="")


def started(firmware: str = "bios", checks: Iterable[Check] = (LOGIN,)) -> Started:
    return Started(
        firmware=firmware,
        drive="nvme" if firmware == "uefi" else "virtio",
        accelerator="kvm",
        because="",
        seconds=9,
        checks=tuple(checks),
    )


def report(*boots: Started, sha256: str = SHA256) -> BootReport:
    """Of one boot by BIOS, unless others are given."""
    return BootReport(sha256=sha256, boots=boots or (started(),), at=MADE)
