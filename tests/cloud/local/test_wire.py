"""The wire against botocore itself: what its serialisers send we understand, what we answer its parsers understand."""

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st

from tasks.cloud.local import ebs, ec2, s3, ssm, sts
from tasks.cloud.local.body import Body
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.wire import SERVICES, model, parse, route, write
from tasks.cloud.local.wire.request import Request

DEEP = 6  # some shapes hold themselves
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
OPERATIONS = [
    (each.name, name)
    for each in (ebs.SERVICE, ec2.SERVICE, s3.SERVICE, ssm.SERVICE, sts.SERVICE)
    for name in each.deeds
]

APART = {("s3", "GetBucketLocation")}  # botocore reads it by a handler of its own


def sample(shape: Shape, depth: int = 0) -> Any:
    """A value that the shape allows, with everything in it."""
    if isinstance(shape, StructureShape):
        return {
            name: sample(member, depth + 1)
            for name, member in shape.members.items()
            if depth < DEEP or name in shape.required_members
        }
    if isinstance(shape, ListShape):
        return (
            [sample(shape.member, depth + 1)] * max(1, shape.metadata.get("min", 1))
            if depth < DEEP
            else []
        )
    if isinstance(shape, MapShape):
        return {str(sample(shape.key)): sample(shape.value, depth + 1)}
    least = int(shape.metadata.get("min", 1))
    return {
        "string": (getattr(shape, "enum", None) or [("a&<b> c" + "d" * least)[: shape.metadata.get("max", 99)]])[0],
        "integer": max(least, 7), "long": max(least, 7), "float": 1.5, "double": 1.5, "boolean": True,
        "timestamp": NOON, "blob": b"b" * max(1, least), "character": "c",
    }[shape.type_name]  # fmt: skip


def sent(operation: OperationModel, asked: dict[str, Any]) -> Request:
    """As botocore puts it on the wire."""
    described = operation.service_model
    serializer = create_serializer(described.protocol, include_validation=False)
    made = serializer.serialize_to_request(asked, operation)
    path, _, fixed = made["url_path"].partition("?")
    body = made["body"]
    form: dict[str, str] = {}
    if isinstance(body, dict):
        form, body = {key: _plain(value) for key, value in body.items()}, b""
    if isinstance(body, str):
        body = body.encode()
    query = made["query_string"]
    pairs = [
        f"{_quoted(key)}={_quoted(each)}"
        for key, value in (query.items() if isinstance(query, dict) else ())
        for each in (value if isinstance(value, list) else [value])
    ]
    headers = {key.lower(): str(value) for key, value in made["headers"].items()}
    return Request(
        made["method"], path, "&".join(filter(None, [fixed, *pairs])), headers, Body(body or b""), form
    )


def _plain(value: object) -> str:
    return (
        {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    )


def _quoted(value: object) -> str:
    from urllib.parse import quote

    return quote(_plain(value), safe="")


@pytest.mark.parametrize(("service", "name"), OPERATIONS, ids=lambda each: each)
def test_every_request_that_botocore_can_send_is_understood(service, name):
    """Every operation that the cloud knows, with every parameter that AWS has for it."""
    operation = model(service).operation_model(name)
    if (service, name) in APART or operation.input_shape is None:
        return
    asked = sample(operation.input_shape)
    payload = operation.input_shape.serialization.get("payload")
    streams = operation.has_streaming_input and payload
    request = sent(operation, asked)
    assert route.operation(service, request).name == name
    if streams:
        asked.pop(payload)
    assert parse.parameters(operation, request) == asked


@pytest.mark.parametrize(("service", "name"), OPERATIONS, ids=lambda each: each)
def test_every_reply_is_understood_by_botocore(service, name):
    """Every operation that the cloud knows, with everything that AWS can answer."""
    operation = model(service).operation_model(name)
    if (service, name) in APART or operation.output_shape is None:
        return
    shape = operation.output_shape
    answer = sample(shape)
    payload = shape.serialization.get("payload")
    if payload and shape.members[payload].type_name == "blob":
        answer.pop(payload)
    reply = write.reply(operation, answer, "the-request")
    heard = create_parser(operation.service_model.protocol).parse(
        {"body": reply.body, "status_code": reply.status, "headers": dict(reply.headers)}, shape
    )
    heard.pop("ResponseMetadata")
    if payload and payload not in answer:
        heard.pop(payload)
    assert heard == answer


@pytest.mark.parametrize("service", SERVICES)
@given(message=st.text("abc<>&é"), code=st.from_regex(r"[A-Z][A-Za-z.]{2,20}", fullmatch=True))
def test_every_refusal_is_understood_by_botocore(service, message, code):
    """Code and message, whatever is in them."""
    reply = write.error(service, Refusal(code, message, 400), "the-request")
    heard = create_parser(model(service).protocol).parse(
        {"body": reply.body, "status_code": 400, "headers": dict(reply.headers)},
        Shape("Nothing", {"type": "structure"}),
    )
    assert (heard["Error"]["Code"], heard["Error"]["Message"] or "") == (code, message)


@pytest.mark.parametrize(
    ("service", "request_", "code"),
    [
        ("ec2", Request("POST", "/", "", {}, form={"Action": "DescribeImages", "Colour": "red"}), "UnknownParameter"),
        ("ec2", Request("POST", "/", "", {}, form={"Action": "DescribeImages", "Filter.1.Nam": "x"}), "UnknownParameter"),
        ("ec2", Request("POST", "/", "", {}, form={"Action": "DescribeImages", "MaxResults": "x"}), "InvalidParameterValue"),
        ("ec2", Request("POST", "/", "", {}, form={"Action": "DescribeImages", "DryRun": "maybe"}), "InvalidParameterValue"),
        ("ec2", Request("POST", "/", "", {}, form={"Action": "DescribeImages", "Filter.a.Name": "x"}), "MalformedQueryString"),
        ("ec2", Request("POST", "/", "", {}, form={"Action": "DescribeImages", "Filter": "x", "Filter.1": "y"}), "MalformedQueryString"),
        ("ec2", Request("POST", "/", "", {}, form={"Action": "RunInstances"}), "MissingParameter"),
        ("ec2", Request("POST", "/", "", {}, form={"Action": "Dance"}), "InvalidAction"),
        ("s3", Request("PUT", "/b/k", "", {"x-amz-colour": "red"}), "NotImplemented"),
        ("s3", Request("PUT", "/b/k", "colour=red", {}), "NotImplemented"),
        ("s3", Request("PUT", "/b/k", "", {"x-amz-acl": "everybody"}), "InvalidArgument"),
        ("s3", Request("PUT", "/b", "", {}, Body(b"<Create")), "MalformedXML"),
        ("s3", Request("PUT", "/b", "", {}, Body(b"<C><Colour>red</Colour></C>")), "MalformedXML"),
        ("ebs", Request("POST", "/snapshots", "", {}, Body(b"{")), "SerializationException"),
        ("ebs", Request("POST", "/snapshots", "", {}, Body(b'{"Colour": 1}')), "ValidationException"),
        ("ebs", Request("POST", "/snapshots", "", {}, Body(b'{"VolumeSize": "1"}')), "ValidationException"),
        ("ebs", Request("POST", "/snapshots", "", {}, Body(b"{}")), "ValidationException"),
        ("ebs", Request("POST", "/volumes", "", {}, Body(b"{}")), "ValidationException"),
        ("ssm", Request("POST", "/", "", {"x-amz-target": "AmazonSSM.PutParameter"}, Body(b'{"Name": "a", "Value": "b", "Colour": 1}')), "ValidationException"),
    ],
)  # fmt: skip
def test_what_has_no_place_is_refused(service, request_, code):
    """Never silence: a word that nobody knows, a value of another type, a choice that there is not."""
    with pytest.raises(Refusal) as caught:
        parse.parameters(route.operation(service, request_), request_)
    assert caught.value.code == code
