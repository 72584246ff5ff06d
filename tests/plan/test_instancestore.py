"""The disk of an m1.small: the image is its first partition, byte for byte, with what fstab names beside it."""

import json
import subprocess
from pathlib import Path

from tasks.kit.ext import Ext
from tasks.kit.proc import run
from tasks.plan import instancestore
from tasks.plan.instancestore import BESIDE, MIB
from tests.trees import program, varied


def test_an_image_becomes_the_first_of_three_partitions(tmp_path: Path):
    """By programs that are not ours: the table, the file systems, the swap."""
    img, disk, size = tmp_path / "image", tmp_path / "disk", 40 * MIB
    program("mke2fs", "-q", "-t", "ext3", "-d", varied(tmp_path / "tree"), img, f"{size >> 10}k")
    disk.touch()
    with disk.open("r+b") as file:
        file.truncate(instancestore.size(size))
    for command in instancestore.commands(img, size, disk):
        run(command)
    table = json.loads(program("sfdisk", "--json", disk))["partitiontable"]
    found = [(each["start"], each["size"], each["type"]) for each in table["partitions"]]
    starts = [at // 512 for at in (MIB, MIB + size, MIB + size + BESIDE)]
    lengths = [size // 512, BESIDE // 512, BESIDE // 512]
    assert found == list(zip(starts, lengths, ("83", "83", "82"), strict=True))
    whole = disk.read_bytes()
    assert whole[MIB : MIB + size] == img.read_bytes()
    parts = {}
    for number, (start, length, _) in enumerate(found, 1):
        parts[number] = tmp_path / f"part{number}"
        parts[number].write_bytes(whole[start * 512 : (start + length) * 512])
    subprocess.run(["e2fsck", "-f", "-n", parts[2]], check=True, capture_output=True)
    with Ext.open(parts[2]) as fs:
        assert fs.free_blocks
    assert b"SWAPSPACE2" in parts[3].read_bytes()[:4096]
    assert disk.stat().st_blocks * 512 < size + 20 * MIB, "holes stay holes"
