"""Faults to order: what a cloud does on a bad day, for tests and for whoever wants to see what happens then."""

import re
import time
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Store

Kind = Literal["throttle", "error", "error-after", "drop", "drop-after", "slow", "deny"]
KINDS: tuple[str, ...] = get_args(Kind)

# How each service words it: (code, status, fields)
THROTTLED: dict[str, tuple[str, int, dict[str, str]]] = {
    "s3": ("SlowDown", 503, {}),
    "ec2": ("RequestLimitExceeded", 503, {}),
    "ebs": ("RequestThrottledException", 400, {"Reason": "ACCOUNT_THROTTLED"}),
    "iam": ("Throttling", 400, {}),
    "kms": ("ThrottlingException", 400, {}),
    "ssm": ("ThrottlingException", 400, {}),
    "sts": ("Throttling", 400, {}),
}
BROKEN = {
    "s3": "InternalError",
    "ec2": "InternalError",
    "ebs": "InternalServerException",
    "iam": "ServiceFailure",
    "kms": "KMSInternalException",
    "ssm": "InternalServerError",
    "sts": "InternalFailure",
}
DENIED = {
    "s3": ("AccessDenied", 403),
    "ec2": ("UnauthorizedOperation", 403),
    "ebs": ("AccessDeniedException", 403),
    "iam": ("AccessDenied", 403),
    "kms": ("AccessDeniedException", 400),
    "ssm": ("AccessDeniedException", 400),
    "sts": ("AccessDenied", 403),
}


class Dropped(Exception):
    """The connection breaks off here."""


@dataclass(frozen=True)
class Order:
    """`operation`: service:Operation, where * stands for anything. `times`: how often; None is for ever."""

    operation: str
    kind: Kind
    times: int | None = 1
    seconds: float = 0.0


def ordered(told: Any) -> list[Order]:
    """Raises ValueError when it is no list of orders."""
    try:
        orders = [Order(**each) for each in told]
    except TypeError as error:
        raise ValueError(f"a fault has operation, kind, times and seconds: {error}") from None
    for each in orders:
        if each.kind not in KINDS:
            raise ValueError(f"{each.kind!r} is no kind of fault: write one of {', '.join(KINDS)}")
        if not re.fullmatch(r"(s3|ec2|ebs|iam|kms|ssm|sts|\*):[A-Za-z0-9*]+", each.operation):
            raise ValueError(f"{each.operation!r}: write service:Operation, as in s3:PutObject or ec2:*")
    return orders


def changed(store: Store, told: Any) -> list[dict[str, Any]]:
    """Those that stand from now on: these, and no others; with None, those that stood before."""
    if told is not None:
        orders = ordered(told)
        with store.change() as db:
            db.execute("DELETE FROM faults")
            db.executemany(
                "INSERT INTO faults (operation, kind, times, seconds) VALUES (?, ?, ?, ?)",
                [(each.operation, each.kind, each.times, each.seconds) for each in orders],
            )
    with store.lock:
        rows = store.db.execute(
            "SELECT operation, kind, times, seconds FROM faults ORDER BY id"
        ).fetchall()
    return [asdict(Order(*row)) for row in rows]


def due(store: Store, service: str, operation: str) -> Order | None:
    """The first that fits; it is counted off."""
    with store.lock:
        if store.db.execute("SELECT 1 FROM faults LIMIT 1").fetchone() is None:
            return None
    with store.change() as db:
        for row in db.execute(
            "SELECT id, operation, kind, times, seconds FROM faults ORDER BY id"
        ).fetchall():
            if fnmatchcase(f"{service}:{operation}", row[1]):
                if row[3] is not None:
                    db.execute("UPDATE faults SET times = times - 1 WHERE id = ?", (row[0],))
                    db.execute("DELETE FROM faults WHERE times <= 0")
                return Order(*row[1:])
    return None


def before(order: Order | None, service: str, operation: str) -> None:
    if order is None:
        return
    if order.kind == "slow":
        time.sleep(order.seconds)
    elif order.kind == "drop":
        raise Dropped
    elif order.kind == "throttle":
        code, status, fields = THROTTLED[service]
        raise Refusal(code, "Please reduce your request rate.", status, fields)
    elif order.kind == "error":
        raise Refusal(BROKEN[service], "We encountered an internal error. Please try again.", 500)
    elif order.kind == "deny":
        code, status = DENIED[service]
        raise Refusal(code, f"User is not authorized to perform: {service}:{operation}", status)


def after(order: Order | None, service: str) -> None:
    """The deed is done; its answer is lost."""
    if order and order.kind == "drop-after":
        raise Dropped
    if order and order.kind == "error-after":
        raise Refusal(BROKEN[service], "We encountered an internal error. Please try again.", 500)
