"""A request as it came over the wire."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from tasks.cloud.local.body import Body


@dataclass(frozen=True)
class Request:
    """`path` and `query` are as they were sent, percent-encoded; header names are lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: Body = field(default_factory=Body)
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def asked(self) -> dict[str, list[str]]:
        """The query's values by name."""
        found: dict[str, list[str]] = {}
        for name, value in parse_qsl(self.query, keep_blank_values=True):
            found.setdefault(name, []).append(value)
        return found

    @property
    def plain_path(self) -> str:
        return unquote(self.path)
