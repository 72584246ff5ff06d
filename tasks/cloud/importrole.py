"""The role that VM Import reads the bucket as: what it lacks, and the commands that give it.

Source: docs.aws.amazon.com/vm-import/latest/userguide/required-permissions.html. What a policy means is read in the role's
favour: a condition may hold, and what only AWS knows (permission boundaries, an organization's policies) AWS will tell.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tasks.cloud.refusals import DENIED, asking, code_of
from tasks.kit.fault import CloudFault
from tasks.kit.report import Report

Statement = Mapping[str, Any]

IMPORTER, EXTERNAL_ID = "vmie.amazonaws.com", "vmimport"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": IMPORTER},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:Externalid": EXTERNAL_ID}},
        }
    ],
}
ON_BUCKET = ("s3:GetBucketLocation", "s3:ListBucket")
ON_OBJECT = "s3:GetObject"
ON_EC2 = ("ec2:ModifySnapshotAttribute", "ec2:CopySnapshot", "ec2:RegisterImage", "ec2:Describe*")
ON_KEY = (
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey*",
    "kms:ReEncrypt*",
)


@dataclass(frozen=True)
class Needs:
    """What the role `name` is to do: read one object, make a snapshot, with a key of the user's own or without (`kms_key`)."""

    name: str
    bucket: str
    key: str
    kms_key: str | None = None
    partition: str = "aws"

    def policy(self) -> dict[str, Any]:
        """For the bucket as a whole: the next image is another object."""
        bucket = f"arn:{self.partition}:s3:::{self.bucket}"
        statements = [
            _allowing([*ON_BUCKET, ON_OBJECT], [bucket, f"{bucket}/*"]),
            _allowing(list(ON_EC2), "*"),
        ]
        if self.kms_key:
            statements.append(_allowing(list(ON_KEY), self.kms_key))
        return {"Version": "2012-10-17", "Statement": statements}

    def wanted(self) -> Iterator[tuple[str, str]]:
        """Actions, and on what; "*" is on anything, and enough is something."""
        bucket = f"arn:{self.partition}:s3:::{self.bucket}"
        yield from ((action, bucket) for action in ON_BUCKET)
        yield ON_OBJECT, f"{bucket}/{self.key}"
        yield from ((action.replace("*", "Snapshots"), "*") for action in ON_EC2)
        if self.kms_key:
            for action in ON_KEY:
                yield _plain(action), self.kms_key

    def commands(self, *, there: bool = False, trusting: bool = False) -> str:
        """To type: they make what is missing. `there`: the role is; `trusting`: it needs no other trust."""
        make = f"aws iam create-role --role-name {self.name} --assume-role-policy-document"
        if there:
            make = f"aws iam update-assume-role-policy --role-name {self.name} --policy-document"
        put = f"aws iam put-role-policy --role-name {self.name} --policy-name doit-ami-import --policy-document"
        lines = [] if trusting else [f"{make} '{json.dumps(TRUST)}'"]
        return "\n".join([*lines, f"{put} '{json.dumps(self.policy())}'"])


def _allowing(actions: list[str], on: list[str] | str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": on}


def _plain(action: str) -> str:
    """One that a pattern of the guide is for: what EBS itself uses of it."""
    return action.replace("GenerateDataKey*", "GenerateDataKeyWithoutPlaintext").replace(
        "ReEncrypt*", "ReEncryptFrom"
    )


def check(iam: Any, needs: Needs, report: Report) -> None:
    """Raises CloudFault with all that the role lacks. What IAM does not let us read is said, and left to EC2 to judge."""
    from botocore.exceptions import ClientError

    where = f"IAM role {needs.name}"
    with asking("look at the role that EC2 imports as", where=where):
        try:
            role = iam.get_role(RoleName=needs.name)["Role"]
            lacking = [] if trusted(role["AssumeRolePolicyDocument"]) else ["trust"]
            lacking += missing(needs, list(statements(iam, needs.name)))
        except ClientError as error:
            if code_of(error) == "NoSuchEntity":
                raise absent(needs) from error
            if code_of(error) not in DENIED:
                raise
            report.noted(
                f"IAM does not let us look at the role {needs.name} ({error.operation_name}): EC2 will tell what it lacks"
            )
            return
    if lacking:
        raise too_weak(needs, lacking)


def absent(needs: Needs) -> CloudFault:
    return CloudFault(
        f"there is no role {needs.name}, and ImportSnapshot reads the bucket as one",
        where=f"IAM role {needs.name}",
        hint=f"make it with these two commands, or name another one: `ebs.import_role` in config/clouds/\n{needs.commands()}",
    )


def too_weak(needs: Needs, lacking: list[str]) -> CloudFault:
    trusting = "trust" not in lacking
    said = [f"it may not {each}" for each in lacking if each != "trust"]
    if not trusting:
        said.insert(0, f"it does not trust {IMPORTER} with the external id {EXTERNAL_ID}")
    return CloudFault(
        f"the role {needs.name} cannot import this image",
        evidence=said,
        where=f"IAM role {needs.name}",
        hint=f"this gives it what it lacks (and see that none of its policies denies it):\n"
        f"{needs.commands(there=True, trusting=trusting)}",
    )


def statements(iam: Any, name: str) -> Iterator[Statement]:
    """Of all policies that the role has, its own and attached ones."""
    for page in iam.get_paginator("list_role_policies").paginate(RoleName=name):
        for policy in page["PolicyNames"]:
            document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
            yield from _listed(document["Statement"])
    for page in iam.get_paginator("list_attached_role_policies").paginate(RoleName=name):
        for policy in page["AttachedPolicies"]:
            arn = policy["PolicyArn"]
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            found = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]
            yield from _listed(found["Document"]["Statement"])


def trusted(document: Mapping[str, Any]) -> bool:
    return any(
        each["Effect"] == "Allow"
        and _acts(each, "sts:AssumeRole")
        and _names_importer(each.get("Principal", {}))
        and _takes_external_id(each.get("Condition", {}))
        for each in _listed(document["Statement"])
    )


def _names_importer(principal: Any) -> bool:
    return principal == "*" or IMPORTER in _listed(principal.get("Service", []))


def _takes_external_id(conditions: Mapping[str, Any]) -> bool:
    """Of the conditions, the one that we know how VM Import meets."""
    return all(
        any(fnmatchcase(EXTERNAL_ID, _bare(value)) for value in _listed(values))
        for operator, pairs in conditions.items()
        for key, values in pairs.items()
        if key.lower() == "sts:externalid" and operator in ("StringEquals", "StringLike")
    )


def missing(needs: Needs, found: list[Statement]) -> list[str]:
    """In words: the action, and on what."""
    return [
        action if on == "*" else f"{action} on {on}"
        for action, on in needs.wanted()
        if not allowed(found, action, on)
    ]


def allowed(found: list[Statement], action: str, on: str) -> bool:
    said = [each for each in found if _acts(each, action) and _concerns(each, on)]
    denied = any(
        each["Effect"] == "Deny" and not each.get("Condition") and (on != "*" or _everything(each))
        for each in said
    )
    return not denied and any(each["Effect"] == "Allow" for each in said)


def _acts(statement: Statement, action: str) -> bool:
    """Actions are the same in capitals and without."""
    named = _listed(statement.get("Action", statement.get("NotAction", [])))
    hit = any(fnmatchcase(action.lower(), _bare(each.lower())) for each in named)
    return hit if "Action" in statement else not hit


def _concerns(statement: Statement, on: str) -> bool:
    named = _listed(statement.get("Resource", statement.get("NotResource", [])))
    if on == "*":
        return True
    hit = any(fnmatchcase(on, _bare(each)) for each in named)
    return hit if "Resource" in statement else not hit


def _everything(statement: Statement) -> bool:
    return "*" in _listed(statement.get("Resource", []))


def _bare(pattern: str) -> str:
    """`*` and `?` are wildcards, a bracket is a bracket."""
    return pattern.replace("[", "[[]")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
