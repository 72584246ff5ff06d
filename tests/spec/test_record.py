"""A record says what was written, or is refused."""

import json
import os

import pytest

from tasks.kit.fault import ImageFault
from tasks.spec.record import FileStamp, Finding, ImgStamp, ScanReport, now, swapped

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
