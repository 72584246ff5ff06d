r"""A kernel that boots in a second, an image that holds it, and a bundle of that in a local cloud's S3.

It is what QEMU takes for Linux: a real-mode part of two sectors with Linux's own header (Documentation/arch/x86/boot.rst). It says
`[    0.000000] Command line: ...` and `login: ` on the serial port, and waits for the power button. As GNU as reads it:

    .org 0x1f1; .byte 1; .org 0x200; jmp start; .ascii "HdrS"; .word 0x206; .org 0x211; .byte 1; .org 0x268
    start:  movw $hello,%si; call print; movl 0x228,%eax; movw %ax,%si; andw $15,%si; shrl $4,%eax; movw %ax,%ds; call print
            movw %cs,%ax; subw $0x20,%ax; movw %ax,%ds; movw $ready,%si; call print
            movw $0x602,%dx; movw $0x100,%ax; outw %ax,%dx; movw $0x600,%dx; sti
    2:      hlt; inw %dx,%ax; testb $1,%ah; jz 2b; movw $0x604,%dx; movw $0x2000,%ax; outw %ax,%dx
    3:      hlt; jmp 3b
    print:  lodsb; testb %al,%al; jz 4f; movw $0x3f8,%dx; outb %al,%dx; jmp print
    4:      ret
    hello: .asciz "[    0.000000] Command line: "; ready: .asciz "\r\nlogin: "
"""

import shutil
from pathlib import Path
from random import Random
from typing import Any

from tests import bundles
from tests.bundles import Place
from tests.trees import mke2fs

HEAD = bytes.fromhex("eb6648647253060200000000000000000001")
CODE = bytes.fromhex(
    "beb502e83b0066a1280289c683e60f66c1e8048ed8e829008cc883e8208ed8bed302e81c00ba0206b80001efba0006fb"
    "f4edf6c40174f9ba0406b80020eff4ebfdac84c07406baf803eeebf5c35b20202020302e3030303030305d20436f6d6d"
    "616e64206c696e653a20000d0a6c6f67696e3a20"
)
ARGUMENTS = "root=/dev/vda ro console=ttyS0"
MENU = f"default 0\ntitle tiny\nroot (hd0)\nkernel /boot/vmlinuz {ARGUMENTS}\n"
BUCKET = "images"
PART = 1 << 20


def kernel() -> bytes:
    code = bytearray(0x500)
    code[0x1F1] = 1
    code[0x200 : 0x200 + len(HEAD)] = HEAD
    code[0x268 : 0x268 + len(CODE)] = CODE
    return bytes(code)


def bundled(root: Path, *, menu: bool = True, **order: Any) -> Place:
    """An image with the kernel in it, or with none; in parts of which there are several."""
    root.mkdir(parents=True, exist_ok=True)
    at = bundles.place(root)
    boot = root / "tree" / "boot"
    (boot / "grub").mkdir(parents=True)
    if menu:
        (boot / "grub/menu.lst").write_text(MENU)
        (boot / "vmlinuz").write_bytes(kernel())
    (root / "tree/noise").write_bytes(Random(0).randbytes(3 << 20))
    mke2fs(at.image, root / "tree")
    bundles.write_stamp(at)
    bundles.make(at, part=PART, **order)
    return at


def registered(at: Place, home: Path, s3: Any, ec2: Any, name: str = "tiny", **more: Any) -> str:
    """The bundle of a place in S3, as an AMI; the cloud gets EC2's key."""
    key = home / "ec2" / "pk.pem"
    key.parent.mkdir(exist_ok=True)
    shutil.copyfile(at.ec2_key, key)
    s3.create_bucket(Bucket=BUCKET, ObjectOwnership="BucketOwnerPreferred")
    for path in at.parts.iterdir():
        s3.put_object(
            Bucket=BUCKET, Key=f"{name}/{path.name}", Body=path.read_bytes(), ACL="aws-exec-read"
        )
    asked = {"Name": name, "ImageLocation": f"{BUCKET}/{name}/{at.manifest.name}"}
    return str(ec2.register_image(**asked | more)["ImageId"])
