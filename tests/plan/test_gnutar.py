import io
import itertools
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.kit import files
from tasks.kit.fault import ImageFault
from tasks.plan import gnutar
from tests import bundles

PAGE = 4096
GiB = 1 << 30


def every_fifth_page(count):
    return [(index * 5 * PAGE, PAGE) for index in range(count)]


def archive(path: Path) -> bytes:
    """Ours, of a real file."""
    status = path.stat()
    handle = os.open(path, os.O_RDONLY)
    try:
        member = gnutar.member(
            path.name,
            size=status.st_size,
            mode=status.st_mode,
            mtime=status.st_mtime_ns // 10**9,
            data=files.extents(handle, status.st_size),
        )
        data = b"".join(os.pread(handle, length, start) for start, length in member.runs)
    finally:
        os.close(handle)
    return gnutar.header(member) + data + gnutar.trailer(member)


@pytest.mark.parametrize(
    ("size", "runs"),
    [
        (1, None),
        (511, None),
        (512, None),
        (10 * 1024 - 512, None),  # the end mark just does not fit into the first record
        (10 * 1024 - 1024, None),
        (PAGE * 20, []),
        (PAGE * 20, every_fifth_page(3)),
        (PAGE * 20, every_fifth_page(4)),  # four runs and the end: one entry more than the header holds
        (PAGE * 200, every_fifth_page(24)),  # with the end, exactly one extension
        (PAGE * 200, every_fifth_page(25)),
        (PAGE * 500, every_fifth_page(70)),
        (PAGE * 40 + 777, [(PAGE * 39, PAGE + 777)]),  # data up to an odd end
        (PAGE * 40 + 777, [(PAGE * 2, PAGE)]),
        (9 * GiB, [(0, PAGE), (8 * GiB + PAGE, PAGE)]),  # numbers that octal cannot hold
    ],
)
@pytest.mark.parametrize(("mode", "mtime"), [(0o644, 1_795_000_000), (0o4701, 0), (0o600, -1)])
def test_an_archive_is_to_the_byte_what_gnu_tar_writes(tmp_path, size, runs, mode, mtime):
    """Header, extensions, data and padding: for every shape of file, the same as `tar -c -h -S --owner 0 --group 0`."""
    path = tmp_path / "disk.img"
    bundles.write_image(path, size, runs)
    path.chmod(mode)
    os.utime(path, (mtime, mtime))
    command = ("tar", "-c", "-h", "-S", "--owner", "0", "--group", "0", "-C", tmp_path, path.name)
    theirs = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    assert archive(path) == theirs


def test_python_reads_our_archive(tmp_path):
    """A second reader: the name, the size and every byte."""
    path = tmp_path / "disk.img"
    bundles.write_image(path, PAGE * 100, every_fifth_page(15))
    with tarfile.open(fileobj=io.BytesIO(archive(path))) as tar:
        (found,) = tar.getmembers()
        content = tar.extractfile(found)
        assert content is not None
        assert (found.name, content.read()) == (path.name, path.read_bytes())


@st.composite
def members(draw):
    size = draw(st.integers(1, 1 << 44))
    ends = draw(st.lists(st.integers(0, size // gnutar.BLOCK), max_size=120, unique=True).map(sorted))
    data = [
        (start * gnutar.BLOCK, (end - start) * gnutar.BLOCK)
        for start, end in zip(ends[::2], ends[1::2], strict=False)
    ]
    name = draw(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=25))
    mode, mtime = draw(st.integers(0, 0o7777)), draw(st.integers(-(1 << 40), 1 << 40))
    return gnutar.member(name, size=size, mode=mode, mtime=mtime, data=data)


@given(members())
def test_what_a_header_says_is_what_was_meant(member):
    """The reader gets back every name, number and sparse map that the writer can write, and uses up the header."""
    stream = io.BytesIO(gnutar.header(member))
    assert gnutar.parse(stream.read) == member
    assert not stream.read()


@given(members())
def test_an_archive_is_whole_records_and_says_that_it_ends(member):
    """Its length is a multiple of 10240, with at least two blocks of zeros behind the data."""
    length = len(gnutar.header(member)) + member.stored + len(gnutar.trailer(member))
    assert length % gnutar.RECORD == 0
    assert gnutar.END <= len(gnutar.trailer(member)) < gnutar.RECORD + gnutar.END + gnutar.BLOCK


@given(st.integers(0, 1 << 60), st.sampled_from([8, 12]))
def test_a_number_is_read_as_it_was_written(value, width):
    """In octal and, from where that ends, in base 256."""
    if value < 1 << (8 * (width - 1)):
        assert gnutar.figure(gnutar.number(value, width)) == value


@given(
    st.lists(st.tuples(st.integers(0, 100_000), st.integers(1, 5000)), max_size=30),
    st.integers(1, 100_000),
)
def test_odd_runs_become_whole_blocks_that_cover_them(loose, size):
    """Whatever a file system reports: blocks in order, apart from each other, within the file, with all the data in them."""
    at, runs = 0, []
    for gap, length in loose:
        start = at + gap % 3000
        at = min(start + length, size)
        if start < at:
            runs.append((start, at - start))
    found = gnutar.member("a", size=size, mode=0, mtime=0, data=runs).runs
    assert all(
        start % gnutar.BLOCK == 0 and (length % gnutar.BLOCK == 0 or start + length == size)
        for start, length in found
    )
    assert all(sum(one) < other[0] for one, other in itertools.pairwise(found))
    assert all(
        any(first <= start and start + length <= first + long for first, long in found)
        for start, length in runs
    )


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
def test_other_writers_plain_members_are_read(form):
    """euca2ools and go_ami_tools write type '0', one of them as ustar."""
    info = tarfile.TarInfo("disk.img")
    info.size, info.mtime = 12345, 7
    assert gnutar.parse(io.BytesIO(info.tobuf(form)).read) == gnutar.Member("disk.img", 12345, 0o644, 7)


def header_with(extents, *, size=100 * 512, **fields):
    """A header with any map at all, its checksum right."""
    plain = gnutar.header(gnutar.Member("a", size, 0o644, 0, tuple(extents)))
    block = bytearray(plain[: gnutar.BLOCK])
    for at, value in fields.get("at", {}).items():
        block[at : at + len(value)] = value
    block[gnutar.CHECKSUM] = b" " * 8
    block[gnutar.CHECKSUM] = f"{sum(block):06o}\0 ".encode()
    return bytes(block) + plain[gnutar.BLOCK :]


MAP = 386  # where the sparse map stands
BAD = {
    "overlap": (header_with([(0, 1024), (512, 512), (51200, 0)]), "overlaps"),
    "backwards": (header_with([(2048, 512), (0, 512), (51200, 0)]), "backwards"),
    "beyond the end": (header_with([(51200, 512)]), "beyond the end"),
    "a huge offset": (header_with([(1 << 80, 0)]), "beyond the end"),
    "odd offset": (header_with([(100, 512), (51200, 0)]), "whole blocks"),
    "odd length": (header_with([(0, 100), (51200, 0)]), "whole blocks"),
    "size not the map's": (
        header_with([(0, 512), (51200, 0)], at={124: b"00000002000\0"}),
        "contradict",
    ),
    "an entry behind the last": (
        header_with([(0, 512), (51200, 0)], at={MAP + 72: b"00000000000\0" * 2}),
        "behind its end",
    ),
    "an extension behind the last": (
        header_with([(0, 512), (51200, 0)], at={482: b"\1"}),
        "behind its end",
    ),
    "a link": (header_with([(51200, 0)], at={156: b"2"}), "type b'2'"),
    "a long name": (header_with([(51200, 0)], at={156: b"L"}), "type b'L'"),
    "pax": (header_with([(51200, 0)], at={156: b"x"}), "type b'x'"),
    "no magic": (header_with([(51200, 0)], at={257: bytes(8)}), "neither GNU tar nor ustar"),
    "ustar in a directory": (
        header_with([], at={156: b"0", 257: b"ustar\x0000", 345: b"../.."}),
        "directory",
    ),
    "sparse in ustar": (header_with([(51200, 0)], at={257: b"ustar\x0000"}), "type b'S'"),
    "not a number": (header_with([(51200, 0)], at={124: b"12x"}), "not a number"),
    "less than nothing": (header_with([], at={156: b"0", 124: b"\xff" * 12}), "less than no bytes"),
    "a name that is no text": (header_with([(51200, 0)], at={0: b"\xff\xfe"}), "UTF-8"),
    "checksum": (header_with([(51200, 0)])[:100] + b"1" + header_with([(51200, 0)])[101:], "checksum"),
    "zeros": (bytes(512), "checksum"),
}


@pytest.mark.parametrize(("header", "why"), BAD.values(), ids=BAD)
def test_a_header_that_lies_is_refused(header, why):
    """Every way in which a map or a header can contradict itself has its words."""
    with pytest.raises(ImageFault, match=why):
        gnutar.parse(io.BytesIO(header).read)


def test_a_map_without_end_does_not_fill_the_memory(monkeypatch):
    """Extensions are read up to a limit, not as far as they go."""
    monkeypatch.setattr(gnutar, "MOST_ENTRIES", 50)
    endless = gnutar.header(
        gnutar.Member("a", 1 << 30, 0, 0, tuple((at * 512, 0) for at in range(1000)))
    )
    stream = io.BytesIO(endless)
    with pytest.raises(ImageFault, match="more than 50 entries"):
        gnutar.parse(stream.read)
    assert stream.tell() == 4 * gnutar.BLOCK  # 4 entries, then 21 a block


@pytest.mark.parametrize("name", ["", "a/b", "a\0b", "x" * 101, "é" * 51])
def test_a_name_that_the_header_cannot_hold_is_refused(name):
    """100 bytes, no directory."""
    with pytest.raises(ImageFault, match="cannot be the name"):
        gnutar.member(name, size=1, mode=0, mtime=0, data=())
