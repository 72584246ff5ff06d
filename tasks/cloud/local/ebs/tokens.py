"""Tokens that EBS gives and takes back: what they stand for, until when, and a seal. Nobody has to remember them."""

import base64
import binascii
import hashlib
import hmac

from tasks.cloud.local.ebs.service import invalid
from tasks.cloud.local.signature import SECRET

BLOCK_LIFE = 7 * 24 * 3600.0  # seconds: "block tokens expire within seven days"
PAGE_LIFE = 3600.0  # "the pagination token expires after 60 minutes"


def block(snapshot: str, index: int, until: float) -> str:
    return _sealed(f"block {snapshot} {index}", until)


def check_block(token: str, snapshot: str, index: int, now: float) -> None:
    """Raises Refusal unless it was given for this block, and lately."""
    if _opened(token, now) != f"block {snapshot} {index}":
        raise invalid("INVALID_BLOCK_TOKEN", f"The block token is not valid for block {index}.")


def page(listing: str, start: int, now: float) -> str:
    """`listing`: what the pages are of."""
    return _sealed(f"{listing} {start}", now + PAGE_LIFE)


def start_of(token: str, listing: str, now: float) -> int:
    said, _, start = _opened(token, now).rpartition(" ")
    if said != listing:
        raise invalid("INVALID_PAGE_TOKEN", "The page token is not valid, or no longer.")
    return int(start)


def _sealed(said: str, until: float) -> str:
    text = f"{until:.0f} {said}"
    return base64.b64encode(f"{_seal(text)} {text}".encode()).decode()


def _opened(token: str, now: float) -> str:
    """What it says; nothing when it is not ours, or too old."""
    try:
        seal, _, text = base64.b64decode(token, validate=True).decode().partition(" ")
    except (binascii.Error, ValueError):
        return ""
    until, _, said = text.partition(" ")
    return said if hmac.compare_digest(seal, _seal(text)) and now <= float(until) else ""


def _seal(text: str) -> str:
    return hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()[:32]
