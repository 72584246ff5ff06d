"""Filters of lists, as EC2 has them: all of them, any of their values, with wildcards; one that is not known is refused."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tasks.cloud.local.call import Asked, Call
from tasks.cloud.local.ec2.service import invalid
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Thing

MOST = 200  # values, of all filters together
LONGEST = 255  # characters of a value

Table = Mapping[str, Callable[[Thing], Any]]


def matching(call: Call, things: Iterable[Thing], table: Table) -> list[Thing]:
    """Those that pass all filters of the call. `table`: by a filter's name, what a thing has of it: a value, several, or None."""
    tests = [_test(each, table) for each in _asked(call)]
    return [thing for thing in things if all(test(thing) for test in tests)]


def plain(*names: str) -> dict[str, Callable[[Thing], Any]]:
    """Filters whose values the things hold under AWS's own name: 'image-id' is ImageId."""
    return {name: _member("".join(word.capitalize() for word in name.split("-"))) for name in names}


def within(key: str, *path: str) -> Callable[[Thing], list[Any]]:
    """Of each structure in the list `key`, what lies at `path`."""
    return lambda thing: [_at(each, path) for each in thing.get(key, ())]


def at(*path: str) -> Callable[[Thing], Any]:
    """What lies there, in structures within structures."""
    return lambda thing: _at(thing, path)


def _member(key: str) -> Callable[[Thing], Any]:
    return lambda thing: thing.get(key)


def _at(value: Any, path: Iterable[str]) -> Any:
    for key in path:
        value = value.get(key) if value else None
    return value


def _asked(call: Call) -> Iterable[Asked]:
    filters: tuple[Asked, ...] = call.get("Filters", ())
    values = [value for each in filters for value in each.get("Values", ())]
    if len(values) > MOST:
        raise Refusal(
            "FilterLimitExceeded",
            f"The maximum number of filter values specified on a single call is {MOST}",
        )
    if any(len(value) > LONGEST for value in values):
        raise Refusal(
            "FilterLimitExceeded", f"The maximum length for a filter value is {LONGEST} characters"
        )
    return filters


def _test(asked: Asked, table: Table) -> Callable[[Thing], bool]:
    name = asked.get("Name") or "null"
    held = _held(name, table)
    values = asked.get("Values", ())
    if not values:
        raise Refusal("MissingParameter", f"The filter '{name}' has no values")
    patterns = [_pattern(value) for value in values]
    return lambda thing: any(
        pattern.fullmatch(text) for text in _texts(held(thing)) for pattern in patterns
    )


def _held(name: str, table: Table) -> Callable[[Thing], Any]:
    if name.startswith("tag:"):
        key = name.removeprefix("tag:")
        return lambda thing: [tag["Value"] for tag in thing.get("Tags", ()) if tag["Key"] == key]
    known: Table = {"tag-key": within("Tags", "Key"), **table}
    if name not in known:
        raise invalid(f"The filter '{name}' is invalid")
    return known[name]


def _pattern(value: str) -> re.Pattern[str]:
    """`*` is anything, `?` is one character or none, and a backslash takes the meaning from what follows."""
    parts = {"*": ".*", "?": ".?"}
    return re.compile(
        "".join(
            parts.get(each) or re.escape(each[-1]) for each in re.findall(r"\\.|.", value, re.DOTALL)
        ),
        re.DOTALL,
    )


def _texts(held: Any) -> Iterator[str]:
    for each in held if isinstance(held, list | tuple | set) else (held,):
        if isinstance(each, bool):
            yield "true" if each else "false"
        elif each is not None:
            yield str(each)
