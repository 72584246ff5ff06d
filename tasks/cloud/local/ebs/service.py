"""What EBS's modules share: the table of operations, and how it says no."""

from tasks.cloud.local.call import Service
from tasks.cloud.local.refusal import Refusal

SERVICE = Service("ebs")


def invalid(reason: str, message: str) -> Refusal:
    """`reason`: one of ValidationExceptionReason."""
    return Refusal("ValidationException", message, 400, {"Reason": reason})


def wrong(message: str) -> Refusal:
    return invalid("INVALID_PARAMETER_VALUE", message)


def absent(identity: str) -> Refusal:
    message = f"The snapshot '{identity}' does not exist."
    return Refusal("ResourceNotFoundException", message, 404, {"Reason": "SNAPSHOT_NOT_FOUND"})


def foreign(identity: str) -> Refusal:
    message = f"The snapshot '{identity}' belongs to another account."
    return Refusal("AccessDeniedException", message, 403, {"Reason": "UNAUTHORIZED_ACCOUNT"})


def within(value: int | None, name: str, least: int, most: int) -> None:
    """What the models say, and botocore's validator does not look at."""
    if value is not None and not least <= value <= most:
        raise wrong(f"{name} is {value}; it must be from {least} to {most}")
