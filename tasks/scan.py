"""<image>.img → scan.json: what the finished image should not hold: secrets, identities, ways in that nobody asked for.

In:    <image>.img with its stamp; the image's public SSH key, which alone it may let in
Out:   scan.json: the findings, each a path and a reason; the stage `ami` refuses an image that has any
Needs: nothing; the file system is read as a file, not mounted
"""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

from tasks.kit.ext import Entry, Ext
from tasks.kit.report import Report
from tasks.plan import hybrid
from tasks.spec.model import Image
from tasks.spec.part import Part
from tasks.spec.record import Finding, ImgStamp, ScanReport
from tasks.spec.tool import Tool

RECIPE = 1
AT_ONCE = 64 << 20  # bytes: larger files are read in pieces


class Order(Part):
    """All this stage may know."""

    image: str
    key_path: str  # where the image's own key lets in
    key_inside: bool = (
        True  # or it comes when the instance boots, and in the image it would be a finding
    )
    extra_keys: tuple[str, ...]  # lines that may stand beside it
    allow: tuple[str, ...]  # globs of paths whose findings are passed over
    offset: int = 0  # bytes before the root file system begins

    @classmethod
    def of(cls, image: Image) -> "Order":
        return cls(
            image=image.name,
            key_path=image.ssh.authorized_keys,
            key_inside=image.ssh.key_from == "image",
            extra_keys=image.ssh.extra_keys,
            allow=image.allow_findings,
            offset=hybrid.root_at(image.disk.layout),
        )


def tools(_: Order) -> tuple[Tool, ...]:
    return ()


def body(
    order: Order, *, report: Report, image: Path, stamp: Path, public_key: Path, scan: Path
) -> None:
    stamped = ImgStamp.read(stamp).file
    stamped.check(image)
    own = public_key.read_text().splitlines() if order.key_inside else ()
    lines = (*own, *order.extra_keys)
    files = 0
    findings: list[Finding] = []
    with Ext.open(image, order.offset) as fs:
        expected = {order.key_path: lines}
        if fs.exists(order.key_path):  # perhaps by way of a link
            expected[fs.lookup(order.key_path).path] = lines
        for entry in _told(fs, report):
            files += entry.is_file
            reason = _reason(fs, entry, expected)
            if reason:
                findings.append(Finding(path=printable(entry.path), reason=reason))
    findings = [
        found for found in findings if not any(fnmatchcase(found.path, glob) for glob in order.allow)
    ]
    ScanReport(sha256=stamped.sha256, files=files, findings=tuple(findings)).write(scan)
    report.said(f"{files} files read, {len(findings) or 'no'} findings")


def _told(fs: Ext, report: Report) -> Iterator[Entry]:
    """All that is in the image, with a word on how far we are."""
    report.said("reading the image")
    done, total = 0, fs.block_size * (fs.blocks - fs.free_blocks)
    for entry in fs.walk():
        yield entry
        if entry.is_file:
            done += entry.size
            report.moved(min(done, total), total)


def _reason(fs: Ext, entry: Entry, expected: Mapping[str, tuple[str, ...]]) -> str | None:
    from tasks.plan import secrets  # forty patterns, which a run with nothing to do need not compile

    judge = secrets.by_place(entry.path, expected)
    if entry.is_file:
        return (judge(fs.read(entry)) if judge else None) or _content(fs, entry)
    if judge and entry.is_link and fs.exists(entry.path):  # what is called so may lie elsewhere
        file = fs.lookup(entry.path)
        return judge(fs.read(file)) if file.is_file else None
    return None


def _content(fs: Ext, file: Entry) -> str | None:
    from tasks.plan import secrets  # forty patterns, which a run with nothing to do need not compile

    pieces = _pieces(fs, file)
    first = next(pieces, b"")
    program = first.startswith(secrets.PROGRAM)
    reasons = (secrets.by_content(piece, program=program) for piece in chain((first,), pieces))
    return next(filter(None, reasons), None)


def _pieces(fs: Ext, entry: Entry) -> Iterator[bytes]:
    """What is stored of a file; where that is much, in pieces that overlap, so that nothing is cut in two."""
    from tasks.plan import secrets

    if entry.size <= AT_ONCE:
        yield fs.read(entry)
        return
    tail, end = b"", 0
    for offset, piece in fs.data(entry):
        whole = (tail if offset == end else b"") + piece
        yield whole
        tail, end = whole[-secrets.LONGEST :], offset + len(piece)


def printable(path: str) -> str:
    """Line ends, and bytes that are no UTF-8, as a program would write them."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in path)
