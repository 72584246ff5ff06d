"""What an image's own boot menu starts: kernel, initrd and command line, read as pv-grub reads them on EC2."""

from dataclasses import dataclass, field

from tasks.kit.ext import Ext
from tasks.kit.fault import ImageFault
from tasks.plan.menulst import WHERE, default_choice


@dataclass(frozen=True)
class Start:
    kernel: bytes = field(repr=False)
    initrd: bytes | None = field(repr=False)
    arguments: str


def start(fs: Ext) -> Start:
    """Raises ImageFault when there is no menu, or what it names is not there."""
    try:
        menu = fs.read(WHERE)
    except ImageFault as fault:
        raise ImageFault(
            f"there is no boot menu, and so no kernel of its own: {fault.problem}", where=WHERE
        ) from fault
    choice = default_choice(menu.decode(errors="replace"))
    initrd = fs.read(choice.initrd) if choice.initrd else None
    return Start(fs.read(choice.kernel), initrd, choice.arguments)
