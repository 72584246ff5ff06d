"""What EC2's modules share: the table of operations, lists with filters and pages, ids."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.cloud.local.call import Call, Service
from tasks.cloud.local.refusal import Refusal

SERVICE = Service("ec2")


def new_id(kind: str) -> str:
    """'ami' → ami-0123456789abcdef0"""
    return f"{kind}-{secrets.token_hex(9)[:17]}"


def invalid(message: str) -> Refusal:
    return Refusal("InvalidParameterValue", message)


def combination(message: str) -> Refusal:
    return Refusal("InvalidParameterCombination", message)


def paged(
    call: Call, found: Sequence[Mapping[str, Any]], key: str, *, least: int = 5, most: int = 1000
) -> dict[str, Any]:
    """One page of a list, under `key`, and where the next one begins. Tokens are opaque, and belong to their operation."""
    limit, token = call.get("MaxResults"), call.get("NextToken")
    if limit is not None and not least <= limit <= most:
        raise invalid(
            f"Value ( {limit} ) for parameter maxResults is invalid. Expecting a value between {least} and {most}."
        )
    start = _start(call, token) if token else 0
    end = start + limit if limit else len(found)
    answer: dict[str, Any] = {key: list(found[start:end])}
    if end < len(found):
        answer["NextToken"] = base64.urlsafe_b64encode(f"{call.operation}:{end}".encode()).decode()
    return answer


def _start(call: Call, token: str) -> int:
    try:
        operation, _, at = base64.urlsafe_b64decode(token).decode().partition(":")
    except ValueError:
        operation, at = "", ""
    if operation != call.operation or not at.isdecimal():
        raise Refusal("InvalidNextToken", "The token is not valid")
    return int(at)
