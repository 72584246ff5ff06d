"""Whole disks for the tests: a GPT with a BIOS boot partition, an ESP and a root, as `disk.layout: hybrid` has them."""

import json
import random
from pathlib import Path
from typing import Any

from tests import trees
from tests.trees import program

MiB = 1 << 20
BIOS_AT, ESP_AT, ROOT_AT = 1 * MiB, 2 * MiB, 64 * MiB
SECTOR = 512
SCRIPT = """label: gpt
label-id: 0C0FFEE0-0000-4000-8000-000000000000
unit: sectors
14 : start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, name=bios
15 : start=4096, size=126976, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=esp
1 : start=131072, size={root}, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root
"""


def hybrid(image: Path, tree: Path, kind: str = "ext4", *, size: int) -> Path:
    """With a boot loader's worth of noise, an ESP with two programs, and a root made of a tree."""
    trees.mke2fs(image, tree, kind, size=root_size(size), offset=ROOT_AT)
    return surrounded(image, size=size)


def root_size(size: int) -> int:
    return size - ROOT_AT - MiB


def surrounded(image: Path, *, size: int) -> Path:
    """All of a hybrid disk but its root, which is there."""
    partition(image, SCRIPT.format(root=root_size(size) // SECTOR), size=size)
    noise = random.Random(14)
    with image.open("r+b") as file:
        file.seek(0)
        file.write(noise.randbytes(440))  # boot code, before the table of the old kind
        file.seek(BIOS_AT)
        file.write(noise.randbytes(MiB // 2))
    program(
        *("mkfs.fat", "--invariant", "-F", "32", "-s", "1", "--offset", str(ESP_AT // SECTOR)),
        *(image, str(62 << 10)),
    )
    loader = image.with_suffix(".efi")
    loader.write_bytes(noise.randbytes(700_001))
    esp = f"{image}@@{ESP_AT}"
    program("mmd", "-i", esp, "::/EFI", "::/EFI/BOOT")
    program("mcopy", "-i", esp, loader, "::/EFI/BOOT/BOOTX64.EFI")
    program("mcopy", "-i", esp, loader, "::/second.efi")
    loader.unlink()
    return image


def partition(image: Path, script: str, *, size: int) -> Path:
    with image.open("ab") as file:
        file.truncate(size)
    told = image.with_suffix(".sfdisk")
    told.write_text(script)
    program("sh", "-c", 'sfdisk -q "$1" < "$2"', "sh", image, told)
    told.unlink()
    return image


def told(image: Path) -> list[dict[str, Any]]:
    """The partitions, as sfdisk tells."""
    found: list[dict[str, Any]] = json.loads(program("sfdisk", "--json", image))["partitiontable"][
        "partitions"
    ]
    return found
