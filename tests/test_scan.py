import os
from pathlib import Path

import pytest

from tasks import scan
from tasks.kit.fault import ImageFault
from tasks.kit.report import Silent
from tasks.spec.model import Image
from tasks.spec.record import FileStamp, ImgStamp, ScanReport, now
from tests.trees import mke2fs, plant

OURS = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGV4cGVjdGVk image"
EXTRA = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGV4dHJh ops"
OTHER = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDvdGhlcg== bob@home"
KEY = (
    b"-----BEGIN PRIVATE KEY-----\n"
    + b"MC4CAQAwBQYDK2VwBCIEIH8vd" * 2
    + b"\n-----END PRIVATE KEY-----\n"
)
ORDER = scan.Order(image="sample", key_path="/root/.ssh/authorized_keys", extra_keys=(EXTRA,), allow=())

CLEAN: dict[str, bytes | str] = {
    "/etc/machine-id": b"",
    "/var/lib/dbus/machine-id": "/etc/machine-id",
    "/etc/shadow": b"root:*:19000:0:99999:7:::\n",
    "/etc/passwd": b"root:x:0:0:root:/root:/bin/bash\n",
    "/root/.ssh/authorized_keys": f"{OURS}\n{EXTRA}\n".encode(),
    "/root/.bash_history": "/dev/null",
    "/usr/lib/libcrypto.so": b"\x7fELF-----BEGIN PRIVATE KEY-----\0",
}


class Heard(Silent):
    def __init__(self) -> None:
        self.words: list[str] = []
        self.moves: list[tuple[int, int]] = []

    def said(self, text: str) -> None:
        self.words.append(text)

    def moved(self, done: int, total: int, unit: str = "B") -> None:
        assert unit == "B"
        self.moves.append((done, total))


def image(at: Path, files: dict[str, bytes | str], *, offset: int = 0) -> Path:
    """An image of these files, with its stamp and its public key beside it."""
    img = mke2fs(at / "sample.img", plant(at / "tree", files), size=16 << 20, offset=offset)
    ImgStamp(file=FileStamp.of(img), layout="none", made=now()).write(at / "img.stamp")
    (at / "ssh_key.pub").write_text(f"{OURS}\n")
    return img


def scanned(at: Path, order: scan.Order = ORDER, report: Silent | None = None) -> ScanReport:
    scan.body(
        order,
        report=report or Silent(),
        image=at / "sample.img",
        stamp=at / "img.stamp",
        public_key=at / "ssh_key.pub",
        scan=at / "scan.json",
    )
    return ScanReport.read(at / "scan.json")


def found(at: Path, files: dict[str, bytes | str], order: scan.Order = ORDER) -> dict[str, str]:
    image(at, files)
    return {finding.path: finding.reason for finding in scanned(at, order).findings}


def test_an_image_as_it_should_be_passes(tmp_path):
    """The report counts the files, and says of which image it speaks."""
    image(tmp_path, CLEAN)
    report, heard = scanned(tmp_path), Heard()
    assert report.findings == ()
    assert report.files == 5
    assert report.sha256 == ImgStamp.read(tmp_path / "img.stamp").file.sha256
    assert scanned(tmp_path, report=heard) == report
    assert heard.words == ["reading the image", "5 files read, no findings"]
    assert heard.moves == sorted(heard.moves)
    assert all(done <= total for done, total in heard.moves)


def test_a_key_in_an_image_that_should_hold_none_is_a_finding(tmp_path):
    """Even our own: its instances let in whom they are launched with."""
    order = ORDER.model_copy(update={"key_inside": False})
    files: dict[str, bytes | str] = {"/root/.ssh/authorized_keys": f"{EXTRA}\n".encode()}
    assert found(tmp_path / "one", files, order) == {}
    files["/root/.ssh/authorized_keys"] = f"{OURS}\n{EXTRA}\n".encode()
    assert list(found(tmp_path / "two", files, order)) == ["/root/.ssh/authorized_keys"]


def test_each_finding_names_its_file_and_the_report_is_written_all_the_same(tmp_path):
    """By place and by content, in the order of the walk."""
    guilty: dict[str, bytes | str] = {
        "/etc/machine-id": b"5c9a0d7f6b1e4f0d8a3c2b1a09f8e7d6\n",
        "/etc/ssh/ssh_host_rsa_key.pub": OTHER.encode(),
        "/home/bob/.ssh/authorized_keys": OTHER.encode(),
        "/opt/app.json": KEY.replace(b"\n", b"\\n"),
        "/root/.bash_history": b"ls\n",
    }
    image(tmp_path, {**CLEAN, **guilty})
    heard = Heard()
    report = scanned(tmp_path, report=heard)
    paths = [finding.path for finding in report.findings]
    assert paths == sorted({*guilty, "/var/lib/dbus/machine-id"})  # the link leads to an id
    assert heard.words[-1] == "9 files read, 6 findings"


def test_what_the_configuration_allows_is_passed_over(tmp_path):
    """By path or by glob, as the finding shows it."""
    files: dict[str, bytes | str] = {"/opt/a/test.pem": KEY, "/opt/b.pem": KEY, "/opt/grüße\n.pem": KEY}
    image(tmp_path, files)
    for allow, left in {
        (): ["/opt/a/test.pem", "/opt/b.pem", "/opt/grüße\\n.pem"],
        ("/opt/b.pem",): ["/opt/a/test.pem", "/opt/grüße\\n.pem"],
        ("/opt/*.pem",): [],
        ("b.pem", "/opt"): ["/opt/a/test.pem", "/opt/b.pem", "/opt/grüße\\n.pem"],
    }.items():
        report = scanned(tmp_path, ORDER.model_copy(update={"allow": allow}))
        assert [finding.path for finding in report.findings] == left


def test_authorized_keys_behind_a_link_are_judged(tmp_path):
    """A link to another place hides nothing; nor does the expected file become a stranger where it really lies."""
    files: dict[str, bytes | str] = {
        "/opt/hidden": f"{OTHER}\n".encode(),
        "/home/bob/.ssh/authorized_keys": "/opt/hidden",
        "/home/root/.ssh/authorized_keys": f"{OURS}\n".encode(),
        "/root": "home/root",
    }
    assert list(found(tmp_path, files)) == ["/home/bob/.ssh/authorized_keys"]


def test_links_to_nothing_and_to_directories_are_no_findings(tmp_path):
    links: dict[str, bytes | str] = {
        "/root/.bash_history": "/nowhere",
        "/root/.viminfo": "/etc",
        "/etc/shadow": "shadow",
    }
    assert found(tmp_path, {**links, "/etc/motd": b""}) == {}


def test_a_key_across_two_pieces_of_a_large_file_is_found(tmp_path, monkeypatch):
    """Large files are read piece by piece; holes are skipped, and nothing is lost between."""
    monkeypatch.setattr(scan, "AT_ONCE", 1 << 20)
    monkeypatch.setattr("tasks.kit.ext.PIECE", 64 << 10)
    large = bytearray(os.urandom(3 << 20))
    at = (1 << 20) + (64 << 10) - 40
    large[at : at + len(KEY)] = KEY
    assert "/srv/dump" in found(tmp_path, {"/srv/dump": bytes(large)})
    assert found(tmp_path, {"/srv/dump": bytes(large).replace(b"PRIVATE", b"-------")}) == {}


def test_the_file_system_may_begin_at_an_offset(tmp_path):
    """As in an image with a partition table."""
    image(tmp_path, {"/srv/key": KEY}, offset=1 << 20)
    report = scanned(tmp_path, ORDER.model_copy(update={"offset": 1 << 20}))
    assert [finding.path for finding in report.findings] == ["/srv/key"]


@pytest.mark.parametrize(("layout", "backing", "at"), [("hybrid", "ebs", 64 << 20), ("none", "s3", 0)])
def test_the_layout_of_the_disk_says_where_it_begins(layout, backing, at):
    wanted = {"size": "2 GiB", "layout": layout}
    of = {"distro": "debian", "release": "bookworm", "architecture": "x86_64"}
    value = {**of, "name": "sample", "packages": ["x"], "disk": wanted, "ami": {"backing": backing}}
    assert scan.Order.of(Image.model_validate(value)).offset == at


def test_a_name_that_is_no_utf8_can_be_told(tmp_path):
    plant(tmp_path / "tree", {"/srv/x": b""})
    Path(os.fsdecode(bytes(tmp_path / "tree/srv") + b"/latin\xe9")).write_bytes(KEY)
    assert list(found(tmp_path, {})) == ["/srv/latin\\udce9"]


def test_a_swapped_image_is_not_scanned(tmp_path):
    """The stamp is looked at first, and no report is left."""
    img = image(tmp_path, CLEAN)
    os.utime(img, (1, 1))
    with pytest.raises(ImageFault, match=r"sample\.img is not the file that was stamped"):
        scanned(tmp_path)
    assert not (tmp_path / "scan.json").exists()


def test_a_damaged_image_gives_a_fault_and_no_report(tmp_path):
    img = image(tmp_path, CLEAN)
    with img.open("r+b") as file:
        file.seek(1024)
        file.write(bytes(1024))
    ImgStamp(file=FileStamp.of(img), layout="none", made=now()).write(tmp_path / "img.stamp")
    with pytest.raises(ImageFault, match="there is no ext2"):
        scanned(tmp_path)
    assert not (tmp_path / "scan.json").exists()
