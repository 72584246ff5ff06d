"""A disk that UEFI starts: GRUB alone, which says what it was started by and what disks it sees, and waits.

It is 4 MiB of FAT, without a partition table. GRUB stands for a boot loader; no kernel follows.
"""

import base64
import hashlib
import re
import subprocess
from pathlib import Path
from typing import Any, Literal

from tasks.plan.hybrid import EFI, MKIMAGE
from tests.bootsector import BLOCK

SIZE = 4 << 20
DISKS = 3  # that it looks for; GRUB says of one that is not there that it is an error
SAID = re.compile(r"started by (\S+) on (\S+) ")
DISK = re.compile(r"Device (hd\d):[^:]*Total\s+size\s+(\d+)KiB")  # in lines of 80 characters
LOOK = "".join(f"ls -l (hd{number})\n" for number in range(DISKS))
MENU = (
    'terminal_output console\necho "started by $grub_platform on $grub_cpu "\n'
    + LOOK
    + 'echo "login: "\nsleep 600\n'
)
MODULES = ("fat", "normal", "echo", "ls", "sleep", "terminal")

Architecture = Literal["x86_64", "arm64"]


def disk(folder: Path, architecture: Architecture = "x86_64") -> bytes:
    loader = EFI[architecture]
    menu, program, image = folder / "menu", folder / loader.name, folder / "efi.img"
    menu.write_text(MENU)
    run = ("-O", loader.target, "-p", "/", "-c", menu, "-o", program)
    subprocess.run([MKIMAGE.path, *run, *MODULES], check=True)
    image.write_bytes(bytes(SIZE))
    subprocess.run(["mkfs.fat", "--invariant", image], check=True, capture_output=True)
    subprocess.run(["mmd", "-i", image, "::/EFI", "::/EFI/BOOT"], check=True)
    subprocess.run(["mcopy", "-i", image, program, "::/EFI/BOOT/"], check=True)
    return image.read_bytes()


def register(ec2: Any, ebs: Any, data: bytes, architecture: Architecture = "x86_64", **more: Any) -> str:
    """An AMI of 1 GiB that begins so; nothing else of it was written."""
    identity = str(ebs.start_snapshot(VolumeSize=1)["SnapshotId"])
    for index in range(len(data) // BLOCK):
        block = data[index * BLOCK : (index + 1) * BLOCK]
        digest = base64.b64encode(hashlib.sha256(block).digest()).decode()
        ebs.put_snapshot_block(
            SnapshotId=identity,
            BlockIndex=index,
            BlockData=block,
            DataLength=BLOCK,
            Checksum=digest,
            ChecksumAlgorithm="SHA256",
        )
    ebs.complete_snapshot(SnapshotId=identity, ChangedBlocksCount=len(data) // BLOCK)
    root = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": identity}}
    asked = {
        "Name": f"{architecture} by UEFI",
        "Architecture": architecture,
        "VirtualizationType": "hvm",
        "RootDeviceName": "/dev/xvda",
        "BlockDeviceMappings": [root, *more.pop("beside", ())],
        "BootMode": "uefi",
        "EnaSupport": True,
    }
    return str(ec2.register_image(**asked | more)["ImageId"])
