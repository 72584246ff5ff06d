"""Each firmware that an image claims is proved, with a drive that goes with it."""

from typing import get_args

import pytest

from tasks.plan import proof
from tasks.plan.proof import Way
from tasks.spec.ami import Firmware


@pytest.mark.parametrize(
    ("firmwares", "era", "expected"),
    [
        (("bios", "uefi"), "today", (Way("bios", "virtio"), Way("uefi", "nvme"))),
        (("uefi",), "today", (Way("uefi", "nvme"),)),
        ((), "today", (Way(None, "virtio"),)),
        ((), "2008", (Way(None, "scsi"),)),
    ],
)
def test_an_image_is_booted_by_all_that_it_claims(firmwares, era, expected):
    """And by its kernel alone where it claims none."""
    assert proof.ways(firmwares, era) == expected


def test_no_firmware_is_without_a_drive():
    """Nor is a drive left out that instances of today have."""
    assert set(proof.DRIVES) == set(get_args(Firmware))
    assert set(proof.DRIVES.values()) == {"virtio", "nvme"}


@pytest.mark.parametrize(
    ("architecture", "era", "drive", "kind"),
    [
        ("x86_64", "today", "virtio", "m4.large"),
        ("x86_64", "today", "nvme", "m5.large"),
        ("arm64", "today", "nvme", "m6g.large"),
        ("i386", "2008", "scsi", "m1.small"),
    ],
)
def test_the_machine_says_to_be_of_a_type_that_has_such_drives(architecture, era, drive, kind):
    """And whose key may log in."""
    told = proof.metadata(
        "debian-12",
        architecture=architecture,
        era=era,
        drive=drive,
        public_key="ssh-rsa A",
        launched="now",
    )
    assert (told.instance_type, told.public_key, told.key_name) == (kind, "ssh-rsa A", "debian-12")
