import re
import string
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.kit.fault import ImageFault
from tasks.plan.envelope import Sealed
from tasks.plan.manifest import Manifest, Piece, document, parse, part_names, signed

DIGEST = "0123456789abcdef0123456789abcdef01234567"
PLAIN = Manifest(
    architecture="i386",
    name="disk.img",
    user="123456789012",
    digest=DIGEST,
    size=2097152000,
    bundled_size=10485776,
    for_ec2=Sealed("aa", "bb"),
    for_user=Sealed("cc", "dd"),
    parts=(Piece("disk.img.part.0", DIGEST), Piece("disk.img.part.1", DIGEST[::-1])),
    signature="ee",
)
FULL = replace(
    PLAIN,
    block_devices=(
        ("root", "/dev/sda1"),
        ("ephemeral2", "sdc"),
        ("ephemeral10", "sdk"),
        ("ami", "sda1"),
    ),
    kernel_id="aki-12345678",
    ramdisk_id="ari-12345678",
    product_codes=("AAA", "BBB"),
    ancestors=("ami-00000001", "ami-00000002"),
)


def test_a_manifest_is_to_the_byte_what_amazons_tool_writes():
    """One line, single quotes, this order of elements, no newline at its end; absent options leave no trace."""
    assert document(PLAIN).decode() == (
        "<?xml version='1.0'?><manifest><version>2007-10-10</version>"
        "<bundler><name>doit-ami</name><version>1.0</version><release>1</release></bundler>"
        "<machine_configuration><architecture>i386</architecture></machine_configuration>"
        "<image><name>disk.img</name><user>123456789012</user><type>machine</type>"
        f"<digest algorithm='SHA1'>{DIGEST}</digest><size>2097152000</size><bundled_size>10485776</bundled_size>"
        "<ec2_encrypted_key algorithm='AES-128-CBC'>aa</ec2_encrypted_key>"
        "<user_encrypted_key algorithm='AES-128-CBC'>cc</user_encrypted_key>"
        "<ec2_encrypted_iv>bb</ec2_encrypted_iv><user_encrypted_iv>dd</user_encrypted_iv>"
        "<parts count='2'>"
        f"<part index='0'><filename>disk.img.part.0</filename><digest algorithm='SHA1'>{DIGEST}</digest></part>"
        f"<part index='1'><filename>disk.img.part.1</filename><digest algorithm='SHA1'>{DIGEST[::-1]}</digest></part>"
        "</parts></image><signature>ee</signature></manifest>"
    )


def test_every_option_has_its_place():
    """EC2 validates the order: mappings sorted as strings, virtual before device, then kernel, ramdisk, product codes."""
    text = document(FULL).decode()
    assert (
        "<architecture>i386</architecture><block_device_mapping>"
        "<mapping><virtual>ami</virtual><device>sda1</device></mapping>"
        "<mapping><virtual>ephemeral10</virtual><device>sdk</device></mapping>"
        "<mapping><virtual>ephemeral2</virtual><device>sdc</device></mapping>"
        "<mapping><virtual>root</virtual><device>/dev/sda1</device></mapping></block_device_mapping>"
        "<kernel_id>aki-12345678</kernel_id><ramdisk_id>ari-12345678</ramdisk_id>"
        "<product_codes><product_code>AAA</product_code><product_code>BBB</product_code></product_codes>"
        "</machine_configuration>"
    ) in text
    assert (
        "<type>machine</type><ancestry><ancestor_ami_id>ami-00000001</ancestor_ami_id>"
        "<ancestor_ami_id>ami-00000002</ancestor_ami_id></ancestry><digest "
    ) in text


def test_five_characters_are_escaped_as_rexml_does_it():
    """And others than ASCII stand there themselves."""
    text = document(replace(PLAIN, name="&<>\"'é")).decode()
    assert "<name>&amp;&lt;&gt;&quot;&apos;é</name>" in text


@pytest.mark.parametrize(
    ("count", "first", "last"),
    [
        (1, "a.part.0", "a.part.0"),
        (9, "a.part.0", "a.part.8"),
        (10, "a.part.00", "a.part.09"),
        (100, "a.part.000", "a.part.099"),
    ],
)
def test_part_names_have_the_digits_of_the_count(count, first, last):
    """So that tools which sort by name upload them in order."""
    names = part_names("a", count)
    assert (names[0], names[-1], len(set(names))) == (first, last, count)
    assert list(names) == sorted(names)


text = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20)
names = text.filter(lambda name: "/" not in name and name not in (".", ".."))
hexes = st.text("0123456789abcdef", min_size=40, max_size=40)
manifests = st.builds(
    Manifest,
    architecture=text,
    name=names,
    user=text,
    digest=hexes,
    size=st.integers(1, 1 << 40),
    bundled_size=st.integers(1, 1 << 40),
    for_ec2=st.builds(Sealed, text, text),
    for_user=st.builds(Sealed, text, text),
    parts=st.lists(
        st.builds(Piece, names, hexes), min_size=1, max_size=15, unique_by=lambda part: part.name
    ).map(tuple),
    block_devices=st.dictionaries(text, text, max_size=4).map(
        lambda found: tuple(sorted(found.items()))
    ),
    kernel_id=st.none() | text,
    ramdisk_id=st.none() | text,
    product_codes=st.lists(text, max_size=3).map(tuple),
    ancestors=st.lists(text, max_size=3).map(tuple),
    kind=text,
    signature=text,
)


@given(manifests)
def test_what_is_read_is_what_was_written(manifest):
    """Whatever the values: back to the same, and another parser agrees that it is XML."""
    assert parse(document(manifest)) == manifest
    assert ET.fromstring(document(manifest)).findtext("image/name") == manifest.name  # noqa: S314 - our own words


def pretty(manifest):
    """As euca2ools writes it: double quotes, indented, an encoding, another order of options."""
    root = ET.fromstring(document(manifest))  # noqa: S314 - our own words
    machine = root.find("machine_configuration")
    assert machine is not None
    machine[:] = [machine[0], *reversed(machine[1:])]
    ET.indent(root)
    return ET.tostring(root, encoding="UTF-8", xml_declaration=True)


@pytest.mark.parametrize(
    "other",
    [
        pretty(FULL),
        document(FULL).replace(b"<manifest>", b"<manifest xmlns='http://example.org/'>"),
        document(FULL).replace(b"2007-10-10", b"2099-01-01"),
        b"\xef\xbb\xbf" + document(FULL),
        re.sub(rb"(<part index='0'>.*?</part>)(<part index='1'>.*?</part>)", rb"\2\1", document(FULL)),
    ],
    ids=["pretty", "namespace", "version", "byte order mark", "parts out of order"],
)
def test_other_writers_manifests_are_read(other):
    """The layout is theirs; what it says is the same."""
    assert parse(other) == replace(FULL, block_devices=tuple(sorted(FULL.block_devices)))


def test_the_signed_bytes_are_the_two_elements_as_they_stand():
    """No canonical form: cut from the text, end to end."""
    written = document(FULL).decode()
    machine = written[written.index("<machine_c") : written.index("<image>")]
    image = written[written.index("<image>") : written.index("<signature>")]
    assert signed(written.encode()).decode() == machine + image


@pytest.mark.parametrize("tag", ["<image id='1'>", "<image >", "<e:image>"])
def test_elements_that_cannot_be_cut_cannot_be_signed(tag):
    """The format cuts from a bare start tag; with anything in it there is none."""
    with pytest.raises(ImageFault, match="<image> exactly once, without attributes"):
        signed(document(PLAIN).replace(b"<image>", tag.encode()))


def changed(old, new):
    plain = document(PLAIN)
    assert old in plain
    return plain.replace(old, new)


IMAGE = document(PLAIN)[document(PLAIN).index(b"<image>") : document(PLAIN).index(b"<signature>")]
BAD = {
    "nothing": (b"", "not XML"),
    "garbage": (b"\x00\xff" * 40, "not XML"),
    "cut": (document(PLAIN)[:-20], "not XML"),
    "utf-16": (document(PLAIN).decode().encode("utf-16"), "not XML"),
    "another document": (b"<html/>", "<html>"),
    "too long": (document(PLAIN) + b" " * (5 << 20), "longer than"),
    "document type": (
        changed(b"<manifest>", b"<!DOCTYPE m [<!ENTITY a 'b'>]><manifest>"),
        "document type",
    ),
    "external entity": (
        changed(b"<manifest>", b"<!DOCTYPE m [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><manifest>"),
        "document type",
    ),
    "signed text in a comment": (changed(b"<image>", b"<!--" + IMAGE + b"--><image >"), "a comment"),
    "signed text in CDATA": (changed(b"<image>", b"<x><![CDATA[" + IMAGE + b"]]></x><image >"), "CDATA"),
    "signed text in an instruction": (
        changed(b"<image>", b"<?x " + IMAGE + b"?><image >"),
        "an instruction",
    ),
    "signed text elsewhere": (changed(b"<image>", b"<x>" + IMAGE + b"</x><image >"), "exactly once"),
    "two images": (changed(b"<signature>", IMAGE + b"<signature>"), "exactly once"),
    "no image": (changed(IMAGE, b""), "exactly once"),
    "no machine": (changed(b"machine_configuration>", b"machine>"), "exactly once"),
    "no signature": (changed(b"<signature>ee</signature>", b""), "no <signature>"),
    "two sizes": (changed(b"<size>", b"<size>1</size><size>"), "2 <size>"),
    "no size": (changed(b"<size>2097152000</size>", b""), "no <size>"),
    "size zero": (changed(b"2097152000", b"0"), "not a number"),
    "size below zero": (changed(b"2097152000", b"-1"), "not a number"),
    "size in other digits": (changed(b"2097152000", "٣".encode()), "not a number"),
    "endless size": (changed(b"2097152000", b"9" * 5000), "not a number"),
    "bundled size": (changed(b"10485776", b"1e9"), "not a number"),
    "digest": (changed(DIGEST.encode(), b"0123"), "not a SHA-1"),
    "another digest": (changed(b"'SHA1'", b"'MD5'"), "not a SHA-1"),
    "another cipher": (changed(b"'AES-128-CBC'", b"'DES'"), "'DES'"),
    "count too small": (changed(b"count='2'", b"count='1'"), "not numbered"),
    "count too large": (changed(b"count='2'", b"count='3'"), "not numbered"),
    "no count": (changed(b" count='2'", b""), "not numbered"),
    "index twice": (changed(b"index='1'", b"index='0'"), "not numbered"),
    "index missing": (changed(b"index='1'", b"index='2'"), "not numbered"),
    "no index": (changed(b" index='1'", b""), "not numbered"),
    "no parts": (
        re.sub(rb"<parts.*</parts>", b"<parts count='0'></parts>", document(PLAIN)),
        "not numbered",
    ),
    "a part twice": (changed(b"disk.img.part.1", b"disk.img.part.0"), "a part twice"),
}
PATHS = ("", ".", "..", "../x", "/etc/passwd", "a/b", "a\nb", "a\x7fb", "x" * 256, "é" * 128)


@pytest.mark.parametrize(("text", "why"), BAD.values(), ids=BAD)
def test_what_is_no_manifest_is_refused(text, why):
    """Garbage, contradictions, and text that would be one thing to the signature and another to the reader."""
    with pytest.raises(ImageFault, match=why):
        parse(text)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("where", ["image", "part"])
def test_a_name_that_leads_elsewhere_is_refused(name, where):
    """Of the image and of every part: a bare file name, printable, or none."""
    bad = replace(PLAIN, name=name) if where == "image" else replace(PLAIN, parts=(Piece(name, DIGEST),))
    with pytest.raises(ImageFault, match="not the bare name of a file"):
        parse(document(bad))


@given(st.binary(max_size=200) | st.text(string.printable, max_size=200).map(str.encode))
def test_no_bytes_make_the_reader_stumble(data):
    """It refuses them in words."""
    with pytest.raises(ImageFault, match="the manifest is not one that we can trust"):
        parse(data)
