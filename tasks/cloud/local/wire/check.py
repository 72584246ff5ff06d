"""Whether parameters are what their shape allows."""

from collections.abc import Iterator
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape
from botocore.validate import ParamValidator

from tasks.cloud.local.refusal import INVALID, MISSING, Refusal

# What S3 and EC2 call a word that is none of its choices, or too long, by the parameter; INVALID otherwise
CHOICES = {
    "InstanceTypes": "InvalidInstanceType",
    "Name": "InvalidAMIName.Malformed",
    "CreateBucketConfiguration.LocationConstraint": "InvalidLocationConstraint",
    "StorageClass": "InvalidStorageClass",
    "ServerSideEncryption": "InvalidEncryptionAlgorithmError",
    "ChecksumAlgorithm": "InvalidRequest",
    "ChecksumType": "InvalidRequest",
}
TOLD = 30  # of the values that there are: EC2 has a thousand types


def checked(shape: Shape, found: Any, service: str) -> None:
    """Raises Refusal with all that is wrong."""
    report = ParamValidator().validate(found, shape)
    if report.has_errors():
        said = report.generate_report()
        table = MISSING if said.startswith("Missing required parameter") else INVALID
        within = service == "s3" and "parameter in input" not in said
        raise Refusal("MalformedXML" if within else table[service], said)
    if strange := dict(_strange(shape, found, "", limited=service != "ebs")):
        inner = "MalformedXML" if service == "s3" and "." in next(iter(strange)) else INVALID[service]
        codes = CHOICES if service in ("s3", "ec2") else {}
        code = next((code for path, code in codes.items() if path in strange), inner)
        raise Refusal(code, "; ".join(strange.values()))


def _strange(shape: Shape, found: Any, path: str, *, limited: bool) -> Iterator[tuple[str, str]]:
    """Words where one of a list is expected: (where, what is wrong). And too much, unless the service has reasons of its own."""
    most = shape.metadata.get("max") if limited else None
    if most is not None and (found if isinstance(found, int | float) else len(found)) > most:
        yield path, f"Value for parameter {path} is invalid: at most {most} are allowed"
    if isinstance(shape, StructureShape):
        for name, value in found.items():
            yield from _strange(
                shape.members[name], value, f"{path}.{name}".lstrip("."), limited=limited
            )
    elif isinstance(shape, ListShape):
        for value in found:
            yield from _strange(shape.member, value, path, limited=limited)
    elif isinstance(shape, MapShape):
        for value in found.values():
            yield from _strange(shape.value, value, path, limited=limited)
    elif (choices := getattr(shape, "enum", None)) and found not in choices:
        told = (
            f"Value ({found}) for parameter {path} is invalid. Valid values: {', '.join(choices[:TOLD])}"
        )
        yield path, told
