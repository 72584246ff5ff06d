"""What an operation answers, as bytes: results by the shape that a client expects, refusals as the service words them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.wire import model
from tasks.cloud.local.wire.text import moment, written

S3_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'


@dataclass(frozen=True)
class Reply:
    """`stream`: what follows the head instead of `body`; it has a `size`, and yields bytes."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: Any = None


def reply(operation: OperationModel, result: Mapping[str, Any], request_id: str) -> Reply:
    """Raises KeyError when the result has a key that the shape has not: our mistake."""
    protocol, shape = operation.service_model.protocol, operation.output_shape
    status = operation.http.get("responseCode", 200)
    result = dict(result)
    status = result.pop("ResponseMetadata", {}).get("HTTPStatusCode", status)
    if shape is not None and (strange := set(result) - set(shape.members)):
        raise KeyError(f"{operation.name} answers no {', '.join(sorted(strange))}")
    if operation.name == "GetBucketLocation":
        return _located(result["LocationConstraint"], request_id)
    if protocol in ("rest-xml", "rest-json"):
        return _rest(operation, shape, dict(result), request_id, status)
    if protocol == "json":
        body = json.dumps(jsoned(shape, result) if shape else {}).encode()
        headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": request_id}
        return Reply(status, body, headers)
    return _query(operation, shape, result, request_id, status)


def _located(region: str, request_id: str) -> Reply:
    """S3's only reply whose root is a value."""
    root = ET.Element("LocationConstraint", xmlns=S3_NAMESPACE)
    root.text = region
    return Reply(200, xml(root), {"x-amz-request-id": request_id, "Content-Type": "application/xml"})


def _query(
    operation: OperationModel,
    shape: StructureShape | None,
    result: Mapping[str, Any],
    request_id: str,
    status: int,
) -> Reply:
    described = operation.service_model
    root = ET.Element(f"{operation.name}Response", xmlns=described.metadata["xmlNamespace"])
    if described.protocol == "ec2":
        ET.SubElement(root, "requestId").text = request_id
        inner = root
    else:
        inner = ET.SubElement(root, f"{operation.name}Result")
        ET.SubElement(ET.SubElement(root, "ResponseMetadata"), "RequestId").text = request_id
    if shape is not None:
        _fill(inner, shape, result)
    return Reply(status, xml(root), {"Content-Type": "text/xml;charset=UTF-8"})


def _rest(
    operation: OperationModel,
    shape: StructureShape | None,
    result: dict[str, Any],
    request_id: str,
    status: int,
) -> Reply:
    xmlish = operation.service_model.protocol == "rest-xml"
    headers = {"x-amz-request-id" if xmlish else "x-amzn-RequestId": request_id}
    if shape is None:
        return Reply(status, b"", headers)
    body: dict[str, Any] = {}
    for name, value in result.items():
        member = shape.members[name]
        place, key = member.serialization.get("location"), member.serialization.get("name", name)
        if value is None:
            continue
        if place == "header":
            headers[key] = written(member, value, "rfc822")
        elif place == "headers":
            headers |= {f"{key}{end}": text for end, text in value.items()}
        elif place == "statusCode":
            status = value
        else:
            body[name] = value
    payload = shape.serialization.get("payload")
    if payload and shape.members[payload].type_name == "blob":
        return Reply(status, b"", headers, stream=body.get(payload))
    told: Any
    told, held = (shape.members[payload], body.get(payload, {})) if payload else (shape, body)
    if not (payload or held or _speaks(shape)):
        return Reply(status, b"", headers)
    if not xmlish:
        content = json.dumps(jsoned(told, held)).encode()
        return Reply(status, content, headers | {"Content-Type": "application/json"})
    root = ET.Element(_root(operation, told), xmlns=S3_NAMESPACE)
    _fill(root, told, held)
    return Reply(status, xml(root), headers | {"Content-Type": "application/xml"})


ROOTS = {
    "ListObjectsV2": "ListBucketResult",
    "ListObjects": "ListBucketResult",
    "ListBuckets": "ListAllMyBucketsResult",
    "ListParts": "ListPartsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "DeleteObjects": "DeleteResult",
    "GetObjectAcl": "AccessControlPolicy",
    "GetBucketAcl": "AccessControlPolicy",
    "GetBucketTagging": "Tagging",
    "GetObjectTagging": "Tagging",
}


def _root(operation: OperationModel, shape: Shape) -> str:
    """What S3 calls it; botocore's own name for the shape is another."""
    return ROOTS.get(operation.name) or str(shape.serialization.get("name", shape.name))


def _speaks(shape: StructureShape) -> bool:
    return any("location" not in member.serialization for member in shape.members.values())


def _fill(element: ET.Element, shape: StructureShape, result: Mapping[str, Any]) -> None:
    for name, value in result.items():
        if value is None:
            continue
        member = shape.members[name]
        for child in _elements(member, str(member.serialization.get("name", name)), value):
            element.append(child)


def _elements(shape: Shape, name: str, value: Any) -> Iterator[ET.Element]:
    element = ET.Element(name)
    if isinstance(shape, ListShape):
        flat = shape.serialization.get("flattened")
        inner = shape.member.serialization.get("name")
        children = [
            child
            for each in value
            for child in _elements(
                shape.member, str((inner or name) if flat else inner or "member"), each
            )
        ]
        if flat:
            yield from children
            return
        element.extend(children)
    elif isinstance(shape, StructureShape):
        _fill(element, shape, value)
        for key, member in shape.members.items():
            if (
                member.serialization.get("xmlAttribute")
                and (found := element.find(_tag(key, member))) is not None
            ):
                element.remove(found)
                element.set("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance")
                element.set(_tag(key, member), found.text or "")
    else:
        element.text = written(shape, value)
    yield element


def _tag(name: str, member: Shape) -> str:
    return str(member.serialization.get("name", name))


def jsoned(shape: Shape, value: Any) -> Any:
    if isinstance(shape, StructureShape):
        return {
            shape.members[name].serialization.get("name", name): jsoned(shape.members[name], each)
            for name, each in value.items()
            if each is not None and "location" not in shape.members[name].serialization
        }
    if isinstance(shape, ListShape):
        return [jsoned(shape.member, each) for each in value]
    if isinstance(shape, MapShape):
        return {key: jsoned(shape.value, each) for key, each in value.items()}
    if shape.type_name == "timestamp":
        return moment(value).timestamp()
    return written(shape, value) if shape.type_name == "blob" else value


def xml(root: ET.Element) -> bytes:
    return DECLARATION + ET.tostring(root)


# What EBS tells beside its codes, unless somebody knows better
REASONS = {
    "ValidationException": "INVALID_PARAMETER_VALUE",
    "AccessDeniedException": "UNAUTHORIZED_ACCOUNT",
}


def error(service: str, refusal: Refusal, request_id: str, *, silent: bool = False) -> Reply:
    """`silent`: to a HEAD there is no body."""
    protocol = model(service).protocol
    headers = {"x-amz-request-id": request_id}
    for name in ("BucketRegion", "Region"):
        if name in refusal.fields and service == "s3":
            headers["x-amz-bucket-region"] = refusal.fields[name]
    if protocol in ("json", "rest-json"):
        usual = {"Reason": REASONS[refusal.code]} if service == "ebs" and refusal.code in REASONS else {}
        told = {"__type": refusal.code, "message": refusal.message, **usual, **refusal.fields}
        kind = "application/x-amz-json-1.1" if protocol == "json" else "application/json"
        return Reply(
            refusal.status,
            json.dumps(told).encode(),
            headers | {"Content-Type": kind, "x-amzn-ErrorType": refusal.code},
        )
    body = b"" if silent else xml(_complaint(protocol, refusal, request_id))
    return Reply(refusal.status, body, headers | {"Content-Type": "application/xml"})


def _complaint(protocol: str, refusal: Refusal, request_id: str) -> ET.Element:
    told = {"Code": refusal.code, "Message": refusal.message, **refusal.fields}
    if protocol == "ec2":
        root = ET.Element("Response")
        inner = ET.SubElement(ET.SubElement(root, "Errors"), "Error")
        ET.SubElement(root, "RequestID").text = request_id
    elif protocol == "query":
        root = ET.Element("ErrorResponse")
        inner = ET.SubElement(root, "Error")
        told = {"Type": "Sender", **told}
        ET.SubElement(root, "RequestId").text = request_id
    else:
        root = inner = ET.Element("Error")
        told |= {"RequestId": request_id}
    for name, text in told.items():
        ET.SubElement(inner, name).text = text
    return root
