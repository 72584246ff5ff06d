"""Values that travel as text: in a form, a query, a header, an XML element."""

import base64
import binascii
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from botocore.model import Shape
from botocore.utils import parse_timestamp

from tasks.cloud.local.refusal import INVALID, Refusal


def scalar(shape: Shape, text: str, path: str, service: str) -> Any:
    """A value that travels as text."""
    read = READERS.get(shape.type_name, str)
    try:
        return read(text)
    except (ValueError, binascii.Error):
        raise Refusal(
            INVALID[service],
            f"Value ({text}) for parameter {path} is invalid: it is no {shape.type_name}",
        ) from None


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


READERS: Mapping[str, Callable[[str], Any]] = {
    "boolean": _boolean,
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
    "timestamp": parse_timestamp,
    "blob": lambda text: base64.b64decode(text, validate=True),
}


def written(shape: Shape, value: Any, form: str = "iso8601") -> str:
    """The value as text; times are datetimes, or what says them."""
    form = shape.serialization.get("timestampFormat", form)
    if shape.type_name == "timestamp":
        at = moment(value)
        if form == "rfc822":
            return format_datetime(at.astimezone(UTC).replace(microsecond=0), usegmt=True)
        return iso(at)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


def moment(value: datetime | float | str) -> datetime:
    if isinstance(value, datetime):
        return value
    return datetime.fromtimestamp(value, UTC) if isinstance(value, float) else parse_timestamp(value)


def iso(at: datetime) -> str:
    """To the millisecond, in UTC, as AWS writes it."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
