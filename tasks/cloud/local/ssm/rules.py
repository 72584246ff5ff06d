"""What may stand in Parameter Store: names, values, tags. The words are AWS's, where they are known."""

import re
from collections.abc import Iterable, Mapping

from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.ssm.service import invalid

LEVELS = 15
LONGEST_NAME = 1011  # characters
LONGEST_VALUE = 4096  # characters, of the standard tier
LONGEST_TEXT = 1024  # characters of a description, and of a pattern
TAGS = 50
NAME = re.compile(r"[a-zA-Z0-9_.\-/]+")
RESERVED = re.compile(r"/?(aws|ssm)", re.IGNORECASE)
TAG = re.compile(r"[\w\s.:/=+\-@]*")


def name(text: str) -> str:
    """As it is kept. Raises Refusal."""
    text = text.strip()
    if len(text) > LONGEST_NAME:
        raise invalid(f"The parameter name has {len(text)} characters; it may have {LONGEST_NAME}.")
    if re.match(r"/aws/", text, re.IGNORECASE):
        raise Refusal("AccessDeniedException", f"No access to reserved parameter name: {text}.")
    if RESERVED.match(text) or not NAME.fullmatch(text) or "//" in text or text.endswith("/"):
        raise invalid(
            'Parameter name: can\'t be prefixed with "aws" or "ssm" (case-insensitive). If formed as a path, it can'
            " consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers"
            " and the following 3 symbols .-_"
        )
    if "/" in text and not text.startswith("/"):
        raise invalid("Parameter name must be a fully qualified name.")
    if text.count("/") > LEVELS:
        raise Refusal(
            "HierarchyLevelLimitExceededException",
            f"A hierarchy can have a maximum of {LEVELS} levels: {text}",
        )
    return text


def value(text: str, pattern: str | None) -> str:
    if not text:
        raise invalid(
            "Value '' at 'value' failed to satisfy constraint: Member must have length at least 1."
        )
    if "{{" in text and "}}" in text.partition("{{")[2]:
        raise invalid('Parameter value can\'t nest another parameter. Do not use "{{}}" in the value.')
    if len(text) > LONGEST_VALUE:
        raise invalid(
            f"Standard tier parameters support a maximum parameter value of {LONGEST_VALUE} characters. To create a"
            " larger parameter value, upgrade the parameter to use the advanced-parameter tier."
        )
    if pattern and not _compiled(pattern).fullmatch(text):
        raise Refusal(
            "ParameterPatternMismatchException",
            f"Parameter value, cannot be validated against allowedPattern: {pattern}",
        )
    return text


def _compiled(pattern: str) -> re.Pattern[str]:
    short(pattern, "allowedPattern")
    try:
        return re.compile(pattern)
    except re.error as error:
        raise Refusal(
            "InvalidAllowedPatternException", f"The pattern {pattern} is not valid: {error}"
        ) from None


def short(text: str, what: str) -> str:
    if len(text) > LONGEST_TEXT:
        raise invalid(f"{what} has {len(text)} characters; it may have {LONGEST_TEXT}.")
    return text


def tags(told: Iterable[Mapping[str, str]]) -> dict[str, str]:
    pairs = [(each["Key"], each["Value"]) for each in told]
    for key, text in pairs:
        if not (TAG.fullmatch(key) and TAG.fullmatch(text)) or len(key) > 128 or len(text) > 256:  # noqa: PLR2004 - the model's own
            raise invalid(f"The tag {key!r} is too long, or has letters that a tag may not have.")
        if key.lower().startswith("aws:"):
            raise invalid(f"The tag {key!r}: keys that begin with aws: are reserved.")
    if len(dict(pairs)) < len(pairs):
        raise invalid("Two tags have the same key.")
    return few(dict(pairs))


def few(held: dict[str, str]) -> dict[str, str]:
    if len(held) > TAGS:
        raise Refusal("TooManyTagsError", f"A parameter may have {TAGS} tags.")
    return held
