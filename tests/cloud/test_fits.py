"""Whether an AMI is the one meant, and whether a type can run it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.cloud import fits
from tasks.kit.fault import CloudFault, ConfigFault
from tasks.spec.record import AmiReceipt
from tests import proofs

AT = datetime(2026, 11, 23, tzinfo=UTC)
RECEIPT = AmiReceipt(
    account="1" * 12, region="us-east-1", sha256="s", cloud_id="", at=AT,
    id="ami-1", name="n", digest="d", location="b/k", boot=proofs.report(),
)  # fmt: skip
IMAGE: Any = {
    "ImageId": "ami-1",
    "OwnerId": "1" * 12,
    "State": "available",
    "Tags": [{"Key": "doit-ami:image", "Value": "debian-12"}, {"Key": "doit-ami:digest", "Value": "d"}],
    "Architecture": "x86_64",
    "RootDeviceType": "instance-store",
    "VirtualizationType": "paravirtual",
}
M1: Any = {
    "ProcessorInfo": {"SupportedArchitectures": ["i386", "x86_64"]},
    "SupportedRootDeviceTypes": ["ebs", "instance-store"],
    "SupportedVirtualizationTypes": ["hvm", "paravirtual"],
    "SupportedBootModes": ["legacy-bios"],
}


class Here:
    name, account, region, id = "aws", "1" * 12, "us-east-1", ""


def tagged(**tags: str) -> Any:
    return {"Tags": [{"Key": f"doit-ami:{key}", "Value": value} for key, value in tags.items()]}


def told(found: Any, here: Any = Here) -> list[str]:
    return [fault.problem for fault in fits.image_faults(found, RECEIPT, "debian-12", here)]


def test_the_image_that_was_registered_is_the_one():
    assert told(IMAGE) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"OwnerId": "2" * 12}, f"ami-1 is of account {'2' * 12}, and not of ours, {'1' * 12}"),
        (tagged(image="debian-13", digest="d"), "ami-1 is of debian-13, and not of debian-12"),
        ({"Tags": []}, "ami-1 is of an image that is not ours, and not of debian-12"),
        (tagged(image="debian-12", digest="e"), "ami-1 is of other content than its receipt says"),
        ({"State": "pending"}, "ami-1 is pending, and not available"),
    ],
)
def test_another_image_is_not_launched(change, said):
    assert told({**IMAGE, **change}) == [said]


def test_an_image_that_is_gone_is_not_launched():
    assert told(None) == ["ami-1 is not there any more"]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("account", "2" * 12, f"but aws is now {'2' * 12} in us-east-1"),
        ("region", "eu-central-1", f"but aws is now {'1' * 12} in eu-central-1"),
        ("id", "another", "and has forgotten what it held"),
    ],
)
def test_another_account_region_or_cloud_is_told(key, value, said):
    """Whatever image has that id there."""
    there = type("There", (Here,), {key: value})
    (line,) = told(IMAGE, there)
    assert said in line


def types(image: Any, kind: Any, name: str = "m1.small") -> list[str]:
    return [fault.problem for fault in fits.type_faults(image, kind, name)]


def test_an_m1_small_runs_what_is_s3_backed():
    assert types(IMAGE, M1) == []


@pytest.mark.parametrize(
    ("image", "kind", "said"),
    [
        ({"Architecture": "arm64"}, {}, "architecture is arm64, and m1.small has i386 and x86_64"),
        (
            {},
            {"SupportedRootDeviceTypes": ["ebs"]},
            "root device is instance-store, and m1.small has ebs",
        ),
        (
            {},
            {"SupportedVirtualizationTypes": ["hvm"]},
            "virtualization is paravirtual, and m1.small has hvm",
        ),
        ({"BootMode": "uefi"}, {}, "boot mode is uefi, and m1.small has legacy-bios"),
    ],
)
def test_a_type_that_cannot_run_it_is_refused_with_the_reason(image, kind, said):
    (line,) = types({**IMAGE, **image}, {**M1, **kind})
    assert line == f"m1.small cannot run it: the image's {said}"


def test_an_image_that_boots_either_way_boots_on_either():
    assert types({**IMAGE, "BootMode": "uefi-preferred"}, M1) == []


def test_a_type_of_nitro_and_an_image_of_2008_have_nothing_in_common():
    """Every reason is told."""
    nitro: Any = {
        "ProcessorInfo": {"SupportedArchitectures": ["arm64"]},
        "SupportedRootDeviceTypes": ["ebs"],
        "SupportedVirtualizationTypes": ["hvm"],
        "SupportedBootModes": ["uefi"],
    }
    assert len(types(IMAGE, nitro, "t4g.micro")) == 3


# As DescribeInstanceTypes has them, of what matters here.
T3: Any = {
    "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
    "SupportedRootDeviceTypes": ["ebs"],
    "SupportedVirtualizationTypes": ["hvm"],
    "SupportedBootModes": ["legacy-bios", "uefi"],
    "NetworkInfo": {"EnaSupport": "required"},
    "NitroTpmSupport": "supported",
    "EbsInfo": {"EncryptionSupport": "supported"},
}
T2: Any = {
    **T3,
    "SupportedBootModes": ["legacy-bios"],
    "NetworkInfo": {"EnaSupport": "unsupported"},
    "NitroTpmSupport": "unsupported",
}
OF_TODAY: Any = {
    **IMAGE,
    "RootDeviceType": "ebs",
    "VirtualizationType": "hvm",
    "BootMode": "uefi-preferred",
    "EnaSupport": True,
}


def test_an_image_of_today_runs_on_nitro_and_on_xen():
    assert types(OF_TODAY, T3, "t3.micro") == types(OF_TODAY, T2, "t2.micro") == []


@pytest.mark.parametrize(
    ("image", "kind", "said"),
    [
        ({"BootMode": "uefi"}, T2, "the image's boot mode is uefi, and t has legacy-bios"),
        (
            {"BootMode": "legacy-bios"},
            {**T3, "SupportedBootModes": ["uefi"]},
            "the image's boot mode is legacy-bios, and t has uefi",
        ),
        ({"EnaSupport": False}, T3, "its network is ENA's, for which the image is not registered"),
        (
            {"TpmSupport": "v2.0", "BootMode": "uefi-preferred"},
            T2,
            "the image wants a TPM, and t has none",
        ),
        (
            {"BlockDeviceMappings": [{"Ebs": {"Encrypted": True}}]},
            {**T2, "EbsInfo": {"EncryptionSupport": "unsupported"}},
            "the image is encrypted, which t cannot read",
        ),
        ({"Architecture": "i386"}, T3, "the image's architecture is i386, and t has x86_64"),
    ],
)
def test_what_an_image_of_today_needs_and_a_type_has_not_is_told(image, kind, said):
    """Each is one reason, and the way out names a type that runs such images."""
    found: Any = {**OF_TODAY, **image}
    (fault,) = fits.type_faults(found, kind, "t")
    assert fault.problem == f"t cannot run it: {said}"
    usual = "t2.micro" if "Architecture" in image else "t3.micro"
    assert f"--type={usual}" in fault.hint


def test_what_is_s3_backed_does_not_run_on_nitro_and_the_way_out_is_a_type_of_2006():
    image: Any = {**IMAGE, "VirtualizationType": "hvm", "EnaSupport": True}
    found = list(fits.type_faults(image, T3, "t3.micro"))
    assert [fault.problem for fault in found] == [
        "t3.micro cannot run it: the image's root device is instance-store, and t3.micro has ebs"
    ]
    assert "--type=m1.small" in found[0].hint


def test_a_type_that_is_not_there_is_told():
    assert types({}, None, "m9.tiny") == ["there is no instance type m9.tiny in this region"]


def test_one_fault_speaks_for_itself_and_several_at_once():
    """Nobody has to run it three times to hear of three things."""
    one = CloudFault("one", hint="do this")
    assert fits.together([one]) is one
    several = fits.together(
        [one, ConfigFault("two", hint="do that"), CloudFault("three", hint="do this")]
    )
    assert several.problem == "3 things are in the way; nothing was started"
    assert several.evidence == ("one", "two", "three")
    assert several.hint == "do this; do that"
