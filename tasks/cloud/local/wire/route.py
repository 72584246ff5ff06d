"""Which operation a request means."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from urllib.parse import parse_qsl

from botocore.model import OperationModel

from tasks.cloud.local.refusal import Refusal, unknown
from tasks.cloud.local.wire import model
from tasks.cloud.local.wire.request import Request

REST = {"rest-xml", "rest-json"}


@dataclass(frozen=True)
class Route:
    """How a REST operation is recognised. Of several that fit, the one with the most marks is meant."""

    operation: OperationModel
    method: str
    path: re.Pattern[str]
    query: frozenset[tuple[str, str]]  # must be there, with these values
    marks: frozenset[tuple[str, str]]  # (place, name) of what the operation cannot do without

    def fits(self, request: Request) -> bool:
        asked = request.asked
        held = {"querystring": asked.keys(), "header": request.headers.keys()}
        return (
            request.method == self.method
            and self.path.fullmatch(request.path) is not None
            and all(asked.get(name) == [value] for name, value in self.query)
            and all(name in held[place] for place, name in self.marks)
        )


def operation(service: str, request: Request) -> OperationModel:
    """Raises Refusal when there is no such operation."""
    described = model(service)
    if described.protocol in REST:
        return _by_place(service, request)
    name = request.form.get("Action", "")
    if described.protocol == "json":
        name = request.headers.get("x-amz-target", "").rpartition(".")[2]
    if name not in described.operation_names:
        raise Refusal("InvalidAction", f"The action {name} is not valid for this web service.")
    return described.operation_model(name)


def _by_place(service: str, request: Request) -> OperationModel:
    fitting = [route for route in routes(service) if route.fits(request)]
    if not fitting:
        raise unknown(f"{request.method} {request.path}?{request.query}", service)
    best = max(fitting, key=lambda route: (len(route.query), len(route.marks)))
    return best.operation


@cache
def routes(service: str) -> tuple[Route, ...]:
    described = model(service)
    return tuple(_route(described.operation_model(name)) for name in described.operation_names)


def _route(operation: OperationModel) -> Route:
    uri, _, query = operation.http["requestUri"].partition("?")
    return Route(
        operation,
        operation.http["method"],
        pattern(uri),
        frozenset(parse_qsl(query, keep_blank_values=True)),
        frozenset(_marks(operation)),
    )


def _marks(operation: OperationModel) -> Iterator[tuple[str, str]]:
    shape = operation.input_shape
    if shape is None:
        return
    for name in shape.required_members:
        place = shape.members[name].serialization
        key = str(place.get("name", name))
        if place.get("location") == "header":
            yield "header", key.lower()
        elif place.get("location") == "querystring":
            yield "querystring", key


@cache
def pattern(uri: str) -> re.Pattern[str]:
    """'/{Bucket}/{Key+}' as a regular expression over the path as it was sent."""
    pieces = re.split(r"(\{[A-Za-z]+\+?\})", uri)
    return re.compile("".join(map(_piece, pieces)) + ("/?" if uri.count("{") == 1 else ""))


def _piece(piece: str) -> str:
    if not piece.startswith("{"):
        return re.escape(piece)
    name = piece.strip("{}+")
    return f"(?P<{name}>.+)" if piece.endswith("+}") else f"(?P<{name}>[^/]+)"
