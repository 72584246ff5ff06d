"""What an operation was asked: a request's parameters, by their place and shape. What has no place is refused."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from botocore.model import ListShape, OperationModel, Shape, StructureShape

from tasks.cloud.local.body import SUMS
from tasks.cloud.local.refusal import INVALID, Refusal, unknown
from tasks.cloud.local.wire import check, jsons, xmls
from tasks.cloud.local.wire.request import Request
from tasks.cloud.local.wire.route import REST, pattern
from tasks.cloud.local.wire.text import scalar

Tree = dict[str, Any]
STREAM = bytes(1)  # stands for a body that is handed on apart
# Of the request itself, not of an operation
COMMON = {
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-security-token",
    "x-amz-user-agent",
    "x-amz-target",
}
CHUNKED = {"x-amz-decoded-content-length", "x-amz-trailer"}
# Of the body, whatever the operation: S3 looks at them before all else
CHECKED = {f"x-amz-checksum-{name.lower()}" for name in SUMS}
SIGNED_QUERY = "X-Amz-"  # what presigned addresses bear
FORM = {"Action", "Version"}


def parameters(operation: OperationModel, request: Request) -> Tree:
    """Checked against the shape: types, limits, what is required, values of a choice. Raises Refusal."""
    service = operation.service_model
    shape = operation.input_shape
    if shape is None:
        return {}
    name = service.service_name
    if service.protocol in REST:
        found = _rest(operation, shape, request)
    elif service.protocol == "json":
        found = jsons.structure(shape, jsons.loaded(request.body.read()), name)
    else:
        tree = _tree({key: value for key, value in request.form.items() if key not in FORM})
        found = Query(name, ec2=service.protocol == "ec2").structure(shape, tree, "")
    check.checked(shape, found, name)
    return {key: value for key, value in found.items() if value is not STREAM}


def _tree(flat: Mapping[str, str]) -> Tree:
    """{'Tag.1.Key': 'a'} → {'Tag': {'1': {'Key': 'a'}}}"""
    tree: Tree = {}
    for key, value in flat.items():
        *folders, last = key.split(".")
        at = tree
        for folder in folders:
            at = at.setdefault(folder, {})
            if not isinstance(at, dict):
                raise Refusal("MalformedQueryString", f"{key} is both a value and a list")
        if isinstance(at.setdefault(last, value), dict):
            raise Refusal("MalformedQueryString", f"{key} is both a value and a list")
    return tree


class Query:
    """The protocols that send a form: EC2's own, and the one of STS."""

    def __init__(self, service: str, *, ec2: bool) -> None:
        self.service, self.ec2 = service, ec2

    def structure(self, shape: StructureShape, tree: Any, path: str) -> Tree:
        if not isinstance(tree, dict):
            raise Refusal(INVALID[self.service], f"{path.rstrip('.')} is a structure")
        left, found = dict(tree), {}
        for name, member in shape.members.items():
            key = self._key(name, member)
            if key in left:
                found[name] = self._value(member, left.pop(key), f"{path}{key}")
        if left:
            strange = ", ".join(f"{path}{key}" for key in sorted(left))
            raise Refusal("UnknownParameter", f"The parameter {strange} is not recognized")
        return found

    def _key(self, name: str, member: Shape) -> str:
        given = member.serialization.get("queryName")
        if given:
            return str(given)
        plain = str(member.serialization.get("name", name))
        return plain[0].upper() + plain[1:] if self.ec2 else plain

    def _value(self, shape: Shape, held: Any, path: str) -> Any:
        if isinstance(shape, StructureShape):
            return self.structure(shape, held, f"{path}.")
        if isinstance(shape, ListShape):
            if not self.ec2 and not shape.serialization.get("flattened") and isinstance(held, dict):
                held = held.get("member", {})
            return [self._value(shape.member, each, path) for each in _numbered(held, path)]
        if isinstance(held, dict):
            raise Refusal(INVALID[self.service], f"{path} is a single value")
        return scalar(shape, held, path, self.service)


def _numbered(held: Any, path: str) -> list[Any]:
    if not isinstance(held, dict) or not all(key.isdecimal() for key in held):
        raise Refusal("MalformedQueryString", f"{path} is a list: write {path}.1, {path}.2")
    return [held[key] for key in sorted(held, key=int)]


def _rest(operation: OperationModel, shape: StructureShape, request: Request) -> Tree:
    service = operation.service_model.service_name
    found: Tree = {}
    asked, headers = dict(request.asked), dict(request.headers)
    uri, _, fixed = operation.http["requestUri"].partition("?")
    labels = pattern(uri).fullmatch(request.path)
    assert labels is not None  # noqa: S101 - the route was found by it
    body: dict[str, Shape] = {}
    for name, member in shape.members.items():
        place, key = member.serialization.get("location"), member.serialization.get("name", name)
        if place == "uri":
            found[name] = scalar(member, unquote(labels[key]), name, service)
        elif place == "querystring":
            if key in asked:
                found[name] = _from_query(member, asked.pop(key), name, service)
        elif place == "header":
            if (value := headers.pop(key.lower(), None)) is not None:
                found[name] = _from_header(member, value, name, service)
        elif place == "headers":
            found |= {name: taken} if (taken := _prefixed(headers, key.lower())) else {}
        else:
            body[name] = member
    _nothing_left(service, asked, headers, fixed)
    return found | _body(operation, shape, body, request)


def _from_query(shape: Shape, values: list[str], name: str, service: str) -> Any:
    if isinstance(shape, ListShape):
        return [scalar(shape.member, value, name, service) for value in values]
    return scalar(shape, values[-1], name, service)


def _from_header(shape: Shape, value: str, name: str, service: str) -> Any:
    if isinstance(shape, ListShape):
        return [scalar(shape.member, each.strip(), name, service) for each in value.split(",")]
    return scalar(shape, value, name, service)


def _prefixed(headers: dict[str, str], prefix: str) -> dict[str, str]:
    return {
        key.removeprefix(prefix): headers.pop(key) for key in list(headers) if key.startswith(prefix)
    }


def _nothing_left(service: str, asked: Tree, headers: Mapping[str, str], fixed: str) -> None:
    """Of the rest, what would change the meaning of the request."""
    known = {part.partition("=")[0] for part in fixed.split("&")} | {"x-id"}
    strange = [name for name in asked if name not in known and not name.startswith(SIGNED_QUERY)]
    strange += [
        name for name in headers if name.startswith("x-amz-") and name not in COMMON | CHUNKED | CHECKED
    ]
    if strange:
        raise unknown(f"{', '.join(sorted(strange))} here", service)


def _body(
    operation: OperationModel, shape: StructureShape, members: Mapping[str, Shape], request: Request
) -> Tree:
    payload, service = shape.serialization.get("payload"), operation.service_model.service_name
    if operation.has_streaming_input and payload:
        return {payload: STREAM}
    read: Any = xmls if operation.service_model.protocol == "rest-xml" else jsons
    if payload:
        if not request.body.size:
            return {}
        held = read.loaded(request.body.read())
        return {payload: read.structure(shape.members[payload], held, service)}
    if members and request.body.size:
        held = read.loaded(request.body.read())
        return dict(read.members(operation.name, members, held, service))
    if request.body.size:
        raise unknown(f"a body of {operation.name}", service)
    return {}
