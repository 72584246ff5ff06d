"""RPMs as they were made in 2005: V3 DSA signatures, MD5 and SHA-1, and no digest that came later. Today's programs make none.

Layouts: RFC 4880 (OpenPGP packets), and rpm's own manual on the format of its files (lead, signature, header, payload).
"""

import base64
import hashlib
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import dsa, utils
from cryptography.hazmat.primitives.hashes import SHA1

from tests import rpms
from tests.rpms import Key
from tests.trees import EPOCH

LEAD = 96
MAGIC = bytes.fromhex("8eade80100000000")
INT32, STRING, BINARY = 4, 6, 7
WIDTHS = {0: 0, 1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}  # of the kinds whose values have one
SIGNATURES, IMMUTABLE = 62, 63  # the regions of the two headers
SIZE, MD5, GPG, DSA, SHA1_OF_HEADER = 1000, 1004, 1005, 267, 269
LATER = range(5092, 5098)  # digests of the payload
SECRET_KEY, DSA_ALGORITHM, SHA1_ALGORITHM = 5, 17, 2


@dataclass(frozen=True)
class Entry:
    tag: int
    kind: int
    count: int
    data: bytes


def key_of_2005(folder: Path) -> Key:
    """DSA to sign with, and an ElGamal subkey whose binding does not hold: for one like it rpm refuses the whole key."""
    home = folder / "gpg-2005"
    home.mkdir(mode=0o700, parents=True)
    name = "2005 <tests@example.invalid>"
    gpg = ("gpg", "--batch", "--quiet", "--no-auto-check-trustdb", "--passphrase", "")
    try:
        rpms.run(*gpg, "--quick-generate-key", name, "dsa1024", "sign", "never", home=home)
        listed = rpms.run(*gpg, "--list-keys", "--with-colons", home=home)
        print_ = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
        rpms.run(*gpg, "--quick-add-key", print_, "elg1024", "encr", "never", home=home)
        rpms.run(*gpg, "--output", folder / "2005.gpg", "--export", name, home=home)
        rpms.run(*gpg, "--output", folder / "2005.secret", "--export-secret-keys", name, home=home)
    finally:
        rpms._end_agent(home)
    spoilt = bytearray((folder / "2005.gpg").read_bytes())
    spoilt[-3] ^= 1  # the last number of the last signature
    public = folder / "RPM-GPG-KEY-2005"
    public.write_text(_armoured(bytes(spoilt)))
    return Key(home, name, public)


def _armoured(data: bytes) -> str:
    check = 0xB704CE  # RFC 4880, 6.1
    for each in data:
        check ^= each << 16
        for _ in range(8):
            check = check << 1 ^ (0x1864CFB if check & 0x800000 else 0)
    lines = [base64.b64encode(data[at : at + 48]).decode() for at in range(0, len(data), 48)]
    total = base64.b64encode(check.to_bytes(3, "big")).decode()
    begin, end = (f"-----{each} PGP PUBLIC KEY BLOCK-----" for each in ("BEGIN", "END"))
    return "\n".join([begin, "", *lines, f"={total}", end, ""])


def tiny(folder: Path, name: str, path: str, secret: Path) -> Path:
    """An RPM of one file, for i386, signed by the key in a file that `key_of_2005` left."""
    head = f"Name: {name}\nVersion: 1\nRelease: 1\nSummary: old\nLicense: none\nAutoReqProv: no\n"
    old = "%define _binary_payload w9.gzdio\n%define _binary_filedigest_algorithm 1\n"
    with tempfile.TemporaryDirectory(prefix="old-") as tree:
        place = Path(tree) / path.lstrip("/")
        place.parent.mkdir(parents=True)
        place.write_text("from 2005\n")
        spec = f"{rpms.PREAMBLE}{old}{head}%description\nOld.\n%files\n{path}\n"
        (built,) = rpms.build(spec, Path(tree), folder, arch="i386")
    age(built, secret)
    return built


def age(path: Path, secret: Path) -> None:
    """Make an RPM of today one of 2005: its signature and its digests."""
    data = path.read_bytes()
    _, after = _read(data, LEAD)
    start = after + -after % 8  # a header begins at a multiple of 8
    entries, end = _read(data, start)
    header = _written([each for each in entries if each.tag not in LATER], IMMUTABLE)
    payload = data[end:]
    whole = header + payload
    of_header, of_all = (_signed(secret.read_bytes(), each) for each in (header, whole))
    signature = _written(
        [
            Entry(DSA, BINARY, len(of_header), of_header),
            Entry(SHA1_OF_HEADER, STRING, 1, hashlib.sha1(header).hexdigest().encode() + b"\0"),  # noqa: S324
            Entry(SIZE, INT32, 1, struct.pack(">I", len(whole))),
            Entry(MD5, BINARY, 16, hashlib.md5(whole).digest()),  # noqa: S324
            Entry(GPG, BINARY, len(of_all), of_all),
        ],
        SIGNATURES,
    )
    padding = bytes(-len(signature) % 8)
    path.write_bytes(data[:LEAD] + signature + padding + whole)


def _read(data: bytes, at: int) -> tuple[list[Entry], int]:
    """The entries of a header, but for its region, and where it ends."""
    assert data[at : at + 8] == MAGIC
    count, size = struct.unpack(">II", data[at + 8 : at + 16])
    index, store = at + 16, at + 16 + 16 * count
    rows = [struct.unpack(">iiii", data[index + 16 * n : index + 16 * n + 16]) for n in range(count)]
    offsets = sorted({offset for _, _, offset, _ in rows} | {size})
    found = []
    for tag, kind, offset, number in rows:
        end = offsets[offsets.index(offset) + 1]
        if tag not in (SIGNATURES, IMMUTABLE):
            found.append(Entry(tag, kind, number, data[store + offset : store + end]))
    return found, store + size


def _written(entries: list[Entry], region: int) -> bytes:
    index, store = [], b""
    for each in sorted(entries, key=lambda entry: entry.tag):
        store += bytes(-len(store) % WIDTHS.get(each.kind, 1))
        index.append(struct.pack(">iiii", each.tag, each.kind, len(store), each.count))
        store += _value(each)
    index.insert(0, struct.pack(">iiii", region, BINARY, len(store), 16))
    store += struct.pack(">iiii", region, BINARY, -16 * len(index), 16)
    return MAGIC + struct.pack(">II", len(index), len(store)) + b"".join(index) + store


def _value(entry: Entry) -> bytes:
    """Without what aligned the next one."""
    if entry.kind in WIDTHS:
        return entry.data[: WIDTHS[entry.kind] * entry.count]
    return b"".join(part + b"\0" for part in entry.data.split(b"\0")[: entry.count])


def _signed(secret: bytes, data: bytes) -> bytes:
    """A version 3 signature packet over data, by the first key of a file of secret keys."""
    public, key = _dsa(secret)
    made = struct.pack(">BI", 0, EPOCH)
    digest = hashlib.sha1(data + made).digest()  # noqa: S324 - it is the year 2005
    numbers = utils.decode_dss_signature(key.sign(digest, utils.Prehashed(SHA1())))  # noqa: S303
    name = hashlib.sha1(b"\x99" + struct.pack(">H", len(public)) + public).digest()[-8:]  # noqa: S324
    head = bytes([3, len(made)]) + made + name + bytes([DSA_ALGORITHM, SHA1_ALGORITHM]) + digest[:2]
    body = head + b"".join(map(_number, numbers))
    return bytes([0x88, len(body)]) + body


def _number(value: int) -> bytes:
    bits = value.bit_length()
    return struct.pack(">H", bits) + value.to_bytes((bits + 7) // 8, "big")


def _dsa(secret: bytes) -> tuple[bytes, dsa.DSAPrivateKey]:
    """The body of the public key's packet, and the key."""
    assert secret[0] == 0x80 | SECRET_KEY << 2 | 1, "an old packet with two bytes of length"
    body = secret[3 : 3 + struct.unpack(">H", secret[1:3])[0]]
    assert body[5] == DSA_ALGORITHM
    (p, q, g, y), end = _numbers(body, 6, 4)
    (x,), _ = _numbers(body, end + 1, 1)  # after a zero: no passphrase
    values = dsa.DSAPublicNumbers(y, dsa.DSAParameterNumbers(p, q, g))
    return body[:end], dsa.DSAPrivateNumbers(x, values).private_key()


def _numbers(data: bytes, at: int, count: int) -> tuple[list[int], int]:
    """So many numbers of a packet, and where they end."""
    found = []
    for _ in range(count):
        size = (struct.unpack(">H", data[at : at + 2])[0] + 7) // 8
        found.append(int.from_bytes(data[at + 2 : at + 2 + size], "big"))
        at += 2 + size
    return found, at
