"""What must not be in a finished image: what lets somebody in, and what makes every instance the same machine.

Two kinds of rule. By place: files that are known by where they lie, such as /etc/shadow. By content: private keys and AWS
credentials, in whatever file. Each finding is a sentence with its remedy. Compressed files are not looked into.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from tasks.plan import places
from tasks.plan.places import Judge

LONGEST = 16 << 10  # bytes, more than any key has: what two pieces of a large file must have in common

# A real key is a BEGIN line, perhaps headers (RFC 1421, RFC 4880), and base64. Programs that know keys hold the BEGIN line
# alone; manuals leave most of the base64 out (...). Line ends may be those of a string in JSON or in a program.
EOL = rb"(?:\s|\\r|\\n)"
BASE64 = rb"[A-Za-z0-9+/=]"
BEGIN = rb"-{4,5} ?BEGIN ((?:[A-Z0-9]{2,10} ){0,2}PRIVATE KEY)(?: BLOCK)? ?-{4,5}"
HEADERS = rb"(?:[A-Za-z-]{3,20}: [^\n\\]{0,200}" + EOL + rb"+){0,6}"
BODY = rb"(" + BASE64 + rb"{40}(?:" + BASE64 + rb"|" + EOL + rb")*+)(?!\.\.)"
PRIVATE_KEY = re.compile(BEGIN + EOL + rb"*" + HEADERS + BODY)
BEFORE = 40  # bytes from the beginning of a BEGIN line to its last words, at most
PUTTY_KEY = re.compile(
    rb"PuTTY-User-Key-File-\d: [^\0]{1,8192}?Private-Lines: \d+\r?\n[A-Za-z0-9+/=]{16}"
)

# The id of an AWS access key near its secret: "Unique identifiers" in the IAM User Guide, and what credential scanners agree
# on for the secret. A hash in hexadecimal is as long as a secret, but has no capitals.
KEY_ID = re.compile(rb"(?<![A-Za-z0-9])A[KS]IA[A-Z0-9]{16}(?![A-Za-z0-9])")
SECRET = re.compile(rb"(?<![A-Za-z0-9/+])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])")
MIXED = tuple(re.compile(kind) for kind in (rb"[A-Z]", rb"[a-z]", rb"[0-9]"))
NEAR = 400  # bytes from the one to the other

PROGRAM = b"\x7fELF"  # how a program or library begins; some hold keys to test themselves with, such as libgnutls
EXAMPLE = b"EXAMPLE"  # what AWS writes into the keys of its manuals

AUTHORIZED = ("authorized_keys", "authorized_keys2")
AUTHORIZED_BELOW = (
    "/etc/ssh/authorized_keys",
    "/etc/ssh/authorized-keys",
    "/etc/dropbear/authorized_keys",
)
KEY_TYPE = re.compile(r"(ssh-|ecdsa-|sk-)[\w@.-]+")


def by_place(path: str, expected: Mapping[str, Iterable[str]]) -> Judge | None:
    """Who judges a file by where it lies, if anybody. `expected`: the lines that files of authorized keys may hold, by path."""
    if path in expected or path.rsplit("/", 1)[-1] in AUTHORIZED or path.startswith(AUTHORIZED_BELOW):
        return lambda content: strangers(content, expected.get(path, ()))
    return places.find(path)


def by_content(piece: bytes, *, program: bool = False) -> str | None:
    """What is wrong with a file that holds this, wherever it lies."""
    for mark, judge in MARKS[1:] if program else MARKS:
        at = piece.find(mark)
        while at >= 0:
            reason = judge(piece, at)
            if reason:
                return reason
            at = piece.find(mark, at + len(mark))
    return None


def strangers(content: bytes, expected: Iterable[str]) -> str | None:
    """Keys that nobody asked for. Comments may differ, options may not."""
    asked = {_essence(line) for line in expected}
    lines = (line.strip() for line in content.decode(errors="replace").splitlines())
    strange = [
        line for line in lines if line and not line.startswith("#") and _essence(line) not in asked
    ]
    if not strange:
        return None
    keys = "a key" if len(strange) == 1 else f"{len(strange)} keys"
    shown = "; ".join(_shown(line) for line in strange)
    return f"lets in {keys} that nobody asked for ({shown}): take it out, or name it in ssh.extra_keys"


def private_key(piece: bytes, at: int) -> str | None:
    found = PRIVATE_KEY.search(piece, max(0, at - BEFORE), at + LONGEST)
    if not found or EXAMPLE in found[2]:
        return None
    return f"holds a private key ({found[1].decode()}): delete it; whoever has the image has the key"


def putty_key(piece: bytes, at: int) -> str | None:
    found = PUTTY_KEY.match(piece, at)
    return (
        "holds a private key of PuTTY: delete it; whoever has the image has the key" if found else None
    )


def aws_key(piece: bytes, at: int) -> str | None:
    found = KEY_ID.match(piece, at)
    if not found or found[0].endswith(EXAMPLE):
        return None
    around = piece[max(0, at - NEAR) : at] + b"\n" + piece[found.end() : found.end() + NEAR]
    if not any(map(_secret, SECRET.findall(around))):
        return None
    return f"holds the AWS access key {found[0].decode()} and its secret: delete it, and revoke the key"


def _secret(text: bytes) -> bool:
    """Capitals, small letters and figures: as in all but one secret of a thousand."""
    return EXAMPLE not in text and all(kind.search(text) for kind in MIXED)


def _essence(line: str) -> str:
    """A key without its comment; where options come first, the whole line."""
    words = line.split()
    return " ".join(words[:2]) if words and KEY_TYPE.fullmatch(words[0]) else line.strip()


def _shown(line: str) -> str:
    """What tells its owner which key it is: the kind and the comment, or how the line begins."""
    words = line.split()
    if KEY_TYPE.fullmatch(words[0]) and words[2:]:
        return f"{words[0]} {' '.join(words[2:])}"[:60]
    return f"{line[:40]}..."


# Whoever holds none of these is searched no further: plain text is found at 2 to 5 GB a second, expressions at 0.1.
MARKS: tuple[tuple[bytes, Callable[[bytes, int], str | None]], ...] = (
    (b"PRIVATE KEY", private_key),
    (b"PuTTY-User-Key-File-", putty_key),
    (b"AKIA", aws_key),
    (b"ASIA", aws_key),
)
