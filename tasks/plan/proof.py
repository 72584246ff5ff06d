"""How an image is proved: by which firmware with which drives, and what the proving machine says it is. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.kit.imds import Metadata
from tasks.plan.machine import ADDRESS, MAC, Drive, Era
from tasks.spec.ami import Firmware
from tasks.spec.model import Architecture

# Each firmware with the drives of instance types that have it: so are the drives proved, and nothing twice.
DRIVES: Mapping[Firmware, Drive] = {"bios": "virtio", "uefi": "nvme"}
OLD_DRIVES: Mapping[Era, Drive] = {"today": "virtio", "2008": "scsi"}
NUMBER = "0123456789abcdef0"


@dataclass(frozen=True)
class Way:
    """To boot it. `firmware`: none where the kernel is started by itself, as pv-grub does."""

    firmware: Firmware | None
    drive: Drive

    @property
    def name(self) -> str:
        return self.firmware or "kernel"

    def __str__(self) -> str:
        how = f"by {self.firmware.upper()}" if self.firmware else "by its kernel"
        return f"the guest, booted {how} from {self.drive},"


def ways(firmwares: tuple[Firmware, ...], era: Era) -> tuple[Way, ...]:
    """One for each firmware; without any, the kernel is started by itself."""
    if not firmwares:
        return (Way(None, OLD_DRIVES[era]),)
    return tuple(Way(each, DRIVES[each]) for each in firmwares)


def metadata(
    image: str, *, architecture: Architecture, era: Era, drive: Drive, public_key: str, launched: str
) -> Metadata:
    """What it hears of itself: that it is an instance, and whose key may log in; that image and all else is made up."""
    return Metadata(
        instance_id=f"i-{NUMBER}",
        ami_id=f"ami-{NUMBER}",
        instance_type=_type(architecture, era, drive),
        architecture=architecture,
        region="us-east-1",
        zone="us-east-1a",
        account="0" * 12,
        reservation_id=f"r-{NUMBER}",
        address=ADDRESS,
        mac=MAC,
        launched=launched,
        key_name=image,
        public_key=public_key,
    )


def _type(architecture: Architecture, era: Era, drive: Drive) -> str:
    """One that has such drives."""
    if era == "2008":
        return "m1.small"
    if architecture == "arm64":
        return "m6g.large"
    return "m5.large" if drive == "nvme" else "m4.large"
