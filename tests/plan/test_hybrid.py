"""The hybrid disk's places, and what is said to the programs that make it; what they make of it is read back."""

import json
import re
import struct
import uuid
from pathlib import Path

import pytest

from tasks.kit import grub
from tasks.kit.fault import HostFault, ToolFault
from tasks.kit.files import folder_for_now
from tasks.kit.proc import Command, run
from tasks.plan import hybrid
from tasks.spec import names
from tasks.spec.model import FIRMWARES, Disk
from tasks.spec.tool import Tool
from tests.trees import program

MIB = 1 << 20
EPOCH = 1_767_225_600
ARCHITECTURES = sorted(FIRMWARES)
DISK = Disk.model_validate({"size": "128 MiB"})


def made(path: Path, architecture: str) -> Path:
    """An empty disk with what starts it, as the stage `img` makes it: GRUB is the host's own."""
    with path.open("wb") as file:
        file.truncate(DISK.size)
    run(hybrid.partition(DISK, path, name="sample", architecture=architecture))  # type: ignore[arg-type]
    log = path.with_suffix(".log")
    with folder_for_now(path.with_suffix(".grub")) as folder:

        def image(loader: hybrid.Loader) -> Path:
            early = hybrid.early(loader, names.filesystem_id("sample"))
            return grub.made(hybrid.MKIMAGE.path, loader.plan, early, folder, epoch=EPOCH, log=log)

        if loader := hybrid.bios(architecture):  # type: ignore[arg-type]
            boot = loader.tool.path.with_name("boot.img")
            grub.place(path, boot, image(loader), core_at=hybrid.CORE_AT, room=MIB)
        if loader := hybrid.uefi(architecture):  # type: ignore[arg-type]
            for command in hybrid.system_partition(path, image(loader), "sample", loader, epoch=EPOCH):
                run(command)
    return path


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_partition_is_where_all_stages_take_it_to_be(tmp_path, architecture):
    """Of the right type, and with ids that follow from the image's name; the table is whole, and its copy."""
    path = made(tmp_path / "disk.img", architecture)
    table = json.loads(program("sfdisk", "--json", path))["partitiontable"]
    places = {
        int(re.findall(r"\d+$", each["node"])[0]): (each["start"] * 512, each["size"] * 512)
        for each in table["partitions"]
    }
    expected = {1: (64 * MIB, (128 - 65) * MIB)}
    if "bios" in FIRMWARES[architecture]:
        expected[14] = (MIB, MIB)
    if "uefi" in FIRMWARES[architecture]:
        expected[15] = (2 * MIB, 62 * MIB)
    assert places == expected
    assert uuid.UUID(table["id"]) == names.disk_id("sample", "disk")
    ids = {each["name"]: uuid.UUID(each["uuid"]) for each in table["partitions"]}
    assert ids == {name: names.disk_id("sample", name) for name in ids}
    assert len({*ids.values(), uuid.UUID(table["id"])}) == len(ids) + 1
    assert "No errors detected" in program("sfdisk", "--verify", path)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_two_disks_of_one_name_are_equal(tmp_path, architecture):
    """Whenever they are made, to the byte; and another's has other ids."""
    first = made(tmp_path / "first.img", architecture)
    second = made(tmp_path / "second.img", architecture)
    assert program("cmp", first, second) == ""


@pytest.mark.parametrize("architecture", [each for each in ARCHITECTURES if "uefi" in FIRMWARES[each]])
def test_firmware_finds_grub_in_a_system_partition_without_a_fault(tmp_path, architecture):
    """Under the name that it looks for; a program for its processor, with the epoch for its time."""
    path = made(tmp_path / "disk.img", architecture)
    esp = tmp_path / "esp.img"
    with path.open("rb") as file:
        file.seek(2 * MIB)
        esp.write_bytes(file.read(62 * MIB))
    program("fsck.fat", "-n", esp)
    assert esp.read_bytes()[82:90] == b"FAT32   "
    assert re.search(r"^EFI +<DIR> +2026-01-01", program("mdir", "-i", esp, "::/"), re.MULTILINE)
    (name,) = re.findall(
        r"^(BOOT\w+) +EFI .* 2026-01-01", program("mdir", "-i", esp, "::/EFI/BOOT"), re.MULTILINE
    )
    assert name == {"x86_64": "BOOTX64", "arm64": "BOOTAA64"}[architecture]
    program("mcopy", "-i", esp, f"::/EFI/BOOT/{name}.EFI", tmp_path / "grub.efi")
    text = (tmp_path / "grub.efi").read_bytes()
    assert text[:2] == b"MZ"
    machine = struct.unpack_from("<H", text, struct.unpack_from("<I", text, 0x3C)[0] + 4)[0]
    assert machine == {"x86_64": 0x8664, "arm64": 0xAA64}[architecture]


@pytest.mark.parametrize("architecture", [each for each in ARCHITECTURES if "bios" in FIRMWARES[each]])
def test_the_boot_sector_leads_to_the_core_image_and_leaves_the_table_alone(tmp_path, architecture):
    """What is loaded is the core image, whole, and it is in its own partition."""
    path = made(tmp_path / "disk.img", architecture)
    with path.open("rb") as file:
        sector = file.read(512)
        file.seek(MIB)
        core = file.read(MIB)
    assert sector[510:] == b"\x55\xaa"
    assert sector[450] == 0xEE, "the protective partition"
    assert struct.unpack_from("<Q", sector, 0x5C)[0] * 512 == MIB
    first, count, segment = struct.unpack_from("<QHH", core, 0x1F4)
    assert first * 512 == MIB + 512
    assert segment == 0x820
    assert core[(count + 1) * 512 :].strip(b"\0") == b"", "nothing lies beyond what is loaded"
    assert core[count * 512 : (count + 1) * 512].strip(b"\0") != b""


def test_a_core_image_that_is_too_large_is_told(tmp_path):
    """It would lie in the system partition."""
    for name, size in (("disk", 4096), ("boot", 512), ("core", MIB + 1)):
        (tmp_path / name).write_bytes(bytes(size))
    with pytest.raises(ToolFault, match=r"core image takes 1049088 B, its partition has 1048576"):
        grub.place(tmp_path / "disk", tmp_path / "boot", tmp_path / "core", core_at=MIB, room=MIB)
    assert (tmp_path / "disk").read_bytes() == bytes(4096)


def test_the_root_is_looked_for_at_its_usual_place_first():
    """By its id; a copy of the disk may be attached."""
    root = uuid.uuid4()
    for loader in (hybrid.PC, hybrid.X64, hybrid.AA64):
        lines = hybrid.early(loader, root).splitlines()
        assert f"search.fs_uuid {root} root hd0,gpt1" in lines
        assert lines[-1] == "configfile ($root)/boot/grub/grub.cfg"
        assert (lines[0] == "serial --unit=0 --speed=115200") == (loader is hybrid.PC)


def test_only_what_an_architecture_takes_is_asked_of_the_host():
    """BIOS for one, UEFI for another; modules are files, and Debian's may be foreign to the host."""

    def names_of(tools: tuple[Tool, ...]) -> set[str]:
        return {each.program for each in tools}

    both = names_of(hybrid.tools("x86_64"))
    assert {
        "sfdisk",
        "grub-mkimage",
        "GRUB for i386-pc",
        "GRUB for x86_64-efi",
        "mkfs.fat",
        "mcopy",
    } == both
    assert names_of(hybrid.tools("i386")) == {"sfdisk", "grub-mkimage", "GRUB for i386-pc"}
    assert "GRUB for i386-pc" not in names_of(hybrid.tools("arm64"))
    (modules,) = [each for each in hybrid.tools("arm64") if each.program == "GRUB for arm64-efi"]
    assert modules.apt == "grub-efi-arm64-bin:arm64"


def test_modules_that_are_not_there_are_told_with_what_brings_them():
    nowhere = hybrid.Loader("mips-arc", "grub-mips", "grub2-mips", ())
    with pytest.raises(HostFault, match="GRUB for mips-arc is not installed") as caught:
        _ = nowhere.plan
    assert caught.value.hint == "doit host --install"


def test_grubs_own_words_are_the_fault(tmp_path):
    """When it cannot make an image."""
    plan = grub.Plan("i386-pc", hybrid.PC.plan.modules, ("nosuch",))
    with pytest.raises(ToolFault, match="could not make GRUB's image for i386-pc") as caught:
        grub.made(hybrid.MKIMAGE.path, plan, "", tmp_path, epoch=EPOCH, log=tmp_path / "log")
    assert any("nosuch" in line for line in caught.value.evidence)


def test_the_layout_says_where_the_root_begins():
    assert hybrid.root_at("hybrid") == 67108864
    assert hybrid.root_at("none") == 0
    assert hybrid.root_size(DISK) == (128 - 65) * MIB
    assert hybrid.root_size(DISK.model_copy(update={"layout": "none"})) == DISK.size
    assert isinstance(hybrid.partition(DISK, Path("/i"), name="a", architecture="arm64"), Command)
