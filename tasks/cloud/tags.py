"""Tags as AWS writes them, and as mappings."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import TagTypeDef


def listed(tags: Mapping[str, str]) -> "list[TagTypeDef]":
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def mapped(tags: "Iterable[TagTypeDef]") -> dict[str, str]:
    return {tag.get("Key", ""): tag.get("Value", "") for tag in tags}
