"""What IAM's modules share: the table of operations, how it says no, pages."""

from collections.abc import Sequence
from typing import Any

from tasks.cloud.local.call import Call, Service
from tasks.cloud.local.refusal import Refusal

SERVICE = Service("iam")
USUAL, MOST = 100, 1000  # of a page


def absent(message: str) -> Refusal:
    return Refusal("NoSuchEntity", message, 404)


def malformed(message: str) -> Refusal:
    return Refusal("MalformedPolicyDocument", message)


def paged(call: Call, found: Sequence[Any], key: str) -> dict[str, Any]:
    """One page of a list, under `key`. The marker is where the next one begins."""
    limit, marker = call.get("MaxItems", USUAL), call.get("Marker")
    if not 1 <= limit <= MOST:
        raise Refusal("ValidationError", f"Value '{limit}' at 'maxItems' must be from 1 to {MOST}")
    if marker is not None and not marker.isdecimal():
        raise Refusal("ValidationError", f"Invalid Marker: {marker}")
    start = int(marker or 0)
    answer: dict[str, Any] = {
        key: list(found[start : start + limit]),
        "IsTruncated": start + limit < len(found),
    }
    return answer | ({"Marker": str(start + limit)} if answer["IsTruncated"] else {})
