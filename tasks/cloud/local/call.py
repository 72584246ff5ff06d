"""An operation as the local cloud's services see it: who asks what, and what they may change.

A service is a table of functions, one for each operation that it knows, named as boto3 names it. A function asks for every
parameter that it knows of; one that nobody asked for makes the call a refusal, and undoes it.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from botocore import xform_name

from tasks.cloud.local.body import Body
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Store, Things
from tasks.cloud.local.wire import model

Answer = Mapping[str, Any]
Deed = Callable[["Call"], Answer]
Change = Callable[[], Answer]
Work = Callable[["Call"], Change]


class Asked(Mapping[str, Any]):
    """Parameters that remember which of them were asked for. Structures within are of the same kind, lists are tuples."""

    def __init__(self, held: Mapping[str, Any]) -> None:
        self.held = {key: _wrapped(value) for key, value in held.items()}
        self.seen: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.seen.add(key)
        return self.held[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.held)

    def __len__(self) -> int:
        return len(self.held)

    def __contains__(self, key: object) -> bool:
        """Whether it is there at all; this alone does not count as knowing it."""
        return key in self.held

    def whole(self) -> dict[str, Any]:
        """Everything below, as plain values: known, whatever it is."""
        self.seen.update(self.held)
        return {key: _plain(value) for key, value in self.held.items()}

    def unseen(self, path: str = "") -> Iterator[str]:
        for key, value in self.held.items():
            at = f"{path}.{key}".lstrip(".")
            if key not in self.seen:
                yield at
                continue
            for each in value if isinstance(value, tuple) else (value,):
                if isinstance(each, Asked):
                    yield from each.unseen(at)


def _wrapped(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Asked(value)
    return tuple(map(_wrapped, value)) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Asked):
        return value.whole()
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _bare(value: Any) -> Any:
    """As a plain value; this does not count as knowing it."""
    if isinstance(value, Asked):
        return {key: _bare(each) for key, each in value.held.items()}
    return [_bare(each) for each in value] if isinstance(value, tuple) else value


@dataclass
class Call:
    """`headers`: of the request, lower case, for what has no parameter. `then`: what to do once the change is on the disk."""

    service: str
    operation: str
    account: str
    region: str
    asked: Asked
    body: Body
    store: Store
    headers: Mapping[str, str] = field(default_factory=dict)
    then: list[Callable[[], None]] = field(default_factory=list)
    now: float = field(default_factory=time.time)

    def get(self, name: str, default: Any = None) -> Any:
        """A parameter; an empty one is as good as none."""
        value = self.asked.get(name)
        return default if value is None or value in ("", ()) else value

    def things(self, kind: str) -> Things:
        return self.store.things(kind, self.account, self.region)


class Service:
    """The operations that the local cloud knows of one service."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.names = {xform_name(each): each for each in model(name).operation_names}
        self.deeds: dict[str, Work] = {}

    def operation(self, deed: Deed) -> Deed:
        """Knows it by the function's name."""
        self.deeds[self.names[deed.__name__]] = partial(partial, deed)
        return deed

    def slow(self, work: Work) -> Work:
        """As `operation`, but what takes its time comes first, where it holds nobody up; it returns the change to make."""
        self.deeds[self.names[work.__name__]] = work
        return work


def once(call: Call, token: str | None, conflict: Refusal, deed: Callable[[], Answer]) -> Answer:
    """The answer of a deed that is done once for each client token: the same again to the same request, `conflict` to another."""
    if not token:
        return deed()
    held = call.asked.held.items()
    asked = {key: _bare(value) for key, value in held if key not in ("ClientToken", "DryRun")}
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True, default=repr).encode()).hexdigest()
    key = (call.operation, call.account, call.region, token)
    row = call.store.db.execute(
        "SELECT asked, answer FROM tokens WHERE operation = ? AND account = ? AND region = ? AND token = ?",
        key,
    ).fetchone()
    if row is None:
        answer = deed()
        call.store.db.execute(
            "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?)", (*key, digest, json.dumps(answer))
        )
        return answer
    if row[0] != digest:
        raise conflict
    call.asked.whole()  # known then, known now
    found: Answer = json.loads(row[1])
    return found
