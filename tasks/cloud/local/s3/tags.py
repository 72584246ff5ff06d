"""Tags of buckets and of objects."""

from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl

from tasks.cloud.local.refusal import Refusal

LONGEST_KEY, LONGEST_VALUE = 128, 256
MOST = 10  # that an object may have


def read(told: Iterable[Mapping[str, str]], *, most: int, of: str) -> dict[str, str]:
    """As a request's body has them."""
    pairs = [(each["Key"], each.get("Value", "")) for each in told]
    if len(pairs) > most:
        words = (
            "Object tags cannot be greater than"
            if of == "Object"
            else "Bucket tag count cannot be greater than"
        )
        raise Refusal("BadRequest", f"{words} {most}")
    if len(dict(pairs)) < len(pairs):
        raise Refusal("InvalidTag", "Cannot provide multiple Tags with the same key")
    for key, value in pairs:
        _checked(key, value)
    return dict(pairs)


def from_header(text: str) -> dict[str, str]:
    """As x-amz-tagging has them: key=value&key=value"""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict")
    except ValueError:
        pairs = [("", ""), ("", "")]
    if len(dict(pairs)) < len(pairs):
        raise Refusal(
            "InvalidArgument",
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters "
            "without tag name duplicates.",
        )
    return read([{"Key": key, "Value": value} for key, value in pairs], most=MOST, of="Object")


def _checked(key: str, value: str) -> None:
    if key.lower().startswith("aws:"):
        raise Refusal("InvalidTag", "System tags cannot be added/updated by requester")
    if not 1 <= len(key) <= LONGEST_KEY:
        raise Refusal("InvalidTag", "The TagKey you have provided is invalid", fields={"TagKey": key})
    if len(value) > LONGEST_VALUE:
        raise Refusal(
            "InvalidTag", "The TagValue you have provided is invalid", fields={"TagValue": value}
        )


def listed(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
