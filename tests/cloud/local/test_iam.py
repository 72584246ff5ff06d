"""IAM on the local cloud: roles with their policies, read strictly, and asked as AWS asks them."""

import json

import pytest

from tasks.cloud.local.iam import policies
from tasks.cloud.local.refusal import Refusal
from tests import roles
from tests.localcloud import refused

OTHER = "210987654321"
HERE = {
    "sts:externalid": "vmimport",
    "aws:sourceaccount": "123456789012",
    "aws:sourcearn": "arn:aws:vmie:x",
}
SERVICE = "vmie.amazonaws.com"


@pytest.fixture
def iam(localcloud):
    return localcloud.client("iam")


def statements(**changed) -> str:
    each = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", **changed}
    return json.dumps({"Version": "2012-10-17", "Statement": {k: v for k, v in each.items() if v}})


def test_a_role_is_read_as_it_was_made(iam, localcloud):
    """Trust, policies, ARN; in every region alike, after a restart, and in no other account."""
    roles.make(iam, "b", name="importer")
    localcloud.restart()
    again = localcloud.client("iam", region="eu-west-1")
    found = again.get_role(RoleName="importer")["Role"]
    assert found["AssumeRolePolicyDocument"] == roles.TRUST
    assert found["Arn"] == "arn:aws:iam::123456789012:role/importer"
    assert again.list_role_policies(RoleName="importer")["PolicyNames"] == ["vmimport"]
    policy = again.get_role_policy(RoleName="importer", PolicyName="vmimport")
    assert policy["PolicyDocument"] == roles.policy("b")
    assert again.list_attached_role_policies(RoleName="importer")["AttachedPolicies"] == []
    theirs = localcloud.client("iam", account=OTHER)
    assert refused(theirs.get_role, RoleName="importer") == "NoSuchEntity"


def test_trust_is_replaced_whole(iam):
    """By what is a trust policy, and is not too long; the role's permissions stay."""
    roles.make(iam, "b")
    other = {"Version": "2012-10-17", "Statement": [{**roles.TRUST["Statement"][0], "Sid": "other"}]}
    update = iam.update_assume_role_policy
    update(RoleName="vmimport", PolicyDocument=json.dumps(other))
    assert iam.get_role(RoleName="vmimport")["Role"]["AssumeRolePolicyDocument"] == other
    assert refused(update, RoleName="x", PolicyDocument=json.dumps(other)) == "NoSuchEntity"
    assert refused(update, RoleName="vmimport", PolicyDocument="{}") == "MalformedPolicyDocument"
    long = json.dumps({"Version": "2012-10-17", "Statement": roles.TRUST["Statement"] * 15})
    assert refused(update, RoleName="vmimport", PolicyDocument=long) == "LimitExceeded"
    assert iam.list_role_policies(RoleName="vmimport")["PolicyNames"] == ["vmimport"]


def test_policies_come_in_pages(iam):
    """And the pages hold all of them, in order."""
    roles.make(iam, "b")
    for number in range(4):
        iam.put_role_policy(RoleName="vmimport", PolicyName=f"p{number}", PolicyDocument=statements())
    pages = list(
        iam.get_paginator("list_role_policies").paginate(
            RoleName="vmimport", PaginationConfig={"PageSize": 2}
        )
    )
    assert [page["PolicyNames"] for page in pages] == [["p0", "p1"], ["p2", "p3"], ["vmimport"]]


def test_a_role_goes_after_its_policies(iam):
    """Not before; and what is gone is gone."""
    roles.make(iam, "b")
    assert refused(iam.delete_role, RoleName="vmimport") == "DeleteConflict"
    iam.delete_role_policy(RoleName="vmimport", PolicyName="vmimport")
    iam.delete_role(RoleName="vmimport")
    for call in (iam.get_role, iam.delete_role, iam.list_role_policies, iam.list_attached_role_policies):
        assert refused(call, RoleName="vmimport") == "NoSuchEntity"


def test_what_iam_refuses(iam):
    """A name twice, names that are none, policies that are not there, and tags, which the local cloud does not keep."""
    roles.make(iam, "b")
    trust = json.dumps(roles.TRUST)
    make = iam.create_role
    assert refused(make, RoleName="vmimport", AssumeRolePolicyDocument=trust) == "EntityAlreadyExists"
    assert refused(make, RoleName="a b", AssumeRolePolicyDocument=trust) == "ValidationError"
    assert refused(make, RoleName="a" * 65, AssumeRolePolicyDocument=trust) == "ValidationError"
    tagged = {"Tags": [{"Key": "a", "Value": "b"}]}
    assert refused(make, RoleName="x", AssumeRolePolicyDocument=trust, **tagged) == "ValidationError"
    for call in (iam.get_role_policy, iam.delete_role_policy):
        assert refused(call, RoleName="vmimport", PolicyName="other") == "NoSuchEntity"
    large = statements(Resource=["arn:aws:s3:::" + "x" * 100] * 100)
    put = iam.put_role_policy
    assert refused(put, RoleName="vmimport", PolicyName="l", PolicyDocument=large) == "LimitExceeded"
    assert refused(iam.get_role_policy, RoleName="vmimport", PolicyName="l") == "NoSuchEntity"


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        json.dumps({"Version": "2012-10-17"}),
        json.dumps({"Version": "2020-01-01", "Statement": []}),
        statements(Effect="Perhaps"),
        statements(Action=None),
        statements(Action="everything"),
        statements(NotAction="s3:*"),
        statements(Resource=None),
        statements(Resource="bucket"),
        statements(Principal="*"),
        statements(Colour="red"),
    ],
)
def test_a_policy_that_is_none_is_malformed(iam, text):
    """And the role has nothing of it."""
    roles.make(iam, "b")
    asked = {"RoleName": "vmimport", "PolicyName": "p", "PolicyDocument": text}
    assert refused(iam.put_role_policy, **asked) == "MalformedPolicyDocument"
    assert iam.list_role_policies(RoleName="vmimport")["PolicyNames"] == ["vmimport"]


def test_conditions_that_cannot_be_judged_are_refused_and_not_passed_over(iam):
    """Of permissions all of them; of trust those whose words are not known."""
    roles.make(iam, "b")
    text = statements(Condition={"Bool": {"aws:SecureTransport": "true"}})
    asked = {"RoleName": "vmimport", "PolicyName": "p", "PolicyDocument": text}
    assert refused(iam.put_role_policy, **asked) == "ValidationError"
    for condition in (
        {"DateGreaterThan": {"aws:x": "y"}},
        {"StringEquals": {"aws:PrincipalTag/a": "b"}},
    ):
        trust = json.dumps({"Statement": [{**roles.TRUST["Statement"][0], "Condition": condition}]})
        asked = {"RoleName": "other", "AssumeRolePolicyDocument": trust}
        assert refused(iam.create_role, **asked) == "ValidationError"


@pytest.mark.parametrize(
    ("changed", "trusted"),
    [
        ({}, True),
        ({"Condition": {}}, True),
        ({"Condition": {"StringEquals": {"sts:ExternalId": ["other", "vmimport"]}}}, True),
        ({"Condition": {"StringEquals": {"sts:ExternalId": "other"}}}, False),
        ({"Condition": {"StringEquals": {"aws:SourceAccount": "210987654321"}}}, False),
        ({"Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:vmie:*"}}}, True),
        ({"Principal": {"Service": ["ec2.amazonaws.com", SERVICE]}}, True),
        ({"Principal": {"Service": "ec2.amazonaws.com"}}, False),
        ({"Principal": {"AWS": "arn:aws:iam::123456789012:root"}}, False),
        ({"Action": "sts:TagSession"}, False),
        ({"Effect": "Deny"}, False),
    ],
)
def test_a_service_is_trusted_by_principal_action_and_conditions(changed, trusted):
    """All three."""
    text = json.dumps({"Statement": [{**roles.TRUST["Statement"][0], **changed}]})
    assert policies.trusts(policies.trust(text), SERVICE, HERE) is trusted


@pytest.mark.parametrize(
    ("found", "allowed"),
    [
        ([], False),
        ([{}], True),
        ([{"Action": "S3:getobject"}], True),
        ([{"Action": ["s3:Get*", "ec2:*"]}], True),
        ([{"Action": "s3:Get?bject"}], True),
        ([{"Action": "s3:PutObject"}], False),
        ([{"Resource": "arn:aws:s3:::b/*"}], True),
        ([{"Resource": "arn:aws:s3:::b"}], False),
        ([{"Resource": "arn:aws:s3:::[b]/*"}], False),
        ([{}, {"Effect": "Deny", "Resource": "arn:aws:s3:::b/k"}], False),
        ([{"Action": None, "NotAction": "iam:*"}], True),
        ([{"Resource": None, "NotResource": "arn:aws:s3:::b/*"}], False),
    ],
)
def test_what_is_allowed_is_said_and_not_denied(found, allowed):
    """With IAM's wildcards, and none of anybody else's."""
    read = [each for one in found for each in policies.permissions(statements(**one))]
    assert policies.allows(read, "s3:GetObject", "arn:aws:s3:::b/k") is allowed


def test_trust_without_a_principal_is_malformed():
    """Or with a resource: it is the role itself."""
    for changed in ({"Principal": None}, {"Resource": "*"}):
        each = {k: v for k, v in {**roles.TRUST["Statement"][0], **changed}.items() if v}
        with pytest.raises(Refusal, match=r"principal|Resource"):
            policies.trust(json.dumps({"Statement": each}))
