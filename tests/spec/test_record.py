"""A record says what was written, or is refused."""

import json
import os

import pytest

from tasks.kit import files
from tasks.kit.fault import ImageFault
from tasks.spec.record import (
    BlockList,
    FileStamp,
    Finding,
    ImgStamp,
    MirrorFile,
    MirrorPackage,
    MirrorStamp,
    ScanReport,
    UploadReceipt,
    incomplete,
    now,
    swapped,
)
from tests import proofs

REPORT = ScanReport(sha256="00", files=3, findings=(Finding(path="/etc/x", reason="because"),))


def test_a_record_is_read_as_it_was_written(tmp_path):
    """Every field, of the right kind."""
    REPORT.write(tmp_path / "scan.json")
    assert ScanReport.read(tmp_path / "scan.json") == REPORT


def changed(text):
    value = json.loads(text)
    value["findings"] = []
    return json.dumps(value)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (changed, "was changed after it was written"),
        (lambda text: text[: len(text) // 2], "is damaged"),
        (lambda text: text.replace('"seal"', '"sael"'), "is damaged"),
        (lambda text: text.replace('"files": 3', '"files": "many"'), "is damaged"),
        (lambda text: "[]", "is damaged"),
        (lambda text: "", "is damaged"),
    ],
    ids=["edited", "cut", "without a seal", "of another kind", "a list", "empty"],
)
def test_a_tampered_record_is_refused(tmp_path, spoil, said):
    """A finding that was edited away is not a pass."""
    path = tmp_path / "scan.json"
    REPORT.write(path)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(ImageFault, match=said) as caught:
        ScanReport.read(path)
    assert "run doit again" in caught.value.hint


def test_a_missing_record_is_told_of(tmp_path):
    """With its path."""
    with pytest.raises(ImageFault, match="is missing"):
        ScanReport.read(tmp_path / "scan.json")


def test_a_file_that_was_swapped_is_noticed(tmp_path):
    """By size, by time, or because it is gone; without reading it."""
    path = tmp_path / "disk.img"
    path.write_bytes(b"content")
    stamp = FileStamp.of(path)
    stamp.check(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(ImageFault, match="is not the file that was stamped"):
        stamp.check(path)
    path.unlink()
    with pytest.raises(ImageFault, match="is gone"):
        stamp.check(path)


def test_a_swapped_file_is_seen_without_reading_either_whole(tmp_path):
    """By size and time; a stamp that cannot be read vouches for nothing."""
    image, stamp = tmp_path / "disk.img", tmp_path / "disk.img.stamp"
    image.write_bytes(b"content")
    ImgStamp(file=FileStamp.of(image), layout="none", made=now()).write(stamp)
    assert not swapped(stamp, image)
    os.utime(image, ns=(1, 1))
    assert swapped(stamp, image)
    stamp.write_text("{}")
    assert swapped(stamp, image)
    assert swapped(stamp, tmp_path / "nothing")


@pytest.fixture
def mirror(tmp_path):
    """One of a package and its index, and the stamp."""
    digests = {}
    for name in ("pool/hello.deb", "index"):
        path = tmp_path / "mirror" / name
        files.write(path, name)
        digests[name] = MirrorFile(name=name, size=len(name), sha256=files.sha256(path))
    files.mark(tmp_path / "mirror/pool/hello.deb", 1_700_000_000, digests["pool/hello.deb"].sha256)
    package = MirrorPackage(
        name="hello", version="1", architecture="all", file=digests["pool/hello.deb"]
    )
    made = MirrorStamp(digest="", epoch=1_700_000_000, packages=(package,), metadata=(digests["index"],))
    made.write(tmp_path / "stamp")
    return tmp_path / "mirror"


@pytest.mark.parametrize(
    ("harm", "seen"),
    [
        (lambda folder: None, False),
        (lambda folder: (folder / "index").touch(), False),
        (lambda folder: (folder / "pool/hello.deb").touch(), True),
        (lambda folder: (folder / "index").write_text("longer than it was"), True),
        (lambda folder: (folder / "index").unlink(), True),
        (lambda folder: (folder.parent / "stamp").write_text("{}"), True),
    ],
    ids=["nothing", "an index of another time", "a package of another", "larger", "gone", "no stamp"],
)
def test_a_mirror_that_changed_is_noticed(mirror, harm, seen):
    """By sizes, and by the times of packages, which are of their content; nothing is read."""
    stamp = mirror.parent / "stamp"
    made = MirrorStamp.read(stamp)
    harm(mirror)
    assert incomplete(stamp, mirror) is seen
    if seen and stamp.stat().st_size > 2:
        with pytest.raises(ImageFault, match=r"1 file\(s\) of the mirror are gone or changed"):
            made.check(mirror)


RECORDS = (
    BlockList(
        version=1,
        sha256="00",
        digest="11",
        block_size=524288,
        volume_size=1 << 30,
        unread=("gpt", "ext4 at 67108864"),
        blocks=((0, "aa"), (7, "bb")),
    ),
    proofs.report(proofs.started("bios"), proofs.started("uefi")),
    UploadReceipt(
        account="1" * 12, region="us-east-1", sha256="00", cloud_id="", at=now(), digest="11", location="snap-1"
    ),
)  # fmt: skip


@pytest.mark.parametrize("record", RECORDS, ids=[type(each).__name__ for each in RECORDS])
def test_what_an_ebs_backed_image_leaves_behind_is_read_as_it_was_written(tmp_path, record):
    """Blocks, boots and the snapshot; and a digit that was changed is noticed."""
    path = tmp_path / "record"
    record.write(path)
    assert type(record).read(path) == record
    path.write_text(path.read_text().replace("00", "01", 1))
    with pytest.raises(ImageFault, match="was changed after it was written"):
        type(record).read(path)
