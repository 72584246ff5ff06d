"""The cyclic sums that zlib does not know, and those of two pieces put together; bit-reversed, as S3's all are."""

from functools import cache

SUMS = {  # bits, polynomial
    "CRC32": (32, 0xEDB88320),
    "CRC32C": (32, 0x82F63B78),
    "CRC64NVME": (64, 0x9A6C9329AC4BC9B5),
}
SHORT = 4096  # bits that are faster taken byte by byte


class Crc:
    """hashlib's manner."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.bits, self.polynomial = SUMS[name]
        self.value = self.ones = (1 << self.bits) - 1

    def update(self, data: bytes, /) -> None:
        """Fold the first half of the data onto the second, times the power of x between them, until little is left.

        Python's long integers do that at the speed of memory; a table, byte by byte, takes ten times as long.
        """
        bits, size = self.bits, len(data) * 8
        value = int.from_bytes(data, "little") ^ (self.value if size >= bits else 0)
        left = 0 if size >= bits else self.value
        while size > SHORT:
            first = (size - bits) // 16 * 8
            head, value, size = value & (1 << first) - 1, value >> first, size - first
            power = _power(self.name, size)
            product = 0
            for at in range(bits):
                if power >> at & 1:
                    product ^= head << at
            value ^= product << size - first - bits + 1
        self.value = _bytewise(value.to_bytes(size // 8, "little"), left, self.polynomial)

    def digest(self) -> bytes:
        return (self.value ^ self.ones).to_bytes(self.bits // 8, "big")


def joined(name: str, first: bytes, second: bytes, length: int) -> bytes:
    """The sum of two pieces one after the other, of their sums and the second's length in bytes."""
    bits, polynomial = SUMS[name]
    moved = _times(int.from_bytes(first, "big"), _power(name, length * 8), bits, polynomial)
    return (moved ^ int.from_bytes(second, "big")).to_bytes(bits // 8, "big")


@cache
def _table(polynomial: int) -> tuple[int, ...]:
    return tuple(_eight_steps(value, polynomial) for value in range(256))


def _eight_steps(value: int, polynomial: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (polynomial if value & 1 else 0)
    return value


def _bytewise(data: bytes, value: int, polynomial: int) -> int:
    table = _table(polynomial)
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ value >> 8
    return value


def _power(name: str, exponent: int) -> int:
    """x to the exponent, modulo the polynomial; the highest power is the lowest bit."""
    bits, polynomial = SUMS[name]
    result, square = 1 << bits - 1, 1 << bits - 2  # 1 and x
    while exponent:
        if exponent & 1:
            result = _times(result, square, bits, polynomial)
        square = _times(square, square, bits, polynomial)
        exponent >>= 1
    return result


def _times(one: int, other: int, bits: int, polynomial: int) -> int:
    """Their product, modulo the polynomial."""
    product = 0
    for at in range(bits - 1, -1, -1):
        if one >> at & 1:
            product ^= other
        other = other >> 1 ^ (polynomial if other & 1 else 0)
    return product
