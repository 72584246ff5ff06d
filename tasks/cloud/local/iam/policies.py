"""Policies: read strictly, and asked what they allow. What is not understood is refused when it comes, never passed over.

Source: docs.aws.amazon.com, "IAM JSON policy element reference" and "Policy evaluation logic".
"""

import json
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from tasks.cloud.local.iam.service import malformed
from tasks.cloud.local.refusal import unknown

Statement = Mapping[str, Any]

VERSIONS = ("2008-10-17", "2012-10-17")
TOP = {"Version", "Id", "Statement"}
ELEMENTS = {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Principal", "Condition"}
EQUAL = ("StringEquals", "ArnEquals")
LIKE = ("StringLike", "ArnLike")
CONTEXT = ("sts:externalid", "aws:sourceaccount", "aws:sourcearn")  # keys that a service's request has
ACTION = re.compile(r"\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+")


def trust(text: str) -> tuple[Statement, ...]:
    """Of a role's trust policy. Raises Refusal."""
    found = tuple(map(_known, _statements(text)))
    for each in found:
        if "Resource" in each or "NotResource" in each:
            raise malformed("Has prohibited field Resource")
        if "Principal" not in each:
            raise malformed("AssumeRole policy must contain a principal")
        _conditions(each)
    return found


def permissions(text: str) -> tuple[Statement, ...]:
    """Of a policy of a role. Raises Refusal."""
    found = tuple(map(_known, _statements(text)))
    for each in found:
        if "Principal" in each:
            raise malformed("Policy document should not specify a principal.")
        if ("Resource" in each) == ("NotResource" in each):
            raise malformed("Policy statement must contain resources.")
        if each.get("Condition"):
            raise unknown("conditions in a role's permissions", "iam")
    return found


def _statements(text: str) -> list[Any]:
    try:
        document = json.loads(text)
    except ValueError:
        raise malformed("This policy contains invalid Json") from None
    if not isinstance(document, dict) or set(document) - TOP or "Statement" not in document:
        raise malformed("Syntax errors in policy.")
    if document.get("Version", VERSIONS[0]) not in VERSIONS:
        raise malformed("The policy failed legacy parsing")
    return _listed(document["Statement"])


def _known(each: Any) -> Statement:
    if not isinstance(each, dict) or set(each) - ELEMENTS or each.get("Effect") not in ("Allow", "Deny"):
        raise malformed("Syntax errors in policy.")
    if ("Action" in each) == ("NotAction" in each):
        raise malformed("Policy statement must contain actions.")
    for action in _listed(each.get("Action", each.get("NotAction"))):
        if not isinstance(action, str) or not ACTION.fullmatch(action):
            raise malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
    for resource in _listed(each.get("Resource", each.get("NotResource", "*"))):
        if not isinstance(resource, str) or not re.match(r"\*|arn:", resource):
            raise malformed(f'Resource {resource} must be in ARN format or "*".')
    found: Statement = each
    return found


def _conditions(statement: Statement) -> None:
    for operator, pairs in statement.get("Condition", {}).items():
        if operator not in EQUAL + LIKE:
            raise unknown(f"the condition operator {operator}", "iam")
        for key in pairs:
            if key.lower() not in CONTEXT:
                raise unknown(f"the condition key {key}", "iam")


def trusts(statements: Iterable[Statement], service: str, context: Mapping[str, str]) -> bool:
    """Whether the service may take the role on. `context`: the keys of CONTEXT, and what they are."""
    return _decided(
        each["Effect"]
        for each in statements
        if _acts(each, "sts:AssumeRole") and _principal(each, service) and _holds(each, context)
    )


def allows(statements: Iterable[Statement], action: str, resource: str) -> bool:
    return _decided(
        each["Effect"] for each in statements if _acts(each, action) and _concerns(each, resource)
    )


def _decided(effects: Iterable[str]) -> bool:
    """One denial outweighs all else, and nothing said is a denial."""
    return set(effects) == {"Allow"}


def _acts(statement: Statement, action: str) -> bool:
    """Actions are the same in capitals and without."""
    named = _listed(statement.get("Action", statement.get("NotAction")))
    hit = any(_like(action.lower(), each.lower()) for each in named)
    return hit if "Action" in statement else not hit


def _concerns(statement: Statement, resource: str) -> bool:
    named = _listed(statement.get("Resource", statement.get("NotResource")))
    hit = any(_like(resource, each) for each in named)
    return hit if "Resource" in statement else not hit


def _principal(statement: Statement, service: str) -> bool:
    named = statement["Principal"]
    return named == "*" or service in _listed(named.get("Service", []))


def _holds(statement: Statement, context: Mapping[str, str]) -> bool:
    """All conditions, each with any of its values; their keys are the same in capitals and without."""
    return all(
        any(
            _like(context[key.lower()], value) if operator in LIKE else context[key.lower()] == value
            for value in _listed(values)
        )
        for operator, pairs in statement.get("Condition", {}).items()
        for key, values in pairs.items()
    )


def _like(text: str, pattern: str) -> bool:
    """`*` and `?`, and nothing else: a bracket is a bracket."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
