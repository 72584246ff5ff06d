"""Sums that zlib does not know are those that everybody else makes."""

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tasks.cloud.local.crc import Crc, joined

# What CRC catalogues give for "123456789"
CHECK = {"CRC32": 0xCBF43926, "CRC32C": 0xE3069283, "CRC64NVME": 0xAE8B14860A799888}


def made(name: str, *pieces: bytes) -> bytes:
    crc = Crc(name)
    for each in pieces:
        crc.update(each)
    return crc.digest()


@pytest.mark.parametrize("name", CHECK)
def test_known(name):
    assert int.from_bytes(made(name, b"123456789"), "big") == CHECK[name]
    assert int.from_bytes(made(name, b"1234", b"", b"56789"), "big") == CHECK[name]


@given(some.binary(max_size=3000), some.integers(0, 3000))
def test_as_zlib(data, cut):
    """Of any length, in any pieces; long ones are folded."""
    assert int.from_bytes(made("CRC32", data[:cut], data[cut:]), "big") == zlib.crc32(data)


@given(some.sampled_from(sorted(CHECK)), some.binary(max_size=2000), some.binary(max_size=2000))
def test_joined(name, one, other):
    """Of two sums, the sum of both."""
    assert joined(name, made(name, one), made(name, other), len(other)) == made(name, one + other)


def test_large():
    data = random.Random(1).randbytes(1 << 20)
    assert int.from_bytes(made("CRC32", data), "big") == zlib.crc32(data)
    assert made("CRC64NVME", data) == made("CRC64NVME", data[:7], data[7:4000], data[4000:])
