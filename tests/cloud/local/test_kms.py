"""KMS on the local cloud: keys that can be switched off, and what EBS says to one that it cannot use."""

import pytest

from tests.localcloud import refused
from tests.localsnapshots import reason

OTHER = "210987654321"
NOBODYS = "0e7fdb7c-0000-4000-8000-000000000000"


@pytest.fixture
def kms(localcloud):
    return localcloud.client("kms")


def made(kms) -> str:
    return str(kms.create_key(Description="for volumes")["KeyMetadata"]["Arn"])


def test_a_key_is_described_as_it_was_made(kms):
    """By its ARN and by its id; the account's own key for EBS is there without having been made."""
    arn = made(kms)
    found = kms.describe_key(KeyId=arn)["KeyMetadata"]
    assert (found["KeyState"], found["KeyManager"]) == ("Enabled", "CUSTOMER")
    assert found["Description"] == "for volumes"
    assert kms.describe_key(KeyId=found["KeyId"])["KeyMetadata"] == found
    usual = kms.describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]
    assert usual["KeyManager"] == "AWS"
    assert kms.describe_key(KeyId=usual["Arn"])["KeyMetadata"]["Arn"] == usual["Arn"]


def test_a_key_is_switched_off_and_on_and_stays_so(kms, localcloud):
    """Over a restart; but nobody switches AWS's own."""
    arn = made(kms)
    kms.disable_key(KeyId=arn)
    localcloud.restart()
    again = localcloud.client("kms")
    found = again.describe_key(KeyId=arn)["KeyMetadata"]
    assert (found["KeyState"], found["Enabled"]) == ("Disabled", False)
    again.enable_key(KeyId=arn)
    assert again.describe_key(KeyId=arn)["KeyMetadata"]["Enabled"] is True
    assert refused(again.disable_key, KeyId="alias/aws/ebs") == "AccessDeniedException"


def test_keys_that_are_not_there_and_keys_of_others(kms, localcloud):
    """Of another account nobody learns whether it exists; of another region it is not found."""
    arn = made(kms)
    assert refused(kms.describe_key, KeyId=NOBODYS) == "NotFoundException"
    assert refused(kms.describe_key, KeyId="alias/mine") == "NotFoundException"
    assert refused(kms.describe_key, KeyId="no key at all") == "NotFoundException"
    theirs = localcloud.client("kms", account=OTHER)
    assert refused(theirs.describe_key, KeyId=arn) == "AccessDeniedException"
    elsewhere = localcloud.client("kms", region="eu-west-1")
    assert refused(elsewhere.describe_key, KeyId=arn) == "NotFoundException"


def test_what_is_not_known_is_refused(kms):
    """Keys that EBS cannot use, policies and tags."""
    for asked in (
        {"KeySpec": "RSA_2048"},
        {"Origin": "EXTERNAL"},
        {"Policy": "{}"},
        {"MultiRegion": True},
    ):
        assert refused(kms.create_key, **asked) == "UnsupportedOperationException"
    assert refused(kms.schedule_key_deletion, KeyId=NOBODYS) == "UnsupportedOperationException"


def test_a_snapshot_is_started_with_a_key_that_can_be_used(kms, localcloud):
    """One's own, by its ARN; and the account's own for EBS, named or not."""
    ebs, arn = localcloud.client("ebs"), made(kms)
    assert ebs.start_snapshot(VolumeSize=1, Encrypted=True, KmsKeyArn=arn)["KmsKeyArn"] == arn
    usual = kms.describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]["Arn"]
    assert ebs.start_snapshot(VolumeSize=1, Encrypted=True)["KmsKeyArn"] == usual
    assert ebs.start_snapshot(VolumeSize=1, Encrypted=True, KmsKeyArn=usual)["KmsKeyArn"] == usual


def test_a_snapshot_is_not_started_with_a_key_that_cannot_be_used(kms, localcloud):
    """Absent, switched off, of another region, of another account; and nothing is left of the attempt."""
    ebs, arn = localcloud.client("ebs"), made(kms)
    kms.disable_key(KeyId=arn)
    elsewhere = made(localcloud.client("kms", region="eu-west-1"))
    theirs = made(localcloud.client("kms", account=OTHER))
    absent = arn.replace(arn.rpartition("/")[2], NOBODYS)
    for key in (arn, elsewhere, absent):
        why = reason(ebs.start_snapshot, VolumeSize=1, Encrypted=True, KmsKeyArn=key)
        assert why == "INVALID_CUSTOMER_KEY"
    why = reason(ebs.start_snapshot, VolumeSize=1, Encrypted=True, KmsKeyArn=theirs)
    assert why == "DEPENDENCY_ACCESS_DENIED"
    assert localcloud.client("ec2").describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    kms.enable_key(KeyId=arn)
    assert ebs.start_snapshot(VolumeSize=1, Encrypted=True, KmsKeyArn=arn)["KmsKeyArn"] == arn
