import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from pydantic import ValidationError

from tasks import bundle
from tasks.cloud.unbundle import unbundle
from tasks.kit import files
from tasks.kit.blocks import Buffers
from tasks.kit.fault import ConfigFault, HostFault, ImageFault
from tasks.kit.report import Silent
from tasks.plan import gzipped
from tasks.spec.record import BundleStamp
from tests import bundles

HOUSE = Path(__file__).parents[1]
MiB = 1 << 20
HOLES = ((0, 300_000), (5 * MiB, 2 * MiB))
END = (30 * MiB, 12 * MiB + 777)  # with the others, data enough for two parts


def sh(*argv, stdin=b"", cwd=None):
    return subprocess.run(argv, input=stdin, cwd=cwd, check=True, stdout=subprocess.PIPE).stdout


# What may be ordered


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"account": "12345678901"}, "account"),
        ({"account": "12345678901234"}, "account"),
        ({"account": "1234-5678-9012"}, "account"),
        ({"account": "١٢٣٤٥٦٧٨٩٠١٢"}, "account"),
        ({"architecture": "ppc"}, "architecture"),
        ({"prefix": "../x"}, "prefix"),
        ({"prefix": ""}, "prefix"),
        ({"prefix": "a b"}, "prefix"),
        ({"prefix": "x" * 101}, "prefix"),
        ({"kernel_id": ""}, "kernel_id"),
        ({"ramdisk_id": "ari 1"}, "ramdisk_id"),
        ({"product_codes": ("",)}, "product_codes"),
        ({"block_devices": (("ami", ""),)}, "block_devices"),
        ({"block_devices": (("ami", "sda1"), ("ami", "sdb"))}, "ami is mapped twice"),
        ({"compression": "best"}, "compression"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_order_that_makes_no_bundle_is_refused(wrong, why):
    """Before anything is touched, and naming the key."""
    with pytest.raises(ValidationError, match=why):
        bundles.order(**wrong)


# The format, by tools that share no code with ours


@pytest.fixture(scope="module", params=["fast", "small"])
def whole(request, tmp_path_factory):
    """A bundle of two parts."""
    at = bundles.ready(tmp_path_factory.mktemp("whole"), 42 * MiB + 777, (*HOLES, END))
    bundles.make(
        at,
        compression=request.param,
        kernel_id="aki-1",
        block_devices=(("root", "/dev/sda1"), ("ami", "sda1")),
    )
    return at


@pytest.fixture(scope="module")
def image(whole):
    found = ET.parse(whole.manifest).find("image")  # noqa: S314 - our own words
    assert found is not None
    return found


@pytest.mark.parametrize("reader", ["user", "ec2"])
def test_openssl_gzip_and_tar_restore_the_image(whole, image, reader, tmp_path):
    """For both recipients: keys by pkeyutl, parts by enc, one gzip member, one file in the tar, the same bytes."""
    private = whole.key if reader == "user" else whole.ec2_key
    secret = {}
    for what in ("key", "iv"):
        sealed = bytes.fromhex(image.findtext(f"{reader}_encrypted_{what}"))
        secret[what] = sh("openssl", "pkeyutl", "-decrypt", "-inkey", private, stdin=sealed).decode()
        assert re.fullmatch("[0-9a-f]{32}", secret[what])
    names = [part.findtext("filename") for part in image.iterfind("parts/part")]
    sealed = b"".join((whole.parts / name).read_bytes() for name in names)
    zipped = sh(
        "openssl", "enc", "-d", "-aes-128-cbc", "-K", secret["key"], "-iv", secret["iv"], stdin=sealed
    )
    sh("gzip", "-t", stdin=zipped)
    tar = sh("gzip", "-dc", stdin=zipped)
    assert sh("sha1sum", stdin=tar).split()[0].decode() == image.findtext("digest")
    assert sh("tar", "-t", stdin=tar).decode() == "disk.img\n"
    sh("tar", "-x", "-S", stdin=tar, cwd=tmp_path)
    assert (tmp_path / "disk.img").read_bytes() == whole.image.read_bytes()
    assert (tmp_path / "disk.img").stat().st_blocks == whole.image.stat().st_blocks


def test_the_tar_is_gnu_tars_own(whole, image):
    """`tar -c -h -S --owner 0 --group 0` of the image has the digest that the manifest tells."""
    tar = sh("tar", "-c", "-h", "-S", "--owner", "0", "--group", "0", "-C", whole.root, "disk.img")
    assert hashlib.sha1(tar).hexdigest() == image.findtext("digest")  # noqa: S324 - the format's


def test_the_gzip_is_one_member_as_from_a_pipe(whole, image):
    """FLG 0, MTIME 0, OS 3; nothing behind it."""
    key = bytes.fromhex(image.findtext("user_encrypted_key"))
    iv = bytes.fromhex(image.findtext("user_encrypted_iv"))
    key, iv = (
        sh("openssl", "pkeyutl", "-decrypt", "-inkey", whole.key, stdin=each).decode()
        for each in (key, iv)
    )
    sealed = b"".join(path.read_bytes() for path in sorted(whole.parts.glob("*.part.*")))
    zipped = sh("openssl", "enc", "-d", "-aes-128-cbc", "-K", key, "-iv", iv, stdin=sealed)
    assert zipped[:8] == b"\x1f\x8b\x08\0\0\0\0\0"
    assert zipped[9] == 3
    inflater = zlib.decompressobj(31)
    inflater.decompress(zipped)
    assert (inflater.eof, inflater.unused_data) == (True, b"")


def test_parts_are_what_the_manifest_says(whole, image):
    """10 MiB each but the last, their SHA-1 by sha1sum, their sum, their names; the image's size and name."""
    sizes = [path.stat().st_size for path in sorted(whole.parts.glob("*.part.*"))]
    assert sizes[0] == 10 * MiB
    assert len(sizes) == 2
    assert image.findtext("bundled_size") == str(sum(sizes))
    assert image.findtext("size") == str(whole.image.stat().st_size)
    assert image.findtext("name") == "disk.img"
    for index, part in enumerate(image.iterfind("parts/part")):
        assert part.get("index") == str(index)
        assert part.findtext("filename") == f"disk.img.part.{index}"
        assert sh("sha1sum", whole.parts / f"disk.img.part.{index}").split()[
            0
        ].decode() == part.findtext("digest")


def test_openssl_verifies_the_signature(whole, tmp_path):
    """RSA with SHA-1, over the two elements as they stand in the file, by the certificate's public key."""
    text = whole.manifest.read_text()
    cuts = [re.findall(f"<{tag}>.*</{tag}>", text) for tag in ("machine_configuration", "image")]
    (tmp_path / "signed").write_text("".join(cut for (cut,) in cuts))
    (signature,) = re.findall("<signature>(.*)</signature>", text)
    (tmp_path / "signature").write_bytes(bytes.fromhex(signature))
    (tmp_path / "public").write_bytes(
        sh("openssl", "x509", "-pubkey", "-noout", "-in", whole.certificate)
    )
    check = ("openssl", "dgst", "-sha1", "-verify", "public", "-signature", "signature", "signed")
    assert sh(*check, cwd=tmp_path) == b"Verified OK\n"


def test_the_stamp_tells_what_is_there(whole):
    """Names, sizes and digests of manifest and parts: all an upload needs to know."""
    stamp = BundleStamp.read(whole.bundle)
    assert stamp.sha256 == files.sha256(whole.image)
    for file in (stamp.manifest, *stamp.parts):
        data = (whole.parts / file.name).read_bytes()
        assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert file.sha1 == hashlib.sha1(data).hexdigest()  # noqa: S324 - the format's
    assert {file.name for file in (stamp.manifest, *stamp.parts)} == set(whole.files())


# Sameness


def test_a_bundle_made_again_has_the_same_parts(tmp_path):
    """Another directory, another number of cores: the same bytes, so that an upload sends nothing twice."""
    one, other = bundles.ready(tmp_path / "one"), bundles.ready(tmp_path / "other")
    status = one.image.stat()
    os.utime(other.image, ns=(status.st_atime_ns, status.st_mtime_ns))
    bundles.write_stamp(other)
    cores = os.sched_getaffinity(0)
    bundles.make(one)
    try:
        os.sched_setaffinity(0, {min(cores)})
        bundles.make(other)
    finally:
        os.sched_setaffinity(0, cores)
    assert BundleStamp.read(one.bundle).parts == BundleStamp.read(other.bundle).parts
    assert BundleStamp.read(one.bundle).digest == BundleStamp.read(other.bundle).digest


@pytest.mark.parametrize("change", ["image", "order", "key", "time"])
def test_whatever_differs_has_another_aes_key(tmp_path, change):
    """No two streams share one; of two bundles, not even their first bytes look alike."""
    at = bundles.ready(tmp_path)
    bundles.make(at)
    before = (at.parts / "disk.img.part.0").read_bytes()
    if change == "image":
        bundles.write_image(at.image, 700_000, seed=1)
    elif change == "key":
        for path, pem in zip((at.key, at.certificate), bundles.pair("another"), strict=True):
            path.write_bytes(pem)
    elif change == "time":
        os.utime(at.image, (1, 1))
    bundles.write_stamp(at)
    bundles.make(at, kernel_id="aki-1" if change == "order" else None)
    assert (at.parts / "disk.img.part.0").read_bytes()[:16] != before[:16]


def test_the_digest_tells_bundles_apart_by_all_they_say(tmp_path):
    """Order, image, certificates: each changes it."""
    at = bundles.ready(tmp_path)
    found = []
    for change in ({}, {"product_codes": ("AAA",)}, {"account": "2" * 12}, {"prefix": "other"}):
        bundles.make(at, **change)
        found.append(BundleStamp.read(at.bundle).digest)
    at.ec2_certificate.write_bytes(bundles.pair("another")[1])
    bundles.make(at)
    assert len({*found, BundleStamp.read(at.bundle).digest}) == 5


def test_no_other_program_sees_the_key(tmp_path, monkeypatch):
    """The original tool shows it to everybody who types ps: ours starts no program at all."""

    def refused(*_, **__):
        raise AssertionError("a program was started")

    for owner, name in (
        (subprocess, "Popen"),
        (os, "fork"),
        (os, "posix_spawn"),
        (os, "execve"),
        (os, "system"),
    ):
        monkeypatch.setattr(owner, name, refused)
    at = bundles.ready(tmp_path)
    bundles.make(at)
    assert unbundle(at.manifest, key=at.key, into=tmp_path / "out").read_bytes() == at.image.read_bytes()


# The directory


@pytest.mark.parametrize(("size", "count"), [(15_000, 1), (144_000, 9), (160_000, 10), (1_660_000, 102)])
def test_names_fit_the_count_and_old_parts_go(tmp_path, size, count):
    """A directory holds one bundle: whatever prefix and number an earlier one had, its parts and scratch files are gone."""
    at = bundles.ready(tmp_path, size)
    at.parts.mkdir()
    for stale in (
        "disk.img.part.7777",
        ".disk.img.part.3.scratch",
        "older.part.0",
        "older.manifest.xml",
        ".a.manifest.xml.scratch",
    ):
        (at.parts / stale).write_bytes(b"stale")
    (at.parts / "notes.txt").write_bytes(b"somebody's")
    bundles.make(at, part=16 << 10)
    wide = len(str(count))
    expected = {f"disk.img.part.{index:0{wide}}" for index in range(count)}
    assert set(at.files()) == expected | {"disk.img.manifest.xml", "notes.txt"}


def test_a_prefix_names_the_parts_and_the_image_inside(tmp_path):
    """As -p does."""
    at = bundles.ready(tmp_path)
    bundles.make(at, prefix="nightly")
    assert set(at.files()) == {"disk.img.manifest.xml", "nightly.part.0"}
    assert unbundle(at.manifest, key=at.key, into=tmp_path / "out").name == "nightly"


# What goes wrong


def refused(at, kind, why):
    """The stage fails so, leaves neither bundle nor thread, and the words say where."""
    before = set(threading.enumerate())
    with pytest.raises(kind, match=why) as caught:
        bundles.make(at)
    assert caught.value.hint
    assert not at.bundle.exists()
    assert not at.parts.exists() or not at.files()
    assert set(threading.enumerate()) <= before


def test_an_empty_image_is_refused(tmp_path):
    """There is nothing to start."""
    refused(bundles.ready(tmp_path, 0), ImageFault, "disk.img is empty")


def test_what_ec2_would_not_start_is_refused_before_anything_is_read(tmp_path):
    """An image for arm64 is built and booted, and goes no further."""
    at = bundles.ready(tmp_path)
    at.stamp.unlink()
    with pytest.raises(ConfigFault, match="S3-backed ones start on i386 and x86_64 alone") as caught:
        bundles.make(at, architecture="arm64")
    assert "doit boot:disk" in caught.value.hint


def test_a_cloud_that_does_not_tell_the_owner_makes_no_bundle(tmp_path):
    """Nor is it made for the local cloud's account, or to its certificate; one is told what to write."""
    at = bundles.ready(tmp_path)
    with pytest.raises(
        ConfigFault, match=r"(?s)is S3-backed: its bundle names its owner.*`account:` and `ec2_cert"
    ):
        bundles.make(at, account=None)
    assert not at.parts.exists()


def test_more_than_ten_gib_are_refused_and_ten_are_not(tmp_path, monkeypatch):
    """EC2's limit, to the byte, with the way out."""
    at = bundles.ready(tmp_path, 0)
    # Nobody here wants to know it of ten sparse GiB.
    monkeypatch.setattr(files, "sha256", lambda _: "0" * 64)
    os.truncate(at.image, 10 << 30)
    bundles.write_stamp(at)
    bundles.make(at)
    os.truncate(at.image, (10 << 30) + 1)
    bundles.write_stamp(at)
    with pytest.raises(ImageFault, match="1 B more than EC2 takes") as caught:
        bundles.make(at)
    assert "disk.size" in caught.value.hint


def test_a_changed_image_is_refused(tmp_path):
    """Its stamp knows it no more."""
    at = bundles.ready(tmp_path)
    os.utime(at.image, (1, 1))
    refused(at, ImageFault, "not the file that was stamped")


def test_an_image_changed_while_it_is_read_is_refused(tmp_path, monkeypatch):
    """What was begun of its bundle goes."""
    at, plain = bundles.ready(tmp_path), gzipped.block

    def touching(*given, **more):
        os.utime(at.image, (1, 1))
        return plain(*given, **more)

    monkeypatch.setattr(gzipped, "block", touching)
    refused(at, ImageFault, "not the file that was stamped")


def test_an_image_cut_while_it_is_read_is_refused(tmp_path, monkeypatch):
    """A reader among the threads finds it; the stage says it."""
    at, plain = bundles.ready(tmp_path, 40 * MiB), gzipped.block

    def cutting(*given, **more):
        os.truncate(at.image, 5 * MiB)
        return plain(*given, **more)

    monkeypatch.setattr(gzipped, "block", cutting)
    refused(at, ImageFault, "became shorter while it was read")


@pytest.mark.parametrize("error", [MemoryError("no block"), KeyboardInterrupt(), ValueError("a bug")])
def test_an_error_in_a_thread_stops_all_and_stays_what_it_is(tmp_path, monkeypatch, error):
    """In the middle of a larger image; no thread and no part is left."""
    at, plain = bundles.ready(tmp_path, 40 * MiB), gzipped.block
    blocks, before = iter(range(1000)), set(threading.enumerate())

    def failing(*given, **more):
        if next(blocks) == 11:
            raise error
        return plain(*given, **more)

    monkeypatch.setattr(gzipped, "block", failing)
    with pytest.raises(type(error)) as caught:
        bundles.make(at)
    assert caught.value is error
    assert not at.files()
    assert set(threading.enumerate()) <= before


def test_a_slow_digest_slows_the_others_down(tmp_path, monkeypatch):
    """They wait for their buffers, and there are enough of them."""
    at, plain = bundles.ready(tmp_path, 60 * MiB, [(0, 30 * MiB)]), Buffers.back

    def late(self, data):
        time.sleep(0.004)
        plain(self, data)

    monkeypatch.setattr(Buffers, "back", late)
    bundles.make(at)
    assert unbundle(at.manifest, key=at.key, into=tmp_path / "out").read_bytes() == at.image.read_bytes()


def test_a_foreign_certificate_is_refused(tmp_path):
    """Nobody could open such a bundle."""
    at = bundles.ready(tmp_path)
    at.certificate.write_bytes(bundles.pair("another")[1])
    refused(at, ConfigFault, "is not the certificate of pk.pem")


@pytest.mark.parametrize("which", ["key", "certificate", "ec2_certificate"])
def test_a_key_that_is_none_is_refused(tmp_path, which):
    """With the file that is wrong; an older bundle stays as it was."""
    at = bundles.ready(tmp_path)
    bundles.make(at)
    before = at.files()
    getattr(at, which).write_text("-----BEGIN NONSENSE-----\n")
    with pytest.raises(ConfigFault, match="in PEM") as caught:
        bundles.make(at)
    assert caught.value.where == str(getattr(at, which))
    assert (at.files(), at.bundle.exists()) == (before, True)


CHILD = """
import re, sys
from pathlib import Path
from tasks.kit.fault import HostFault
from tests import bundles
at = bundles.Place(Path(sys.argv[1]))
print("ready", flush=True)
try:
    bundles.make(at)
except HostFault as fault:
    print(fault, sorted(at.files()), at.bundle.exists())
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def child(*before, at):
    argv = (*before, sys.executable, "-c", CHILD, at.root)
    return subprocess.Popen(argv, cwd=HOUSE, stdout=subprocess.PIPE, text=True)


def test_a_full_disk_is_called_one_and_left_clean(tmp_path):
    """On a real one, of 6 MiB, while the bundle wants 8."""
    mounted = (
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        'mount -t tmpfs -o size=6m none "$0" && exec "$@"',
    )
    at = bundles.ready(tmp_path, 8 * MiB)
    at.parts.mkdir()
    if subprocess.run((*mounted, at.parts, "true"), check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    out, _ = child(*mounted, at.parts, at=at).communicate(timeout=30)
    assert "the disk is full" in out
    assert "try:   make room there" in out
    assert "[] False" in out


def test_a_full_disk_is_a_host_fault(tmp_path, monkeypatch):
    """Wherever it is noticed: here when a part is brought to the disk."""

    def full(_):
        raise OSError(28, "No space left on device")

    at = bundles.ready(tmp_path)
    monkeypatch.setattr(files, "settle", full)
    refused(at, HostFault, "the disk is full")


def test_killed_at_any_instant_it_ends_the_same(tmp_path):
    """SIGKILL, again and again: never a stamp without its whole bundle, and the next run leaves what an undisturbed one does."""
    at = bundles.ready(tmp_path, 24 * MiB)
    began = time.monotonic()
    bundles.make(at)
    took, expected = time.monotonic() - began, BundleStamp.read(at.bundle)
    instants = random.Random()
    for _ in range(7):
        at.bundle.unlink(missing_ok=True)
        running = child(at=at)
        assert running.stdout
        assert running.stdout.readline() == "ready\n"
        time.sleep(instants.uniform(0, 1.5 * took))
        running.send_signal(signal.SIGKILL)
        running.communicate()
        if at.bundle.exists():
            stamp = BundleStamp.read(at.bundle)
            assert stamp.parts == expected.parts
            assert {file.name for file in (stamp.manifest, *stamp.parts)} == set(at.files())
    bundles.make(at)
    assert BundleStamp.read(at.bundle).parts == expected.parts
    assert set(at.files()) == {"disk.img.manifest.xml", *(part.name for part in expected.parts)}
    assert unbundle(at.manifest, key=at.key, into=tmp_path / "out").read_bytes() == at.image.read_bytes()


def test_memory_does_not_grow_with_the_image(tmp_path, monkeypatch):
    """1 GiB with 320 MiB of data takes what 16 MiB take, and far less than 150 MB."""
    # Nobody here wants to know it of two sparse GiB.
    monkeypatch.setattr(files, "sha256", lambda _: "0" * 64)
    peaks = []
    for data in (16, 320):
        at = bundles.ready(tmp_path / str(data), 0)
        noise = random.Random(0).randbytes(MiB)
        with at.image.open("wb") as file:
            for index in range(data):
                file.seek(index * 3 * MiB)
                file.write(noise)
            file.truncate(1 << 30)
        bundles.write_stamp(at)
        out, _ = child(at=at).communicate(timeout=60)
        peaks.append(int(out.splitlines()[-1]) * 1024)
        shutil.rmtree(at.root)
    assert peaks[1] < peaks[0] + 20e6
    assert peaks[1] < 150e6


def test_progress_is_told_in_bytes_of_data(tmp_path):
    """Holes do not count: from something to all, never back."""
    told = []

    class Watch(Silent):
        def moved(self, done, total, unit="B"):
            told.append((done, total, unit))

    at = bundles.ready(tmp_path, 30 * MiB, [(0, 5 * MiB)])
    bundle.body(
        bundles.order(),
        report=Watch(),
        image=at.image,
        stamp=at.stamp,
        key=at.key,
        certificate=at.certificate,
        ec2_certificate=at.ec2_certificate,
        manifest=at.manifest,
        bundle=at.bundle,
    )
    assert told == sorted(told)
    assert told[-1] == (5 * MiB, 5 * MiB, "B")
