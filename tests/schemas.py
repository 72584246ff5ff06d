"""JSON schema, as far as those of this project go: a keyword that is not known here is refused rather than passed over."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str | datetime),  # YAML reads the time of `epoch` for us
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "null": lambda value: value is None,
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
# What a keyword asks of a value itself; of one of another type it asks nothing.
RULES: dict[str, Callable[[Any, Any], bool]] = {
    "type": lambda value, rule: any(
        TYPES[each](value) for each in ([rule] if isinstance(rule, str) else rule)
    ),
    "enum": lambda value, rule: value in rule,
    "const": lambda value, rule: bool(value == rule),
    "pattern": lambda value, rule: not isinstance(value, str) or bool(re.search(rule, value)),
    "minimum": lambda value, rule: not TYPES["integer"](value) or value >= rule,
    "maximum": lambda value, rule: not TYPES["integer"](value) or value <= rule,
    "minItems": lambda value, rule: not isinstance(value, list) or len(value) >= rule,
    "minLength": lambda value, rule: not isinstance(value, str) or len(value) >= rule,
    "maxLength": lambda value, rule: not isinstance(value, str) or len(value) <= rule,
    "required": lambda value, rule: not isinstance(value, dict) or value.keys() >= set(rule),
}
OF_PROPERTIES = ("properties", "patternProperties", "additionalProperties")
TOLD = ("title", "description", "default", "format", "$defs")  # for people, and for editors
NONE: Mapping[str, Any] = {"enum": []}  # no value will do
Schema = Mapping[str, Any]


def troubles(value: Any, schema: Schema, whole: Schema | None = None, at: str = "") -> list[str]:
    """What a schema has against a value, each with its place; nothing when it is valid."""
    whole = whole or schema
    found = []
    for key, rule in schema.items():
        if key in RULES and not RULES[key](value, rule):
            found.append(f"{at}: {value!r} is against {key}: {rule}")
        elif key == "anyOf" and all(troubles(value, each, whole, at) for each in rule):
            found.append(f"{at}: {value!r} is none of several")
        for place, each, rules in _parts(key, rule, value, schema, whole):
            found += troubles(each, rules, whole, f"{at}{place}")
    return found


def _parts(
    key: str, rule: Any, value: Any, schema: Schema, whole: Schema
) -> Iterator[tuple[str, Any, Schema]]:
    """What else is to be looked at for a keyword: where, which value, by which schema."""
    if key == "$ref":
        yield "", value, whole["$defs"][rule.removeprefix("#/$defs/")]
    elif key == "items":
        yield from (
            (f"[{n}]", each, rule) for n, each in enumerate(value if isinstance(value, list) else ())
        )
    elif key in OF_PROPERTIES:
        for name, each in value.items() if isinstance(value, dict) else ():
            yield from ((f".{name}", each, rules) for rules in _of_property(key, rule, name, schema))
    elif key not in (*RULES, *TOLD, "anyOf"):
        raise NotImplementedError(f"{key}: {rule}")


def _of_property(key: str, rule: Any, name: str, schema: Schema) -> Iterator[Schema]:
    if key == "properties" and name in rule:
        yield rule[name]
    elif key == "patternProperties":
        yield from (rules for pattern, rules in rule.items() if re.search(pattern, name))
    elif key == "additionalProperties":
        patterns = schema.get("patternProperties", ())
        if name not in schema.get("properties", ()) and not any(
            re.search(each, name) for each in patterns
        ):
            yield NONE if rule is False else rule
