"""The role that VM Import works as, as its guide has it ("Required service role"): whole, or with something missing."""

import json
from typing import Any

TRUST: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "vmie.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:Externalid": "vmimport"}},
        }
    ],
}


def policy(bucket: str, *more: dict[str, Any]) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket"],
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
            },
            {
                "Effect": "Allow",
                "Action": [
                    "ec2:ModifySnapshotAttribute",
                    "ec2:CopySnapshot",
                    "ec2:RegisterImage",
                    "ec2:Describe*",
                ],
                "Resource": "*",
            },
            *more,
        ],
    }


def for_key(arn: str) -> dict[str, Any]:
    """What the guide adds for resources that are encrypted with a key of one's own."""
    words = ("CreateGrant", "Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey*", "ReEncrypt*")
    return {"Effect": "Allow", "Action": [f"kms:{each}" for each in words], "Resource": arn}


def make(
    iam: Any,
    bucket: str,
    *more: dict[str, Any],
    name: str = "vmimport",
    trust: Any = None,
    permissions: Any = None,
) -> None:
    """`trust`, `permissions`: in the guide's places."""
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust or TRUST))
    document = json.dumps(permissions or policy(bucket, *more))
    iam.put_role_policy(RoleName=name, PolicyName="vmimport", PolicyDocument=document)
