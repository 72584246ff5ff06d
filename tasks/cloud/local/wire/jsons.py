"""JSON bodies of requests, by their shape."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape
from botocore.utils import parse_timestamp

from tasks.cloud.local.refusal import INVALID, Refusal


def loaded(body: bytes) -> Any:
    try:
        return json.loads(body or b"{}")
    except ValueError:
        raise Refusal("SerializationException", "The body is no JSON") from None


def structure(shape: StructureShape, held: Any, service: str) -> dict[str, Any]:
    return members(shape.name, shape.members, held, service)


def members(of: str, known: Mapping[str, Shape], held: Any, service: str) -> dict[str, Any]:
    if not isinstance(held, dict):
        raise Refusal("SerializationException", f"{of} is an object")
    names = {str(member.serialization.get("name", name)): name for name, member in known.items()}
    if strange := sorted(set(held) - set(names)):
        raise Refusal(INVALID[service], f"{', '.join(strange)}: no such key in {of}")
    return {
        names[key]: value(known[names[key]], each, service)
        for key, each in held.items()
        if each is not None
    }


def value(shape: Shape, held: Any, service: str) -> Any:
    if isinstance(shape, StructureShape):
        return structure(shape, held, service)
    if isinstance(shape, ListShape):
        if not isinstance(held, list):
            raise Refusal("SerializationException", f"{shape.name} is a list")
        return [value(shape.member, each, service) for each in held]
    if isinstance(shape, MapShape):
        return {key: value(shape.value, each, service) for key, each in dict(held).items()}
    if shape.type_name == "timestamp":
        return parse_timestamp(held)
    if shape.type_name == "blob":
        try:
            return base64.b64decode(held, validate=True)
        except (TypeError, binascii.Error):
            raise Refusal("SerializationException", f"{shape.name} is base64") from None
    return held
