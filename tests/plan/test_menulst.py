"""The boot menu says what pv-grub would boot."""

import pytest

from tasks.kit.fault import ImageFault
from tasks.plan.menulst import Choice, default_choice

MENU = """\
# kernel /not/this
default=1
timeout 3

title first
    root (hd0)
    kernel /boot/a root=/dev/xvda1
title second
    kernel (hd0)/boot/vmlinuz-2.6.18 root=LABEL=root ro
    initrd (hd0)/boot/initrd-2.6.18
"""


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        (MENU, Choice("/boot/vmlinuz-2.6.18", "/boot/initrd-2.6.18", "root=LABEL=root ro")),
        (MENU.replace("default=1", "default 0"), Choice("/boot/a", None, "root=/dev/xvda1")),
        ("title x\nkernel /vmlinuz\n", Choice("/vmlinuz", None, "")),
    ],
    ids=["by number", "without an initrd", "the least"],
)
def test_the_default_entry_is_chosen(text, choice):
    """With its paths inside the image and its command line unchanged."""
    assert default_choice(text) == choice


@pytest.mark.parametrize(
    "text", ["", "default 2\ntitle x\nkernel /a", "title x\nroot (hd0)"], ids=["empty", "past", "bare"]
)
def test_a_menu_without_a_kernel_is_refused(text):
    """Better here than on an instance that never answers."""
    with pytest.raises(ImageFault, match="names no kernel"):
        default_choice(text)
