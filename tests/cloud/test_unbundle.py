import hashlib
import os
import random
import shutil
import subprocess
import sys
import tarfile
import zlib
from dataclasses import replace
from gzip import compress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.cloud.unbundle import unbundle
from tasks.kit import files
from tasks.kit.fault import ConfigFault, Fault, HostFault, ImageFault
from tasks.plan import envelope, gnutar
from tasks.plan.manifest import Piece, document
from tests import bundles

HOUSE = Path(__file__).parents[2]
MiB = 1 << 20
SIZE = 1_000_000
RUNS = [(0, 300_000), (500_000, 200_001), (900_000, 10)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle of a sparse image in several parts."""
    at = bundles.ready(tmp_path_factory.mktemp("made"), SIZE, RUNS)
    bundles.make(at, part=192 << 10)
    assert len(bundles.told(at).parts) == 3
    return at


@pytest.fixture
def at(made, tmp_path):
    """A copy of it, to be damaged."""
    root = tmp_path / "copy"
    shutil.copytree(made.root, root)
    return bundles.Place(root)


def everything(root):
    return {path for path in root.rglob("*") if path.is_file()}


def refused(at, why, **given):
    """It is an ImageFault in whole words, and nothing is written anywhere."""
    before = everything(at.root.parent)
    with pytest.raises(ImageFault, match=why) as caught:
        unbundle(at.manifest, into=at.root / "out", **({"key": at.key} | given))
    assert caught.value.where
    assert caught.value.hint
    assert everything(at.root.parent) == before


# What is restored


@pytest.mark.parametrize("recipient", ["user", "ec2"])
@pytest.mark.parametrize("checked", [True, False])
def test_both_recipients_get_the_image(made, at, recipient, checked):
    """Every byte, and its holes; with the signer's certificate and without."""
    found = unbundle(
        at.manifest,
        key=at.key if recipient == "user" else at.ec2_key,
        into=at.root / "out",
        recipient=recipient,
        certificate=at.certificate if checked else None,
    )
    assert found == at.root / "out/disk.img"
    assert found.read_bytes() == at.image.read_bytes()
    assert found.stat().st_blocks == made.image.stat().st_blocks
    assert [path.name for path in found.parent.iterdir()] == ["disk.img"]


@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_bundled_comes_back(data, tmp_path_factory):
    """Any size, any holes, either compression, any size of parts."""
    size = data.draw(st.integers(1, 400_000))
    ends = sorted(data.draw(st.lists(st.integers(0, size), max_size=12, unique=True)))
    runs = [(start, end - start) for start, end in zip(ends[::2], ends[1::2], strict=False)]
    at = bundles.ready(tmp_path_factory.mktemp("any"), size, data.draw(st.sampled_from([runs, None])))
    bundles.make(
        at,
        part=data.draw(st.integers(5_000, 500_000)),
        compression=data.draw(st.sampled_from(["fast", "small"])),
    )
    assert unbundle(at.manifest, key=at.key, into=at.root / "out").read_bytes() == at.image.read_bytes()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("blocks", [2, 20, 40])
def test_other_bundlers_archives_are_restored(at, form, blocks):
    """A plain member, two zero blocks or more at its end; long zeros in it become a hole."""
    content = b"x" * 5000 + bytes(3 * MiB) + b"y" * 777
    info = tarfile.TarInfo("disk.img")
    info.size = len(content)
    tar = info.tobuf(form) + content + bytes(gnutar.padded(len(content)) + blocks * 512)
    bundles.forge(at, tar, size=len(content))
    found = unbundle(at.manifest, key=at.key, into=at.root / "out")
    assert found.read_bytes() == content
    assert found.stat().st_blocks * 512 < 3 * MiB


def test_gnu_tar_and_openssl_make_a_bundle_that_we_read(at):
    """The other way round: the pipe of the original tool."""
    tar = ("tar", "-c", "-h", "-S", "--owner", "0", "--group", "0", "-C", at.root, "disk.img")
    archive = subprocess.run(tar, check=True, stdout=subprocess.PIPE).stdout
    zipped = subprocess.run(("gzip", "-9"), check=True, input=archive, stdout=subprocess.PIPE).stdout
    bundles.forge(at, archive, size=SIZE, zipped=zipped)
    assert unbundle(at.manifest, key=at.key, into=at.root / "out").read_bytes() == at.image.read_bytes()


def test_an_empty_last_part_is_borne(at):
    """euca2ools writes one when the size is a multiple of a part's."""
    (at.parts / "extra").write_bytes(b"")
    bundles.retell(at, parts=(*bundles.told(at).parts, Piece("extra", hashlib.sha1(b"").hexdigest())))  # noqa: S324 - the format's
    assert unbundle(at.manifest, key=at.key, into=at.root / "out").read_bytes() == at.image.read_bytes()


def test_a_short_iv_is_filled_up_as_openssl_does(at):
    """scalarizr wrote eight bytes."""
    private = envelope.private_key(at.key.read_bytes(), at.key)
    secret = envelope.Secret(b"k" * 16, b"i" * 8 + bytes(8))
    tar = (gnutar.header(file := gnutar.Member("disk.img", 3, 0o644, 0))) + b"abc" + gnutar.trailer(file)
    data = b"".join(bytes(each) for each in envelope.encrypted([compress(tar)], secret))
    bundles.forge(at, tar, size=3)
    (at.parts / "forged.part.0").write_bytes(data)
    part = Piece("forged.part.0", hashlib.sha1(data).hexdigest())  # noqa: S324 - the format's
    short = envelope.seal(replace(secret, iv=b"i" * 8), private.public_key())
    bundles.retell(at, parts=(part,), bundled_size=len(data), for_user=short)
    assert unbundle(at.manifest, key=at.key, into=at.root / "out").read_bytes() == b"abc"


def test_parts_out_of_order_are_taken_by_index(at):
    """The document's order is nobody's promise."""
    text = at.manifest.read_bytes()
    start, end = text.index(b"<part index='0'>"), text.index(b"</parts>")
    parts = text[start:end].split(b"</part>")[:-1]
    turned = b"".join(part + b"</part>" for part in reversed(parts))
    at.manifest.write_bytes(bundles.sign(at, text[:start] + turned + text[end:]))
    assert unbundle(at.manifest, key=at.key, into=at.root / "out").read_bytes() == at.image.read_bytes()


def test_what_lies_there_already_is_replaced_only_by_a_whole_image(at):
    """A link is replaced itself, and leads nowhere."""
    out, elsewhere = at.root / "out", at.root / "elsewhere"
    out.mkdir()
    elsewhere.write_text("mine")
    (out / "disk.img").symlink_to(elsewhere)
    bundles.retell(at, digest="f" * 40)
    refused(at, "its digest differs")
    assert (out / "disk.img").is_symlink()
    shutil.copy(at.root / "disk.img", out / "copy")
    bundles.make(at)
    unbundle(at.manifest, key=at.key, into=out)
    assert elsewhere.read_text() == "mine"
    assert not (out / "disk.img").is_symlink()


# What is refused: the table of what peers let pass, and more


def part(at, index=1):
    return at.parts / bundles.told(at).parts[index].name


def spoil(path, where, what=b"\0\1\2\3"):
    data = bytearray(path.read_bytes())
    data[where : where + len(what)] = what
    path.write_bytes(data)


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("where", [0, 5000])
def test_changed_bytes_in_a_part(at, index, where):
    """The part is named, with both digests."""
    spoil(part(at, index), where)
    refused(at, f"{part(at, index).name} is damaged")


def test_a_part_that_was_cut(at):
    """By one AES block, at its end."""
    last = part(at, 2)
    os.truncate(last, last.stat().st_size - 16)
    refused(at, "bytes together")


def test_a_part_cut_with_the_manifest_following(at):
    """Sizes and digests made to fit: the cipher's padding and the digest still tell."""
    last = part(at, 2)
    data = last.read_bytes()[:-16]
    last.write_bytes(data)
    told = bundles.told(at)
    piece = Piece(last.name, hashlib.sha1(data).hexdigest())  # noqa: S324 - the format's
    bundles.retell(at, parts=(*told.parts[:2], piece), bundled_size=told.bundled_size - 16)
    refused(at, "cut short|ends too early|damaged")


def test_a_part_that_is_missing(at):
    """Or that is something else than a file."""
    name = part(at).name
    (at.parts / name).unlink()
    refused(at, f"{name}, a part of the bundle, is missing")
    (at.parts / name).mkdir()
    refused(at, f"{name}, a part of the bundle, is missing")


def test_parts_that_changed_places(at):
    """Equal sizes, true bytes, wrong order."""
    one, other = part(at, 0), part(at, 1)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    refused(at, "is damaged, or is not the part")


@pytest.mark.parametrize("digest", ["f" * 40, "0" * 40])
def test_a_wrong_part_digest(at, digest):
    """In a manifest that is otherwise in order, its signature too."""
    told = bundles.told(at)
    bundles.retell(at, parts=(told.parts[0], replace(told.parts[1], sha1=digest), told.parts[2]))
    refused(at, "is damaged, or is not the part")


@pytest.mark.parametrize("digest", ["f" * 40, "0" * 40])
def test_a_wrong_image_digest(at, digest):
    """All zeros are no way round it."""
    bundles.retell(at, digest=digest)
    refused(at, "its digest differs")


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1, 1])
def test_a_wrong_size(at, size):
    """The archive knows better."""
    bundles.retell(at, size=size)
    refused(at, f"has {SIZE} bytes, the manifest says {size}")


def test_a_size_beyond_the_limit(at):
    """Nobody makes room for it."""
    bundles.retell(at, size=(10 << 30) + 1)
    refused(at, "10.0 GiB is the limit")


@pytest.mark.parametrize("step", [-16, 16])
def test_a_wrong_bundled_size(at, step):
    """It is the parts' sum."""
    bundles.retell(at, bundled_size=bundles.told(at).bundled_size + step)
    refused(at, "<bundled_size>")


@pytest.mark.parametrize("signature", ["00" * 256, "", "zz", "UNSIGNED"])
def test_a_wrong_signature(at, signature):
    """Checked with the certificate, and with the user's own key when there is none."""
    text = document(replace(bundles.told(at), signature=signature))
    at.manifest.write_bytes(text)
    refused(at, "signature is wrong", certificate=at.certificate)
    refused(at, "signature is wrong")
    refused(at, "signature is wrong", key=at.ec2_key, recipient="ec2", certificate=at.certificate)


def test_a_missing_signature(at):
    """Even where there is no certificate to check it with."""
    text = at.manifest.read_bytes()
    at.manifest.write_bytes(text[: text.index(b"<signature>")] + b"<signature></signature></manifest>")
    refused(at, "is not signed", key=at.ec2_key, recipient="ec2")
    at.manifest.write_bytes(text[: text.index(b"<signature>")] + b"</manifest>")
    refused(at, "no <signature>", key=at.ec2_key, recipient="ec2")


def test_somebody_elses_signature(at):
    """A bundle of another maker, whole in itself."""
    at.certificate.write_bytes(bundles.pair("another")[1])
    refused(at, "somebody else made it", certificate=at.certificate)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"<user>123456789012", b"<user>210987654321"),
        (b"x86_64", b"i386"),
        (b"<type>machine", b"<type>kernel"),
        (b"index='0'", b'index="0"'),
    ],
)
def test_a_manifest_changed_after_it_was_signed(at, old, new):
    """Whatever the signature covers, to the byte."""
    text = at.manifest.read_bytes()
    assert old in text
    at.manifest.write_bytes(text.replace(old, new))
    refused(at, "signature is wrong")


def test_the_wrong_recipient(at):
    """EC2's key for the user's fields, the reverse, and a stranger's for both."""
    refused(at, "does not open", key=at.ec2_key, certificate=at.certificate)
    refused(at, "does not open", key=at.key, recipient="ec2", certificate=at.certificate)
    stranger = at.root / "stranger.pem"
    stranger.write_bytes(bundles.pair("stranger")[0])
    for recipient in ("user", "ec2"):
        refused(at, "does not open", key=stranger, recipient=recipient, certificate=at.certificate)


@pytest.mark.parametrize("key", ["", "zz", "00", "ab" * 256])
def test_aes_keys_that_are_none(at, key):
    """Empty as euca2ools leaves them, no hex, or not decryptable."""
    bundles.retell(at, for_user=envelope.Sealed(key, bundles.told(at).for_user.iv))
    refused(at, "does not open")


@pytest.mark.parametrize("count", [b"count='2'", b"count='4'", b"count='three'"])
def test_a_wrong_count(at, count):
    """Signed or not."""
    at.manifest.write_bytes(bundles.sign(at, at.manifest.read_bytes().replace(b"count='3'", count)))
    refused(at, "not numbered")


@pytest.mark.parametrize("index", [b"index='0'", b"index='3'", b"index='-1'", b""])
def test_a_missing_or_double_index(at, index):
    """0 to the count, each once."""
    at.manifest.write_bytes(bundles.sign(at, at.manifest.read_bytes().replace(b"index='1'", index)))
    refused(at, "not numbered")


def test_a_name_that_is_not_the_members(at):
    """Peers differ in which they write; ours is neither."""
    bundles.retell(at, name="other.img")
    refused(at, "named 'disk.img', the manifest says 'other.img'")


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "..", "a/b", ""])
def test_a_name_that_leads_out(at, name):
    """Of the image or of a part; nothing is written or read there."""
    bundles.retell(at, name=name)
    refused(at, "not the bare name")
    bundles.make(at)
    bundles.retell(at, parts=(Piece(name, "0" * 40),))
    refused(at, "not the bare name")


def test_a_member_that_leads_out(at):
    """The manifest is honest, the archive is not."""
    info = tarfile.TarInfo("../escaped")
    info.size = 3
    bundles.forge(at, info.tobuf(tarfile.GNU_FORMAT) + b"abc" + bytes(509 + 1024), size=3)
    refused(at, "named '../escaped'")


@pytest.mark.parametrize("which", ["manifest", "part"])
def test_a_name_of_the_bundles_own(at, which):
    """Restored beside its parts, it would overwrite what it is made of."""
    name = at.manifest.name if which == "manifest" else part(at).name
    bundles.retell(at, name=name)
    refused(at, "would overwrite")


def test_a_name_that_is_too_long(at):
    """Longer than an archive can say."""
    bundles.retell(at, name="x" * 101)
    refused(at, "too long")


def member(name="disk.img", content=b"abc"):
    file = gnutar.Member(name, len(content), 0o644, 0)
    return gnutar.header(file) + content + bytes(gnutar.padded(len(content)))


def sparse(*extents, size=51200):
    file = gnutar.Member("disk.img", size, 0o644, 0, extents)
    return gnutar.header(file) + b"x" * file.stored + gnutar.trailer(file)


END = bytes(1024)
ARCHIVES = {
    "no end": (member(), "its end is missing"),
    "half an end": (member() + bytes(512), "its end is missing"),
    "nothing": (b"", "ends too early"),
    "no data": (member()[:512], "ends too early"),
    "two members": (member() + member("b") + END, "more in it than one file"),
    "two members, one name": (member() + member() + END, "more in it than one file"),
    "behind the end": (member() + END + b"more" + bytes(508), "more in it than one file"),
    "in the padding": (member()[:-4] + b"more" + END, "more in it than one file"),
    "zeros without end": (member() + bytes(8 * MiB), "goes on behind its end"),
    "an empty file": (tarfile.TarInfo("disk.img").tobuf(tarfile.GNU_FORMAT) + END, "has 0 bytes"),
    "overlapping map": (sparse((0, 1024), (512, 512), (51200, 0)), "overlaps"),
    "map running backwards": (sparse((2048, 512), (0, 512), (51200, 0)), "backwards"),
    "map beyond the end": (sparse((51200, 1024)), "beyond the end"),
}


@pytest.mark.parametrize(("tar", "why"), ARCHIVES.values(), ids=ARCHIVES)
def test_an_archive_that_is_not_one_file(at, tar, why):
    """With everything around it in order: digests, sizes and signature true."""
    bundles.forge(at, tar, size=51200 if b"S\0\0\0" in tar[156:160] else 3)
    refused(at, why)


def test_special_files_are_no_images(at):
    """Links, devices, directories: refused by type."""
    for kind in (
        tarfile.LNKTYPE,
        tarfile.SYMTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.DIRTYPE,
        tarfile.FIFOTYPE,
    ):
        info = tarfile.TarInfo("disk.img")
        info.type, info.linkname = kind, "/etc/passwd"
        bundles.forge(at, info.tobuf(tarfile.GNU_FORMAT) + END, size=3)
        refused(at, "its first member is of type")


GOOD = member() + bytes(10240 - 1024)
ZIPS = {
    "garbage": (b"garbage" * 100, "damaged"),
    "nothing": (b"", "ends too early"),
    "cut": (compress(GOOD)[:-9], "ends too early"),
    "without its trailer": (compress(GOOD)[:-8], "ends too early"),
    "wrong checksum": (compress(GOOD)[:-8] + b"\0\1\2\3" + compress(GOOD)[-4:], "damaged"),
    "wrong length": (compress(GOOD)[:-4] + b"\0\1\2\3", "damaged"),
    "trailing data": (compress(GOOD) + b"more", "more in the bundle behind the end"),
    "much trailing data": (compress(GOOD) + bytes(4 * MiB), "more in the bundle behind the end"),
    "two gzip members": (compress(GOOD) + compress(b""), "more in the bundle behind the end"),
    "zlib": (zlib.compress(GOOD), "damaged"),
}


@pytest.mark.parametrize(("zipped", "why"), ZIPS.values(), ids=ZIPS)
def test_a_stream_that_is_not_one_gzip_member(at, zipped, why):
    """With everything around it in order."""
    bundles.forge(at, GOOD, size=3, zipped=zipped)
    refused(at, why)


@pytest.mark.parametrize("count", range(1, 18))
def test_a_few_bytes_behind_the_end(at, count):
    """However they fall into the cipher's last block."""
    bundles.forge(at, GOOD, size=3, zipped=compress(GOOD) + b"x" * count)
    refused(at, "more in the bundle behind the end")


def test_the_good_archive_of_these_tables_is_restored(at):
    """What they spoil is good as long as it is whole."""
    bundles.forge(at, GOOD, size=3)
    assert unbundle(at.manifest, key=at.key, into=at.root / "out").read_bytes() == b"abc"


def test_a_bomb_does_not_go_off(at):
    """256 MiB of zeros behind three bytes: it stops at the first that are too many, and writes none."""
    packer = zlib.compressobj(9, wbits=31)
    zipped = (
        packer.compress(member())
        + b"".join(packer.compress(bytes(MiB)) for _ in range(256))
        + packer.flush()
    )
    bundles.forge(at, member(), size=3, zipped=zipped)
    refused(at, "goes on behind its end")


@pytest.mark.parametrize(
    "text",
    [b"", b"garbage", b"<?xml version='1.0'?><manifest>", b"<!DOCTYPE x [<!ENTITY a 'b'>]><manifest/>"],
)
def test_garbage_for_a_manifest(at, text):
    """Refused as such."""
    at.manifest.write_bytes(text)
    refused(at, "the manifest is not one that we can trust")


@pytest.mark.parametrize("which", ["manifest", "key", "certificate"])
def test_a_file_that_is_not_there(at, which):
    """Is named."""
    missing = getattr(at, which)
    missing.unlink()
    with pytest.raises(ConfigFault, match=f"{missing.name} is missing"):
        unbundle(at.manifest, key=at.key, into=at.root / "out", certificate=at.certificate)


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_changed_byte_passes(data, made, tmp_path_factory):
    """Anywhere in what is signed or encrypted: a fault, or at worst the same image, never another."""
    at = bundles.Place(tmp_path_factory.mktemp("flip") / "copy")
    shutil.copytree(made.root, at.root)
    path = data.draw(st.sampled_from(sorted(at.parts.iterdir())))
    where, bit = data.draw(st.integers(0, path.stat().st_size - 1)), data.draw(st.integers(0, 7))
    spoil(path, where, bytes([path.read_bytes()[where] ^ (1 << bit)]))
    try:
        found = unbundle(at.manifest, key=at.key, into=at.root / "out", certificate=at.certificate)
    except Fault:
        assert not list(at.root.glob("out/*"))
    else:
        assert path == at.manifest  # a letter of what is not signed: version, bundler
        assert found.read_bytes() == at.image.read_bytes()
    shutil.rmtree(at.root)


def test_a_full_disk(at, monkeypatch):
    """Is called one, and leaves nothing."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(HostFault, match="the disk is full"):
        unbundle(at.manifest, key=at.key, into=at.root / "out")
    assert not list((at.root / "out").iterdir())


def test_an_unforeseen_error_leaves_nothing_either(at, monkeypatch):
    """It keeps its traceback, being ours."""
    monkeypatch.setattr(gnutar, "parse", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        unbundle(at.manifest, key=at.key, into=at.root / "out")
    assert not list((at.root / "out").iterdir())


CHILD = """
import re, sys
from pathlib import Path
from tasks.cloud.unbundle import unbundle
from tests import bundles
at = bundles.Place(Path(sys.argv[1]))
unbundle(at.manifest, key=at.key, into=at.root / "out")
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def test_memory_stays_constant(tmp_path, monkeypatch):
    """300 MiB, zeros and noise, in less than 100 MB."""
    monkeypatch.setattr(files, "sha256", lambda _: "0" * 64)
    at = bundles.ready(tmp_path, 0)
    noise = random.Random(0).randbytes(MiB)
    with at.image.open("wb") as file:
        for index in range(300):
            file.write(noise if index % 3 else bytes(MiB))
    bundles.write_stamp(at)
    bundles.make(at)
    argv = (sys.executable, "-c", CHILD, at.root)
    out = subprocess.run(argv, cwd=HOUSE, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert int(out) * 1024 < 100e6
    shutil.rmtree(tmp_path)
