"""An image starts what its own boot menu says, and nothing else."""

import pytest

from tasks.kit.ext import Ext
from tasks.kit.fault import ImageFault
from tasks.plan.pvgrub import start
from tests.trees import mke2fs, plant

MENU = "default 0\ntitle one\n root (hd0)\n kernel /vmlinuz root=UUID=x ro\n"
FILES = {"/boot/vmlinuz-6.1": b"kernel" * 1000, "/vmlinuz": "boot/vmlinuz-6.1", "/initrd.img": b"initrd"}


def started(at, **menu):
    files = FILES | {f"/boot/grub/{name}.lst": text.encode() for name, text in menu.items()}
    with Ext.open(mke2fs(at / "image", plant(at / "tree", files), size=8 << 20)) as fs:
        return start(fs)


def test_kernel_and_initrd_are_those_that_the_menu_names(tmp_path):
    """By way of links, as distributions lay them."""
    found = started(tmp_path, menu=MENU + " initrd /initrd.img\n")
    assert found.kernel == b"kernel" * 1000
    assert found.initrd == b"initrd"
    assert found.arguments == "root=UUID=x ro"


def test_an_initrd_that_is_not_named_is_not_used(tmp_path):
    """Though it lies there."""
    assert started(tmp_path, menu=MENU).initrd is None


def test_an_image_without_a_menu_has_no_kernel_of_its_own(tmp_path):
    """And says where one was looked for."""
    with pytest.raises(ImageFault, match="there is no boot menu, and so no kernel of its own") as caught:
        started(tmp_path)
    assert caught.value.where == "/boot/grub/menu.lst"


def test_a_kernel_that_is_not_there_is_told_of(tmp_path):
    """By its name."""
    with pytest.raises(ImageFault, match="gone"):
        started(tmp_path, menu=MENU.replace("/vmlinuz", "/gone"))
