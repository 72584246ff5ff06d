"""XML bodies of requests, by their shape. Namespaces are not looked at, as S3 does not."""

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

from botocore.model import ListShape, Shape, StructureShape

from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.wire.text import scalar


def loaded(body: bytes) -> ET.Element:
    try:
        return ET.fromstring(body)  # noqa: S314 - expat limits what entities may grow to
    except ET.ParseError:
        raise malformed() from None


def malformed(why: str = "") -> Refusal:
    said = "The XML you provided was not well-formed or did not validate against our published schema"
    return Refusal("MalformedXML", f"{said}: {why}" if why else said)


def structure(shape: StructureShape, element: ET.Element, service: str) -> dict[str, Any]:
    return members(shape.name, shape.members, element, service)


def members(of: str, known: Mapping[str, Shape], element: ET.Element, service: str) -> dict[str, Any]:
    names = {_key(name, member): name for name, member in known.items()}
    found: dict[str, Any] = {
        name: text
        for name, member in known.items()
        if member.serialization.get("xmlAttribute") and (text := _attribute(element, _key(name, member)))
    }
    for child in element:
        tag = child.tag.rpartition("}")[2]
        if tag not in names:
            raise malformed(f"{tag} in {of}")
        member = known[names[tag]]
        if isinstance(member, ListShape) and member.serialization.get("flattened"):
            found.setdefault(names[tag], []).append(_value(member.member, child, service))
        else:
            found[names[tag]] = _value(member, child, service)
    return found


def _attribute(element: ET.Element, name: str) -> str | None:
    """'xsi:type', by the last of its words."""
    last = name.rpartition(":")[2]
    return next((text for key, text in element.attrib.items() if key.rpartition("}")[2] == last), None)


def _key(name: str, member: Shape) -> str:
    inner = (
        member.member.serialization.get("name")
        if isinstance(member, ListShape) and member.serialization.get("flattened")
        else None
    )
    return str(member.serialization.get("name") or inner or name)


def _value(shape: Shape, element: ET.Element, service: str) -> Any:
    if isinstance(shape, StructureShape):
        return structure(shape, element, service)
    if isinstance(shape, ListShape):
        return [_value(shape.member, child, service) for child in element]
    return scalar(shape, element.text or "", shape.name, service)
