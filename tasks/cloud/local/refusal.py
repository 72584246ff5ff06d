"""What the local cloud says no with: AWS's own codes, words and statuses."""

from collections.abc import Mapping


class Refusal(Exception):
    """`code` and `status` as AWS documents them; `fields` are what its error tells beside (Reason, BucketName)."""

    def __init__(
        self, code: str, message: str, status: int = 400, fields: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status
        self.fields = dict(fields or {})


def unknown(what: str, service: str) -> Refusal:
    """For what AWS may well do, and the local cloud does not: never silence."""
    return Refusal(UNKNOWN[service], f"The local cloud does not know {what}", STATUS[service])


UNKNOWN = {
    "s3": "NotImplemented",
    "ec2": "UnsupportedOperation",
    "ebs": "ValidationException",
    "iam": "ValidationError",
    "kms": "UnsupportedOperationException",
    "ssm": "ValidationException",
    "sts": "ValidationError",
}
STATUS = {"s3": 501, "ec2": 400, "ebs": 400, "iam": 400, "kms": 400, "ssm": 400, "sts": 400}
INVALID = {
    "s3": "InvalidArgument",
    "ec2": "InvalidParameterValue",
    "ebs": "ValidationException",
    "iam": "ValidationError",
    "kms": "ValidationException",
    "ssm": "ValidationException",
    "sts": "ValidationError",
}
MISSING = {**INVALID, "ec2": "MissingParameter"}
