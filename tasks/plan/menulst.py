"""GRUB legacy's menu.lst, as pv-grub reads it: what kernel boots, with what. Pure."""

from dataclasses import dataclass

from tasks.kit.fault import ImageFault

WHERE = "/boot/grub/menu.lst"


@dataclass(frozen=True)
class Choice:
    """The menu's default entry: paths inside the image, and the kernel's command line."""

    kernel: str
    initrd: str | None
    arguments: str


def default_choice(text: str) -> Choice:
    """Raises ImageFault when the menu names no kernel for its default entry."""
    default, entries = 0, []
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        word, eq, value = word.partition("=")
        if word == "default":
            default = int(rest.strip() or value or 0)
        elif word == "title":
            entries.append({"title": rest})
        elif entries and word in ("kernel", "initrd") and not eq:
            entries[-1][word] = rest.strip()
    if default >= len(entries) or "kernel" not in entries[default]:
        raise ImageFault("the boot menu names no kernel for its default entry", where=WHERE)
    chosen = entries[default]
    kernel, _, arguments = chosen["kernel"].partition(" ")
    return Choice(
        _bare(kernel), _bare(chosen["initrd"]) if "initrd" in chosen else None, arguments.strip()
    )


def _bare(path: str) -> str:
    """'(hd0)/boot/vmlinuz' -> '/boot/vmlinuz'."""
    return path[path.index(")") + 1 :] if path.startswith("(") else path
