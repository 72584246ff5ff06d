"""A package's scripts run in the image's own tree: whether this machine can, is known before anything is touched."""

from functools import partial
from types import SimpleNamespace

import pytest

from tasks import img, rootfs
from tasks.distro import foreign
from tasks.kit.fault import HostFault
from tasks.kit.report import Silent
from tasks.spec.load import load
from tests.projects import ROOT

ENTRY = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POF\noffset 0\nmagic 7f454c46\n"


@pytest.fixture
def binfmt(tmp_path):
    """The kernel's list, with arm64's emulator in it."""
    (tmp_path / "status").write_text("enabled\n")
    (tmp_path / "qemu-aarch64").write_text(ENTRY)
    return tmp_path


@pytest.mark.parametrize(
    ("host", "architecture"),
    [("x86_64", "x86_64"), ("x86_64", "i386"), ("i686", "i386"), ("aarch64", "arm64")],
)
def test_a_processor_runs_its_own(host, architecture, tmp_path):
    """No emulator is asked for."""
    foreign.check(architecture, host=host, binfmt=tmp_path / "nothing")


def test_an_emulator_of_the_kernels_list_will_do(binfmt):
    """One that is enabled, and opened when it was registered."""
    foreign.check("arm64", host="x86_64", binfmt=binfmt)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda at: (at / "status").unlink(), "is not mounted"),
        (lambda at: (at / "qemu-aarch64").unlink(), "the kernel knows no emulator for it"),
        (
            lambda at: (at / "qemu-aarch64").write_text(ENTRY.replace("enabled", "disabled")),
            "is disabled",
        ),
        (lambda at: (at / "qemu-aarch64").write_text(ENTRY.replace("POF", "PO")), "lacks the flag F"),
        (lambda at: (at / "qemu-aarch64").write_text("enabled\n"), "lacks the flag F"),
    ],
    ids=["not mounted", "no entry", "disabled", "no F", "no flags"],
)
def test_what_lacks_is_told_with_what_to_install(binfmt, change, said):
    """In one fault that names both architectures."""
    change(binfmt)
    with pytest.raises(
        HostFault, match=r"this machine \(x86_64\) does not run .* an arm64 image"
    ) as caught:
        foreign.check("arm64", host="x86_64", binfmt=binfmt)
    assert said in caught.value.evidence[0]
    assert "apt-get install qemu-user-static" in caught.value.hint
    assert "dnf install qemu-user-static" in caught.value.hint


def test_neither_stage_begins_without(tmp_path, monkeypatch):
    """Both that run programs of the image; what was there stays."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(foreign, "BINFMT", tmp_path / "nothing")
    monkeypatch.setattr("os.uname", lambda: SimpleNamespace(machine="x86_64"))
    image = next(each for each in load().images if each.name == "debian-12-arm64")
    stamp, none = tmp_path / "stamp", tmp_path / "none"
    stamp.write_text("of before")
    populate = partial(rootfs.body, rootfs.Order.of(image, 0), templates={}, rootfs=none, stamp=stamp)
    paths = dict.fromkeys(("rootfs", "rootfs_stamp", "public_key", "img"), none)
    make = partial(img.body, img.Order.of(image, 0), templates={}, scripts={}, stamp=stamp, **paths)
    for body in (populate, make):
        with pytest.raises(HostFault, match="does not run the programs of an arm64 image"):
            body(report=Silent(), log=none)
    assert [each.name for each in tmp_path.iterdir()] == ["stamp"]
