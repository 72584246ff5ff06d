"""The manifest of an S3-backed image: a value, the XML that EC2 reads, and the bytes of it that are signed.

Written as ec2-ami-tools 1.5.3 writes it, since EC2 validates the order of elements and Amazon's own verifier writes the document anew before it
looks at the signature: one line, single quotes, five characters escaped, no empty elements. Read more widely: any version, any layout, any
order of parts; but nothing that could make the text say one thing and its signed bytes another. Sizes are bytes.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.kit.fault import ImageFault
from tasks.plan.envelope import Sealed

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

VERSION = "2007-10-10"
# Name, version and release of this writer; the signature leaves them out.
BUNDLER = ("doit-ami", "1.0", "1")
PART = 10 * 1024 * 1024  # bytes of every part but the last
LARGEST = 10 * 1024**3  # of an image, for EC2
LONGEST = 4 << 20  # of a manifest: 1025 parts make 150 KiB

ESCAPED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"})
SIGNED = (b"machine_configuration", b"image")
SHA1, AES = "SHA1", "AES-128-CBC"


@dataclass(frozen=True)
class Piece:
    """A part: its file's name and the SHA-1 (hex) of its bytes."""

    name: str
    sha1: str


@dataclass(frozen=True)
class Manifest:
    architecture: str
    name: str  # of the image, and of the file in the archive
    user: str  # 12 digits
    digest: str  # SHA-1 (hex) of the tar stream
    size: int  # of the image
    bundled_size: int  # of all parts
    for_ec2: Sealed
    for_user: Sealed
    parts: tuple[Piece, ...]
    block_devices: tuple[tuple[str, str], ...] = ()  # virtual name, device
    kernel_id: str | None = None
    ramdisk_id: str | None = None
    product_codes: tuple[str, ...] = ()
    ancestors: tuple[str, ...] = ()
    kind: str = "machine"
    signature: str = ""


def part_names(prefix: str, count: int) -> tuple[str, ...]:
    """Numbered with as many digits as the count has, so that their names sort as they follow each other."""
    return tuple(f"{prefix}.part.{index:0{len(str(count))}}" for index in range(count))


def document(manifest: Manifest) -> bytes:
    """The file, in UTF-8."""
    bundler = zip(("name", "version", "release"), BUNDLER, strict=True)
    root = _element(
        "manifest",
        _text("version", VERSION),
        _element("bundler", *(_text(tag, value) for tag, value in bundler)),
        _machine(manifest),
        _image(manifest),
        _text("signature", manifest.signature),
    )
    return f"<?xml version='1.0'?>{root}".encode()


def _machine(manifest: Manifest) -> str:
    mappings = (
        _element("mapping", _text("virtual", virtual), _text("device", device))
        for virtual, device in sorted(manifest.block_devices)
    )
    return _element(
        "machine_configuration",
        _text("architecture", manifest.architecture),
        _unless_empty("block_device_mapping", mappings),
        _text("kernel_id", manifest.kernel_id),
        _text("ramdisk_id", manifest.ramdisk_id),
        _unless_empty("product_codes", (_text("product_code", code) for code in manifest.product_codes)),
    )


def _image(manifest: Manifest) -> str:
    parts = (
        _element(
            "part",
            _text("filename", part.name),
            _text("digest", part.sha1, algorithm=SHA1),
            index=str(index),
        )
        for index, part in enumerate(manifest.parts)
    )
    return _element(
        "image",
        _text("name", manifest.name),
        _text("user", manifest.user),
        _text("type", manifest.kind),
        _unless_empty("ancestry", (_text("ancestor_ami_id", ami) for ami in manifest.ancestors)),
        _text("digest", manifest.digest, algorithm=SHA1),
        _text("size", str(manifest.size)),
        _text("bundled_size", str(manifest.bundled_size)),
        _text("ec2_encrypted_key", manifest.for_ec2.key, algorithm=AES),
        _text("user_encrypted_key", manifest.for_user.key, algorithm=AES),
        _text("ec2_encrypted_iv", manifest.for_ec2.iv),
        _text("user_encrypted_iv", manifest.for_user.iv),
        _element("parts", *parts, count=str(len(manifest.parts))),
    )


def _element(tag: str, *content: str, **attributes: str) -> str:
    said = "".join(f" {name}='{value}'" for name, value in attributes.items())
    return f"<{tag}{said}>{''.join(content)}</{tag}>"


def _text(tag: str, value: str | None, **attributes: str) -> str:
    return "" if value is None else _element(tag, value.translate(ESCAPED), **attributes)


def _unless_empty(tag: str, content: Iterable[str]) -> str:
    inside = "".join(content)
    return _element(tag, inside) if inside else ""


def signed(text: bytes) -> bytes:
    """The bytes a signature covers: two elements, cut from the text as it stands. Raises ImageFault unless each is there once."""
    return b"".join(_cut(text, tag) for tag in SIGNED)


def _cut(text: bytes, tag: bytes) -> bytes:
    first, last = b"<" + tag + b">", b"</" + tag + b">"
    if text.count(first) != 1 or text.count(last) != 1:
        raise broken(f"it must have <{tag.decode()}> exactly once, without attributes")
    return text[text.index(first) : text.index(last) + len(last)]


def parse(text: bytes) -> Manifest:
    """Raises ImageFault for anything that is not one whole, unambiguous manifest."""
    root = _tree(text)
    machine, image = _only(root, "machine_configuration"), _only(root, "image")
    return Manifest(
        architecture=_said(machine, "architecture"),
        name=_bare(_said(image, "name")),
        user=_said(image, "user"),
        digest=_sha1(_only(image, "digest")),
        size=_size(image, "size"),
        bundled_size=_size(image, "bundled_size"),
        for_ec2=_sealed(image, "ec2"),
        for_user=_sealed(image, "user"),
        parts=_parts(_only(image, "parts")),
        block_devices=tuple(
            (_said(each, "virtual"), _said(each, "device"))
            for each in machine.findall("block_device_mapping/mapping")
        ),
        kernel_id=_perhaps(machine, "kernel_id"),
        ramdisk_id=_perhaps(machine, "ramdisk_id"),
        product_codes=_texts(machine, "product_codes/product_code"),
        ancestors=_texts(image, "ancestry/ancestor_ami_id"),
        kind=_perhaps(image, "type") or "machine",
        signature=_said(root, "signature"),
    )


def _tree(text: bytes) -> "ET.Element":
    from xml.etree import ElementTree as ET

    if len(text) > LONGEST:
        raise broken(f"it is longer than {LONGEST >> 20} MiB")
    # No document type, so no entity to expand; nothing that hides text, so no second place for the signature to be found in.
    if b"<!" in text or b"<?" in text[1:].lstrip(b"\xbb\xbf<?"):
        raise broken("it has a document type, a comment, CDATA or an instruction, which no manifest has")
    try:
        root = ET.fromstring(text.decode("utf-8-sig"))  # noqa: S314 - what is dangerous in XML was refused above
    except (UnicodeDecodeError, ValueError, ET.ParseError) as error:
        raise broken(f"it is not XML in UTF-8: {error}") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    if root.tag != "manifest":
        raise broken(f"its outermost element is <{root.tag}>")
    for tag in SIGNED:
        if len(list(root.iter(tag.decode()))) != 1:
            raise broken(f"it must have <{tag.decode()}> exactly once")
    return root


def _only(parent: "ET.Element", tag: str) -> "ET.Element":
    found = parent.findall(tag)
    if len(found) != 1:
        raise broken(f"<{parent.tag}> has {len(found) or 'no'} <{tag}>; it must have one")
    return found[0]


def _said(parent: "ET.Element", tag: str) -> str:
    return (_only(parent, tag).text or "").strip()


def _perhaps(parent: "ET.Element", tag: str) -> str | None:
    return (_said(parent, tag) or None) if parent.findall(tag) else None


def _texts(parent: "ET.Element", path: str) -> tuple[str, ...]:
    return tuple((each.text or "").strip() for each in parent.findall(path))


def _size(parent: "ET.Element", tag: str) -> int:
    digits = _said(parent, tag)
    if not re.fullmatch(r"[0-9]{1,15}", digits) or not int(digits):
        raise broken(f"<{tag}> is {digits!r}, not a number of bytes")
    return int(digits)


def _sha1(element: "ET.Element") -> str:
    digits = (element.text or "").strip().lower()
    if element.get("algorithm", SHA1) != SHA1 or not re.fullmatch(r"[0-9a-f]{40}", digits):
        raise broken(f"<{element.tag}> is {digits!r}, not a SHA-1")
    return digits


def _sealed(image: "ET.Element", reader: str) -> Sealed:
    if (algorithm := _only(image, f"{reader}_encrypted_key").get("algorithm", AES)) != AES:
        raise broken(f"its image is encrypted with {algorithm!r}, not {AES}")
    return Sealed(_said(image, f"{reader}_encrypted_key"), _said(image, f"{reader}_encrypted_iv"))


def _parts(parent: "ET.Element") -> tuple[Piece, ...]:
    found = {each.get("index"): each for each in parent.findall("part")}
    indices = [str(index) for index in range(len(parent.findall("part")))]
    if not indices or parent.get("count") != str(len(indices)) or set(found) != set(indices):
        raise broken(f"its parts are not numbered 0 to {parent.get('count')} less one, each once")
    parts = tuple(
        Piece(_bare(_said(found[index], "filename")), _sha1(_only(found[index], "digest")))
        for index in indices
    )
    if len({part.name for part in parts}) != len(parts):
        raise broken("it names a part twice")
    return parts


def _bare(name: str) -> str:
    """A file's name without a way to anywhere else."""
    if name in ("", ".", "..") or "/" in name or not name.isprintable() or len(name.encode()) > 255:  # noqa: PLR2004 - NAME_MAX
        raise broken(f"{name!r} is not the bare name of a file")
    return name


def broken(what: str) -> ImageFault:
    return ImageFault(f"the manifest is not one that we can trust: {what}")
