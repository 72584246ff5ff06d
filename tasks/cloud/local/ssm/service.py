"""What SSM's modules share: the table of operations, how it says no, pages."""

import base64
from collections.abc import Sequence
from typing import Any

from tasks.cloud.local.call import Answer, Call, Service
from tasks.cloud.local.refusal import Refusal

SERVICE = Service("ssm")


def invalid(message: str) -> Refusal:
    return Refusal("ValidationException", message)


def paged(call: Call, found: Sequence[Any], key: str, most: int) -> Answer:
    """One page of a list, under `key`, and where the next one begins. Without a limit, it is `most`."""
    limit, token = call.get("MaxResults", most), call.get("NextToken")
    if not 1 <= limit <= most:
        raise invalid(f"Value '{limit}' at 'maxResults' must be from 1 to {most}")
    start = _start(call, token) if token else 0
    answer: dict[str, Any] = {key: list(found[start : start + limit])}
    if start + limit < len(found):
        said = f"{call.operation}:{start + limit}"
        answer["NextToken"] = base64.b64encode(said.encode()).decode()
    return answer


def _start(call: Call, token: str) -> int:
    try:
        operation, _, at = base64.b64decode(token, validate=True).decode().partition(":")
    except ValueError:
        operation, at = "", ""
    if operation != call.operation or not at.isdecimal():
        raise Refusal("InvalidNextToken", "The specified token is not valid.")
    return int(at)
