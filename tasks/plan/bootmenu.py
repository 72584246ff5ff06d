"""What an image of ours starts by its own boot menu: GRUB's on a hybrid disk, pv-grub's where there is no partition table."""

import re
from pathlib import Path

from tasks.kit.ext import Ext
from tasks.kit.fault import ImageFault
from tasks.plan import pvgrub
from tasks.plan.hybrid import root_at
from tasks.plan.pvgrub import Start

MENU = "/boot/grub/grub.cfg"
# templates/boot-menu.sh writes the entries, the default one first.
LINUX = re.compile(r"^ *linux (\S+) ?(.*)$", re.MULTILINE)
INITRD = re.compile(r"^ *initrd (\S+)$", re.MULTILINE)


def start(image: Path, layout: str) -> Start:
    """Of a disk image of that layout. Raises ImageFault when there is no menu, or what it names is not there."""
    with Ext.open(image, root_at(layout)) as fs:
        return pvgrub.start(fs) if layout == "none" else _first(fs)


def _first(fs: Ext) -> Start:
    first = fs.read(MENU).decode(errors="replace").partition("}")[0]
    kernel, initrd = LINUX.search(first), INITRD.search(first)
    if not kernel:
        raise ImageFault("the boot menu names no kernel for its first entry", where=MENU)
    arguments = kernel[2].strip()
    return Start(fs.read(kernel[1]), fs.read(initrd[1]) if initrd else None, arguments)
