"""Images after their registration: who sees them, what may change, how they end."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests import localimages
from tests.localcloud import LocalCloud, refused
from tests.localimages import LOCATION, volume

OTHER = "210987654321"
NOBODY = "ami-0123456789abcdef0"


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    """For tests that change nothing: a client, and an image."""
    with localimages.standing(tmp_path_factory.mktemp("standing")) as cloud:
        yield cloud.client("ec2"), localimages.image(cloud)


def ids(found: dict[str, Any]) -> list[str]:
    return [image["ImageId"] for image in found["Images"]]


def test_filters_find_what_documentation_says_they_find(localcloud):
    """Each with a value that fits, and one that does not; and one of an image that does not."""
    snapshot = localimages.snapshot(localcloud, 2)
    ec2 = localcloud.client("ec2")
    wish: dict[str, Any] = {
        "Architecture": "x86_64", "VirtualizationType": "hvm", "BootMode": "uefi", "TpmSupport": "v2.0",
        "ImdsSupport": "v2.0", "EnaSupport": True, "SriovNetSupport": "simple", "Description": "a *star*",
        "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": [volume(snapshot, "/dev/xvda", VolumeType="gp3")],
        "TagSpecifications": [{"ResourceType": "image", "Tags": [{"Key": "k", "Value": "v"}]}],
    }  # fmt: skip
    identity = ec2.register_image(Name="wanted one", **wish)["ImageId"]
    localimages.bundle(
        localcloud, localimages.manifest(kernel_id="aki-12345678", ramdisk_id="ari-12345678")
    )
    other = ec2.register_image(Name="other", ImageLocation=LOCATION)["ImageId"]
    [image] = ec2.describe_images(ImageIds=[identity])["Images"]
    of_wanted = {
        "architecture": "x86_64", "virtualization-type": "hvm", "boot-mode": "uefi", "tpm-support": "v2.0",
        "imds-support": "v2.0", "ena-support": "true", "sriov-net-support": "simple",
        "description": r"a \*star\*", "root-device-name": "/dev/xvda", "root-device-type": "ebs",
        "block-device-mapping.delete-on-termination": "true", "block-device-mapping.device-name": "/dev/xvda",
        "block-device-mapping.encrypted": "false", "block-device-mapping.snapshot-id": snapshot,
        "block-device-mapping.volume-size": "2", "block-device-mapping.volume-type": "gp3",
        "creation-date": image["CreationDate"], "image-id": identity, "name": "wanted*", "tag:k": "v",
        "manifest-location": "123456789012/*", "tag-key": "k",
    }  # fmt: skip
    for name, value in of_wanted.items():
        both = {"Name": name, "Values": [value]}
        assert identity in ids(ec2.describe_images(Filters=[both])), name
        if name not in ("creation-date", "architecture"):
            assert other not in ids(ec2.describe_images(Filters=[both])), name
        assert ids(ec2.describe_images(Filters=[{"Name": name, "Values": ["nothing"]}])) == [], name
    of_both = {
        "hypervisor": "xen", "image-type": "machine", "is-public": "false", "state": "available",
        "owner-id": "123456789012", "platform-details": "Linux*", "usage-operation": "RunInstances",
    }  # fmt: skip
    for name, value in of_both.items():
        assert len(ids(ec2.describe_images(Filters=[{"Name": name, "Values": [value]}]))) == 2, name
    for name, value in {"kernel-id": "aki-12345678", "ramdisk-id": "ari-12345678"}.items():
        assert ids(ec2.describe_images(Filters=[{"Name": name, "Values": [value]}])) == [other]
    for name in ("owner-alias", "platform", "product-code", "source-instance-id", "state-reason-code"):
        assert ids(ec2.describe_images(Filters=[{"Name": name, "Values": ["*"]}])) == [], name


def test_a_filter_that_there_is_not_is_refused(localcloud):
    """Rather than passed by all."""
    ec2 = localcloud.client("ec2")
    wrong = [{"Name": "colour", "Values": ["red"]}]
    assert refused(ec2.describe_images, Filters=wrong) == "InvalidParameterValue"


def test_pages_hold_all_of_them_once(localcloud):
    """In the order of their making."""
    made = [localimages.image(localcloud, f"image {number}") for number in range(5)]
    ec2 = localcloud.client("ec2")
    pages = list(
        ec2.get_paginator("describe_images").paginate(Owners=["self"], PaginationConfig={"PageSize": 2})
    )
    assert [len(page["Images"]) for page in pages] == [2, 2, 1]
    assert [each for page in pages for each in ids(page)] == made
    by_id = {"ImageIds": made[:1], "MaxResults": 5}
    assert refused(ec2.describe_images, **by_id) == "InvalidParameterCombination"
    assert refused(ec2.describe_images, NextToken="x") == "InvalidNextToken"


def test_ids_that_are_none_or_are_nobodys_are_refused(localcloud):
    """Malformed, not found, and not ours: three codes; in another region it is not there."""
    ec2, other = localcloud.client("ec2"), localcloud.client("ec2", account=OTHER)
    identity = localimages.image(localcloud)
    assert refused(ec2.describe_images, ImageIds=["i-12345678"]) == "InvalidAMIID.Malformed"
    assert refused(ec2.describe_images, ImageIds=["ami-xyz"]) == "InvalidAMIID.Malformed"
    assert refused(ec2.describe_images, ImageIds=[identity, NOBODY]) == "InvalidAMIID.NotFound"
    assert refused(other.describe_images, ImageIds=[identity]) == "AuthFailure"
    there = localcloud.client("ec2", region="eu-west-1")
    assert refused(there.describe_images, ImageIds=[identity]) == "InvalidAMIID.NotFound"
    assert refused(there.deregister_image, ImageId=identity) == "InvalidAMIID.NotFound"


def test_owners_and_users_narrow_the_list(localcloud):
    """Self, accounts, everybody; Amazon has none here."""
    mine = localimages.image(localcloud)
    ec2, other = localcloud.client("ec2"), localcloud.client("ec2", account=OTHER)
    ec2.modify_image_attribute(ImageId=mine, LaunchPermission={"Add": [{"UserId": OTHER}]})
    assert ids(ec2.describe_images(Owners=["self"])) == [mine]
    assert ids(other.describe_images(Owners=["self"])) == []
    assert ids(other.describe_images(Owners=["amazon", "123456789012"])) == [mine]
    assert ids(other.describe_images(Owners=["amazon"])) == []
    assert ids(other.describe_images(ExecutableUsers=["self"])) == [mine]
    assert ids(ec2.describe_images(ExecutableUsers=["self"])) == []
    assert ids(ec2.describe_images(ExecutableUsers=[OTHER])) == [mine]
    assert ids(ec2.describe_images(ExecutableUsers=["all"])) == []
    assert refused(ec2.describe_images, Owners=["me"]) == "InvalidUserID.Malformed"
    assert refused(ec2.describe_images, ExecutableUsers=["me"]) == "InvalidUserID.Malformed"


def test_lists_lag_behind_as_long_as_is_set(localcloud):
    """An image that was just made is not found as yet, though its name is taken, and it can be used."""
    localcloud.settings(lag=3600)
    identity = localimages.image(localcloud, "late")
    ec2 = localcloud.client("ec2")
    assert ids(ec2.describe_images(Owners=["self"])) == []
    assert refused(ec2.describe_images, ImageIds=[identity]) == "InvalidAMIID.NotFound"
    ec2.create_tags(Resources=[identity], Tags=[{"Key": "a", "Value": ""}])
    localcloud.settings(lag=0)
    assert ids(ec2.describe_images(ImageIds=[identity])) == [identity]


def test_an_image_is_shared_with_those_that_are_named(localcloud):
    """Both ways to say it, and both ways to take it back."""
    identity = localimages.image(localcloud)
    ec2, other = localcloud.client("ec2"), localcloud.client("ec2", account=OTHER)
    ec2.modify_image_attribute(
        ImageId=identity, Attribute="launchPermission", OperationType="add", UserIds=[OTHER]
    )
    found = ec2.describe_image_attribute(ImageId=identity, Attribute="launchPermission")
    assert found["LaunchPermissions"] == [{"UserId": OTHER}]
    assert ids(other.describe_images(ImageIds=[identity])) == [identity]
    assert refused(other.deregister_image, ImageId=identity) == "AuthFailure"
    described = {"ImageId": identity, "Attribute": "description"}
    assert refused(other.describe_image_attribute, **described) == "AuthFailure"
    ec2.modify_image_attribute(ImageId=identity, LaunchPermission={"Remove": [{"UserId": OTHER}]})
    assert refused(other.describe_images, ImageIds=[identity]) == "AuthFailure"
    arn = "arn:aws:organizations::123456789012:organization/o-abcdefghij"
    unit = "arn:aws:organizations::123456789012:ou/o-abcdefghij/ou-abcd-abcdefgh"
    ec2.modify_image_attribute(
        ImageId=identity, Attribute="launchPermission", OperationType="add",
        OrganizationArns=[arn], OrganizationalUnitArns=[unit],
    )  # fmt: skip
    found = ec2.describe_image_attribute(ImageId=identity, Attribute="launchPermission")
    assert found["LaunchPermissions"] == [{"OrganizationArn": arn}, {"OrganizationalUnitArn": unit}]
    ec2.reset_image_attribute(ImageId=identity, Attribute="launchPermission")
    found = ec2.describe_image_attribute(ImageId=identity, Attribute="launchPermission")
    assert found["LaunchPermissions"] == []


def test_an_image_is_public_once_that_is_not_blocked(localcloud):
    """New accounts block it; who unblocks it may, and it stays public when it is blocked again."""
    identity = localimages.image(localcloud)
    ec2, other = localcloud.client("ec2"), localcloud.client("ec2", account=OTHER)
    public = {"ImageId": identity, "LaunchPermission": {"Add": [{"Group": "all"}]}}
    state = ec2.get_image_block_public_access_state()
    assert state["ImageBlockPublicAccessState"] == "block-new-sharing"
    assert refused(ec2.modify_image_attribute, **public) == "OperationNotPermitted"
    assert ec2.disable_image_block_public_access()["ImageBlockPublicAccessState"] == "unblocked"
    ec2.modify_image_attribute(**public)
    ec2.enable_image_block_public_access(ImageBlockPublicAccessState="block-new-sharing")
    localcloud.restart()
    ec2, other = localcloud.client("ec2"), localcloud.client("ec2", account=OTHER)
    state = ec2.get_image_block_public_access_state()
    assert state["ImageBlockPublicAccessState"] == "block-new-sharing"
    [found] = other.describe_images(ExecutableUsers=["all"])["Images"]
    assert (found["ImageId"], found["Public"]) == (identity, True)


def test_an_encrypted_image_is_never_public(localcloud):
    """It may be shared by name."""
    ebs, ec2 = localcloud.client("ebs"), localcloud.client("ec2")
    snapshot = ebs.start_snapshot(VolumeSize=1, Encrypted=True)["SnapshotId"]
    ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=0)
    made = ec2.register_image(Name="sealed", BlockDeviceMappings=[volume(snapshot)])
    [image] = ec2.describe_images(ImageIds=[made["ImageId"]])["Images"]
    assert image["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    ec2.disable_image_block_public_access()
    public = {"ImageId": made["ImageId"], "LaunchPermission": {"Add": [{"Group": "all"}]}}
    assert refused(ec2.modify_image_attribute, **public) == "InvalidParameterValue"
    ec2.modify_image_attribute(ImageId=made["ImageId"], LaunchPermission={"Add": [{"UserId": OTHER}]})


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({}, "InvalidParameterCombination"),
        (
            {"Description": {"Value": "a"}, "ImdsSupport": {"Value": "v2.0"}},
            "InvalidParameterCombination",
        ),
        ({"Description": {"Value": "a" * 256}}, "InvalidParameterValue"),
        ({"ImdsSupport": {"Value": "v1.0"}}, "InvalidParameterValue"),
        ({"Attribute": "kernel", "Value": "aki-12345678"}, "UnsupportedOperation"),
        ({"Attribute": "launchPermission", "UserIds": [OTHER]}, "InvalidParameterCombination"),
        ({"Attribute": "launchPermission", "OperationType": "add"}, "InvalidParameterCombination"),
        ({"LaunchPermission": {}}, "InvalidParameterCombination"),
        ({"LaunchPermission": {"Add": [{"UserId": "me"}]}}, "InvalidAMIAttributeItemValue"),
        ({"LaunchPermission": {"Add": [{"Group": "some"}]}}, "InvalidParameterValue"),
        ({"LaunchPermission": {"Add": [{"OrganizationArn": "o"}]}}, "InvalidAMIAttributeItemValue"),
        (
            {"LaunchPermission": {"Add": [{"OrganizationalUnitArn": "o"}]}},
            "InvalidAMIAttributeItemValue",
        ),
        ({"Description": {"Value": "a"}, "UserIds": [OTHER]}, "UnsupportedOperation"),
        ({"Description": {"Value": "a"}, "ProductCodes": ["x"]}, "UnsupportedOperation"),
    ],
)
def test_a_change_that_cannot_be_is_refused(standing, asked, code):
    """One attribute at a time, of those that can change."""
    ec2, identity = standing
    assert refused(ec2.modify_image_attribute, ImageId=identity, **asked) == code


def test_words_change_and_imds_support_only_comes(localcloud):
    """Attributes are told again as they are set; those that are not set are empty."""
    identity = localimages.image(localcloud)
    ec2 = localcloud.client("ec2")
    ec2.modify_image_attribute(ImageId=identity, Description={"Value": "new words"})
    ec2.modify_image_attribute(ImageId=identity, Attribute="imdsSupport", Value="v2.0")
    [found] = ec2.describe_images(ImageIds=[identity])["Images"]
    assert (found["Description"], found["ImdsSupport"]) == ("new words", "v2.0")

    def told(attribute: str) -> dict[str, Any]:
        answer = ec2.describe_image_attribute(ImageId=identity, Attribute=attribute)
        return {
            key: value for key, value in answer.items() if key not in ("ImageId", "ResponseMetadata")
        }

    assert told("description") == {"Description": {"Value": "new words"}}
    assert told("imdsSupport") == {"ImdsSupport": {"Value": "v2.0"}}
    assert told("bootMode") == {"BootMode": {}}
    assert told("productCodes") == {"ProductCodes": []}
    assert told("deregistrationProtection") == {"DeregistrationProtection": {"Value": "disabled"}}
    mapping = {"ImageId": identity, "Attribute": "blockDeviceMapping"}
    assert refused(ec2.describe_image_attribute, **mapping) == "AuthFailure"


def test_a_disabled_image_is_hidden_and_nobody_elses(localcloud):
    """Until it is enabled; those that it was shared with do not get it back."""
    identity = localimages.image(localcloud)
    ec2, other = localcloud.client("ec2"), localcloud.client("ec2", account=OTHER)
    share = {"ImageId": identity, "LaunchPermission": {"Add": [{"UserId": OTHER}]}}
    ec2.modify_image_attribute(**share)
    assert ec2.disable_image(ImageId=identity)["Return"]
    assert ids(ec2.describe_images(Owners=["self"])) == []
    [found] = ec2.describe_images(ImageIds=[identity], IncludeDisabled=True)["Images"]
    assert found["State"] == "disabled"
    assert refused(ec2.modify_image_attribute, **share) == "InvalidAMIID.Unavailable"
    assert ec2.enable_image(ImageId=identity)["Return"]
    [found] = ec2.describe_images(Owners=["self"])["Images"]
    assert found["State"] == "available"
    assert refused(other.describe_images, ImageIds=[identity]) == "AuthFailure"


def test_a_deprecated_image_is_hidden_from_others(localcloud):
    """From its day on, unless they ask for such; its owner sees it always."""
    identity = localimages.image(localcloud)
    ec2, other = localcloud.client("ec2"), localcloud.client("ec2", account=OTHER)
    ec2.modify_image_attribute(ImageId=identity, LaunchPermission={"Add": [{"UserId": OTHER}]})
    now = datetime.now(UTC)
    for wrong in (now - timedelta(days=1), now + timedelta(days=3660)):
        asked = {"ImageId": identity, "DeprecateAt": wrong}
        assert refused(ec2.enable_image_deprecation, **asked) == "InvalidParameterValue"
    ec2.enable_image_deprecation(ImageId=identity, DeprecateAt=now + timedelta(days=1))
    [found] = other.describe_images(Owners=["123456789012"])["Images"]
    assert found["DeprecationTime"].endswith(":00.000Z")
    store = localcloud.server.store
    things = store.things("image", "123456789012", "us-east-1")
    with store.change():
        things.save(identity, {**things.get(identity), "DeprecationTime": "2020-01-01T00:00:00.000Z"})
    assert ids(other.describe_images(Owners=["123456789012"])) == []
    assert ids(other.describe_images(IncludeDeprecated=True)) == [identity]
    assert ids(ec2.describe_images(Owners=["self"])) == [identity]
    assert ec2.disable_image_deprecation(ImageId=identity)["Return"]
    assert ids(other.describe_images(Owners=["123456789012"])) == [identity]


def test_a_public_image_is_deprecated_within_two_years(localcloud):
    """Others have ten."""
    identity = localimages.image(localcloud)
    ec2 = localcloud.client("ec2")
    later = datetime.now(UTC) + timedelta(days=3 * 365)
    ec2.enable_image_deprecation(ImageId=identity, DeprecateAt=later)
    ec2.disable_image_block_public_access()
    ec2.modify_image_attribute(ImageId=identity, LaunchPermission={"Add": [{"Group": "all"}]})
    asked = {"ImageId": identity, "DeprecateAt": later}
    assert refused(ec2.enable_image_deprecation, **asked) == "InvalidParameterValue"


def test_what_was_deregistered_is_gone_for_good(localcloud):
    """Lists do not have it, deeds say that it is no longer available, and so does a restart."""
    identity = localimages.image(localcloud)
    ec2 = localcloud.client("ec2")
    assert refused(ec2.deregister_image, ImageId=identity, DryRun=True) == "DryRunOperation"
    assert ec2.deregister_image(ImageId=identity)["Return"]
    localcloud.restart()
    ec2 = localcloud.client("ec2")
    assert ids(ec2.describe_images(ImageIds=[identity])) == []
    assert ids(ec2.describe_images(Owners=["self"])) == []
    assert refused(ec2.deregister_image, ImageId=identity) == "InvalidAMIID.Unavailable"
    assert refused(ec2.enable_image, ImageId=identity) == "InvalidAMIID.Unavailable"
    assert refused(ec2.deregister_image, ImageId=NOBODY) == "InvalidAMIID.NotFound"


def test_snapshots_go_with_the_last_image_that_is_made_of_them(localcloud):
    """On demand only, and told one by one."""
    ec2, shared, lone = localcloud.client("ec2"), *(localimages.snapshot(localcloud) for _ in "ab")
    mappings = [volume(shared), volume(lone, "/dev/sdf")]
    one = ec2.register_image(Name="one", BlockDeviceMappings=mappings)["ImageId"]
    two = ec2.register_image(Name="two", BlockDeviceMappings=mappings[:1])["ImageId"]
    assert refused(ec2.delete_snapshot, SnapshotId=shared) == "InvalidSnapshot.InUse"
    done = ec2.deregister_image(ImageId=one, DeleteAssociatedSnapshots=True)
    assert done["DeleteSnapshotResults"] == [
        {"SnapshotId": shared, "ReturnCode": "skipped"},
        {"SnapshotId": lone, "ReturnCode": "success"},
    ]
    assert refused(ec2.describe_snapshots, SnapshotIds=[lone]) == "InvalidSnapshot.NotFound"
    assert "DeleteSnapshotResults" not in ec2.deregister_image(ImageId=two)
    assert ec2.describe_snapshots(SnapshotIds=[shared])["Snapshots"]


def test_a_launch_gets_what_it_may_use(localcloud: LocalCloud):
    """An image that is one's own, or shared, and available; else the code that EC2 has for it."""
    from tasks.cloud.local.ec2.images import usable
    from tasks.cloud.local.refusal import Refusal

    store, identity = localcloud.server.store, localimages.image(localcloud)
    ec2 = localcloud.client("ec2")

    def code(account: str = "123456789012", image: str = identity) -> str:
        try:
            return str(usable(store, account, "us-east-1", image)["ImageId"])
        except Refusal as refusal:
            return refusal.code

    assert code() == identity
    assert code(OTHER) == "AuthFailure"
    assert code(image=NOBODY) == "InvalidAMIID.NotFound"
    assert code(image="debian") == "InvalidAMIID.Malformed"
    ec2.modify_image_attribute(ImageId=identity, LaunchPermission={"Add": [{"UserId": OTHER}]})
    assert code(OTHER) == identity
    localcloud.settings(pending=3600)
    assert code() == "InvalidAMIID.Unavailable"
    localcloud.settings(pending=0)
    ec2.disable_image(ImageId=identity)
    assert code() == "InvalidAMIID.Unavailable"
    ec2.deregister_image(ImageId=identity)
    assert code() == "InvalidAMIID.Unavailable"


def test_ebs_encrypts_nothing_by_default(localcloud):
    """As in a new account."""
    assert localcloud.client("ec2").get_ebs_encryption_by_default()["EbsEncryptionByDefault"] is False


def test_what_is_not_known_is_refused(localcloud):
    """An operation that EC2 has, and the local cloud has not."""
    ec2 = localcloud.client("ec2")
    copy = {"Name": "copy", "SourceImageId": NOBODY, "SourceRegion": "us-east-1"}
    assert refused(ec2.copy_image, **copy) == "UnsupportedOperation"
