"""How an image's instances are started, as `launch:` of config/images/<name>.yaml says. Times are seconds."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from tasks.spec.names import OURS
from tasks.spec.part import Part

# EC2 takes either; names are those of the account's default VPC.
GroupName = Annotated[str, Field(pattern=r"^[ -~]{1,255}$")]


def _type(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]+\.[a-z0-9-]+", name):
        raise ValueError(f"{name!r} is no instance type; write one as EC2 calls it: m1.small")
    return name


def _tags(tags: Mapping[str, str]) -> Mapping[str, str]:
    if taken := [key for key in tags if key.startswith((OURS, "aws:"))]:
        raise ValueError(f"{', '.join(taken)}: these are not yours to set; rename or delete them")
    return tags


def usual_type(architecture: str, *, ebs: bool) -> str:
    """A small one that starts such an image: those of Nitro run no i386, and nothing that is S3-backed."""
    if not ebs:
        return "m1.small"
    return {"arm64": "t4g.micro", "i386": "t2.micro"}.get(architecture, "t3.micro")


class Launch(Part):
    type: Annotated[str, AfterValidator(_type)] | None = Field(
        None,
        description="the instance type; default: t3.micro, of arm64 t4g.micro, of i386 t2.micro; of S3-backed images,"
        " which start on those of before 2015 alone, m1.small",
    )
    count: int = Field(1, ge=1, le=1000, description="how many instances are to run")
    groups: tuple[GroupName, ...] = Field(
        ("default",), min_length=1, description="security groups: names in the default VPC, or sg-..."
    )
    user_data: str | None = Field(
        None, min_length=1, description="a template's path, from the project's folder; a script, say"
    )
    imds: Literal["v2", "optional"] = "v2"
    tags: Annotated[Mapping[str, str], AfterValidator(_tags)] = Field(default_factory=dict)
    timeout: int = Field(900, ge=1, description="seconds until an instance must be reachable")
    subnet: Annotated[str, Field(pattern=r"^subnet-[0-9a-f]+$")] | None = Field(
        None, description="absent: the default one"
    )
