r"""A system that boots in a second: 512 bytes that count their boots on the disk, and show what they find in a block that nobody wrote.

It says `boot 01 block 2 begins with 0123456789abcdef` and `login: ` on the serial port, and waits for the power button; or, if
told to, switches itself off at once. As GNU as reads it:

    _start: cli; xorw %ax,%ax; movw %ax,%ds; movw %ax,%es; movw %ax,%ss; movw $0x7c00,%sp; sti
            movw $counter,%si; movb $0x42,%ah; int $0x13          # sector 1 to 7e00: the counter
            incb 0x7e00; movw $counter,%si; movw $0x4300,%ax; int $0x13
            movw $noise,%si; movb $0x42,%ah; int $0x13            # sector 2048, of block 2, to 8000
            movw $boot,%si; call print; movb 0x7e00,%al; call hex
            movw $block,%si; call print; movw $0x8000,%si; movw $8,%cx
    1:      lodsb; call hex; loop 1b; movw $ready,%si; call print
            cmpb $1,mode; je off
            movw $0x602,%dx; movw $0x100,%ax; outw %ax,%dx        # the power button counts
            movw $0x600,%dx
    2:      hlt; inw %dx,%ax; testb $1,%ah; jz 2b                 # until it is pressed
    off:    movw $0x604,%dx; movw $0x2000,%ax; outw %ax,%dx       # ACPI: soft off
    3:      hlt; jmp 3b
    print:  lodsb; testb %al,%al; jz 4f; call putc; jmp print
    hex:    pushw %ax; shrb $4,%al; call nib; popw %ax; andb $15,%al
    nib:    cmpb $10,%al; sbbb $0x69,%al; das
    putc:   movw $0x3f8,%dx; outb %al,%dx
    4:      ret
    counter: .byte 16,0; .word 1,0x7e00,0; .quad 1
    noise:   .byte 16,0; .word 1,0x8000,0; .quad 2048
    boot: .asciz "boot "; block: .asciz " block 2 begins with "; ready: .asciz "\r\nlogin: "
            .org 0x1f0; mode: .byte 0; .org 510; .word 0xaa55
"""

import base64
import hashlib
import re
from typing import Any

CODE = bytes.fromhex(
    "fa31c08ed88ec08ed0bc007cfbbe8b7cb442cd13fe06007ebe8b7cb80043cd13be9b7cb442cd13beab7ce84000a0007ee84400beb17c"
    "e83400be0080b90800ace83400e2fabec77ce82200803ef07d017411ba0206b80001efba0006f4edf6c40174f9ba0406b80020eff4eb"
    "fdac84c07418e81100ebf650c0e804e8030058240f3c0a1c692fbaf803eec31000010000 7e0000010000000000000010000100008000"
    "000008000000000000626f6f74200020626c6f636b203220626567696e73207769746820000d0a6c6f67696e3a20".replace(
        " ", ""
    )
)
BLOCK = 524288
MODE = 0x1F0
SAID = re.compile(r"boot (\d\d) block 2 begins with ([0-9A-F]{16})\r\n")


def sector(*, off: bool = False) -> bytes:
    """`off`: it switches itself off once it has said its words."""
    code = bytearray(CODE.ljust(510, b"\0") + b"\x55\xaa")
    code[MODE] = off
    return bytes(code)


def snapshot(ebs: Any, first: bytes) -> str:
    """Of 1 GiB, that begins so; nothing else of it was written."""
    identity = str(ebs.start_snapshot(VolumeSize=1)["SnapshotId"])
    data = first.ljust(BLOCK, b"\0")
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    ebs.put_snapshot_block(
        SnapshotId=identity,
        BlockIndex=0,
        BlockData=data,
        DataLength=BLOCK,
        Checksum=digest,
        ChecksumAlgorithm="SHA256",
    )
    ebs.complete_snapshot(SnapshotId=identity, ChangedBlocksCount=1)
    return identity


def register(ec2: Any, ebs: Any, name: str = "boot sector", *, off: bool = False, **more: Any) -> str:
    """An EBS-backed AMI of it."""
    ebs_volume = {"SnapshotId": snapshot(ebs, sector(off=off))}
    asked = {
        "Name": name,
        "Architecture": "x86_64",
        "VirtualizationType": "hvm",
        "RootDeviceName": "/dev/xvda",
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": ebs_volume}],
    }
    return str(ec2.register_image(**asked | more)["ImageId"])
