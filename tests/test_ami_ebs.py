"""The stage `ami` of EBS-backed images: made of a snapshot that is what it should be, and of nothing that was not proved."""

import base64
from functools import partial
from typing import Any

import pytest
from botocore.stub import Stubber

from tasks import ami
from tasks.cloud import ec2, registering
from tasks.cloud.clients import connect
from tasks.kit.fault import CloudFault, ConfigFault, ImageFault
from tasks.spec import record
from tasks.spec.ami import Volume
from tasks.spec.cloud import LOCAL_ACCOUNT, CloudSpec, Ebs
from tests import clouds, localsnapshots, proofs, test_ami
from tests.clouds import LOST, SHA256, elsewhere, relaying

GIB = 1 << 30
BOTH = (proofs.started("bios"), proofs.started("uefi"))
OF_TODAY: dict[str, Any] = {
    "backing": "ebs",
    "virtualization": "hvm",
    "boot_mode": "uefi-preferred",
    "firmwares": ("bios", "uefi"),
    "kernel_id": None,
    "root_device_name": "/dev/xvda",
    "block_devices": {},
    "ena": True,
}
OF_A_GIB = Volume.model_validate({"size": "1 GiB"})
VARIABLES = base64.b64encode(b"AMZNUEFI and more").decode()


def order(spec: CloudSpec = clouds.LOCAL, **more: Any) -> ami.Order:
    return test_ami.order(spec, **{**OF_TODAY, **more})


def labels(image: str = "debian-12", sha256: str = SHA256) -> list[dict[str, str]]:
    told = {"doit-ami:image": image, "doit-ami:sha256": sha256, "doit-ami:digest": "d"}
    return [{"Key": key, "Value": value} for key, value in told.items()]


class Shelf(test_ami.Shelf):
    """Of an image of 1 GiB that was booted by both firmwares, and whose snapshot is there."""

    def __init__(self, at, home, shared, **snapshot: Any) -> None:
        super().__init__(at, home)
        stamp = record.FileStamp(name="debian-12.img", size=GIB, mtime_ns=1, sha256=SHA256)
        record.ImgStamp(file=stamp, layout="hybrid", made=clouds.MADE).write(at / "img.stamp")
        self.booted(*BOTH)
        self.ebs, self.cloud_id = shared.client("ebs"), shared.server.store.id
        self.of(localsnapshots.made(self.ebs, {0: "a"}, **{"Tags": labels(), **snapshot}))

    def of(self, snapshot: str, cloud_id: str | None = None) -> None:
        """The receipt of the upload."""
        self.snapshot = snapshot
        record.UploadReceipt(
            account=LOCAL_ACCOUNT,
            region="us-east-1",
            sha256=SHA256,
            cloud_id=self.cloud_id if cloud_id is None else cloud_id,
            at=clouds.MADE,
            digest="blocks",
            location=snapshot,
        ).write(self.at / "upload.stamp")


@pytest.fixture
def shelf(tmp_path, fresh, home, shared):
    assert fresh
    return Shelf(tmp_path, home, shared)


@pytest.fixture
def make(tmp_path, fresh, home, shared):
    """The same with another snapshot."""
    assert fresh
    return partial(Shelf, tmp_path, home, shared)


@pytest.fixture
def client(cloud):
    return cloud.ec2()


def only(client: Any) -> Any:
    (image,) = client.describe_images(Owners=["self"])["Images"]
    return image


def test_an_image_is_registered_with_everything_said(shelf, client):
    """The root of the snapshot, other volumes, the firmware that was proved; and the receipt names the snapshot."""
    volume = Volume.model_validate(
        {"size": "8 GiB", "iops": 4000, "throughput": 250, "delete_on_termination": False}
    )
    empty = Volume.model_validate({"type": "st1", "size": "125 GiB"})
    wish = order(
        volume=volume, volumes={"/dev/sdf": empty}, block_devices={"ephemeral0": "sdb"}, boot_mode="uefi",
        firmwares=("uefi",), tpm=True,
    )  # fmt: skip
    receipt = shelf.register(wish)
    image = only(client)
    assert (receipt.id, receipt.location) == (image["ImageId"], shelf.snapshot)
    assert {each.firmware for each in receipt.boot.boots} == {"bios", "uefi"}
    mappings = {each["DeviceName"]: each for each in image["BlockDeviceMappings"]}
    assert mappings["/dev/xvda"]["Ebs"] == {
        "SnapshotId": shelf.snapshot,
        "VolumeType": "gp3",
        "VolumeSize": 8,
        "Iops": 4000,
        "Throughput": 250,
        "DeleteOnTermination": False,
        "Encrypted": False,
    }
    assert mappings["/dev/sdf"]["Ebs"]["VolumeSize"] == 125
    assert mappings["/dev/sdf"]["Ebs"]["VolumeType"] == "st1"
    assert mappings["/dev/sdb"] == {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}
    told = {
        key: image[key] for key in ("Architecture", "VirtualizationType", "RootDeviceType", "BootMode")
    }
    assert told == {
        "Architecture": "x86_64",
        "VirtualizationType": "hvm",
        "RootDeviceType": "ebs",
        "BootMode": "uefi",
    }
    assert (image["TpmSupport"], image["ImdsSupport"], image["EnaSupport"]) == ("v2.0", "v2.0", True)
    assert {tag["Key"] for tag in image["Tags"]} == {
        "Name", "doit-ami:image", "doit-ami:digest", "doit-ami:sha256", "team",
    }  # fmt: skip


def test_a_second_run_and_a_lost_receipt_end_in_the_same_image(shelf, client):
    """And the receipt stays the same to the byte."""
    first = shelf.register(order())
    before = (shelf.at / "ami.json").read_bytes()
    shelf.register(order())
    assert (shelf.at / "ami.json").read_bytes() == before
    (shelf.at / "ami.json").unlink()
    assert shelf.register(order()).id == first.id == only(client)["ImageId"]


@pytest.mark.parametrize(
    "change",
    [
        {"volume": Volume(type="gp2")},
        {"volumes": {"/dev/sdf": OF_A_GIB}},
        {"boot_mode": "legacy-bios", "firmwares": ("bios",)},
        {"ena": False},
        {"root_device_name": "/dev/sda1"},
    ],
)
def test_another_order_is_another_image(shelf, client, change):
    assert shelf.register(order()).id != shelf.register(order(**change)).id
    assert len(ec2.ours(client)) == 2


def test_another_snapshot_of_the_same_blocks_is_another_image(shelf, client):
    """The first may be deleted with its image, and takes nothing from the second."""
    first = shelf.register(order())
    shelf.of(localsnapshots.made(shelf.ebs, {0: "a"}, Tags=labels()))
    assert shelf.register(order()).id != first.id


@pytest.mark.usefixtures("credentials")
def test_a_lost_reply_ends_in_one_image(tmp_path, fresh, shared):
    """EC2 did it and the connection broke."""
    with relaying(fresh.url) as relay:
        shelf = Shelf(tmp_path, tmp_path / "home", shared)
        shelf.of(shelf.snapshot, cloud_id="")
        lose = iter([LOST])
        relay.rule = lambda call: next(lose, None) if call.action == "RegisterImage" else None
        receipt = shelf.register(order(elsewhere(relay.url)))
        client = connect(elsewhere(fresh.url), tmp_path).ec2()
        assert [image["ImageId"] for image in ec2.ours(client)] == [receipt.id]


@pytest.mark.parametrize(
    ("boots", "said"),
    [
        ((proofs.started("bios"),), "no boot by uefi"),
        ((proofs.started("uefi"),), "no boot by bios"),
        ((proofs.started("pv-grub"),), "no boot by bios and uefi"),
        ((proofs.started("bios"), proofs.started("uefi", ())), "tells of no check"),
    ],
)
def test_a_firmware_that_was_not_proved_is_not_claimed(shelf, tmp_path, boots, said):
    """And the cloud is not even asked."""
    shelf.booted(*boots)
    shelf.home = tmp_path / "no cloud"
    with pytest.raises(ImageFault, match=said):
        shelf.register(order())
    assert not shelf.home.exists()


def test_a_boot_that_failed_is_told_with_its_firmware_and_its_drive(shelf, client):
    """Although the other went well."""
    bad = proofs.started("uefi", [proofs.LOGIN, test_ami.failed("units", "ssh.service failed")])
    shelf.booted(BOTH[0], bad)
    with pytest.raises(ImageFault) as caught:
        shelf.register(order())
    assert caught.value.evidence == ("uefi, nvme: units: ssh.service failed",)
    assert ec2.ours(client) == []


def test_an_upload_in_the_other_form_is_refused(shelf):
    """Somebody wrote another `backing:` since."""
    with pytest.raises(
        ImageFault, match=r"(?s)speaks of snap-.* is to be S3-backed.*doit upload:debian-12"
    ):
        shelf.register(test_ami.order())
    shelf.of("bucket/debian-12/x.manifest.xml")
    with pytest.raises(ImageFault, match=r"speaks of bucket/.* is to be EBS-backed"):
        shelf.register(order())


def test_a_snapshot_that_is_gone_is_told_with_what_to_delete(shelf, client):
    client.delete_snapshot(SnapshotId=shelf.snapshot)
    with pytest.raises(
        CloudFault, match=rf"(?s){shelf.snapshot}, of which .* is gone.*delete .*upload.stamp and run"
    ):
        shelf.register(order())
    assert ec2.ours(client) == []


@pytest.mark.parametrize(
    ("snapshot", "said"),
    [
        ({"Tags": labels(image="rocky-9")}, "bears no tag doit-ami:image that says debian-12"),
        ({"Tags": labels(sha256="f" * 64)}, "is of another disk image"),
        ({"VolumeSize": 2}, "has 2 GiB, and the disk image 1"),
    ],
)
def test_a_snapshot_that_is_another_is_not_registered(make, client, snapshot, said):
    with pytest.raises(CloudFault, match=said):
        make(**snapshot).register(order())
    assert ec2.ours(client) == []


def test_a_snapshot_that_is_still_written_is_not_registered(shelf, client):
    shelf.of(localsnapshots.started(shelf.ebs, {0: "a"}, Tags=labels()))
    with pytest.raises(CloudFault, match=r"is pending, 0% of it"):
        shelf.register(order())
    assert ec2.ours(client) == []


def test_where_the_cloud_encrypts_so_are_the_snapshot_and_the_empty_volumes(make, client):
    """What comes from a snapshot is as the snapshot, without a word; what is plain is refused."""
    spec = clouds.LOCAL.model_copy(update={"ebs": Ebs(encrypted=True)})
    wish = order(spec, volumes={"/dev/sdf": OF_A_GIB})
    with pytest.raises(CloudFault, match=r"is not encrypted, as `ebs.encrypted` wants it"):
        make().register(wish)
    make(Encrypted=True).register(wish)
    mappings = only(client)["BlockDeviceMappings"]
    assert [each["Ebs"]["Encrypted"] for each in mappings] == [True, True]


def test_a_snapshot_that_the_account_encrypted_of_itself_is_taken(make, client):
    """Nobody can say no to that."""
    make(Encrypted=True).register(order())
    assert only(client)["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True


class Noting(clouds.Heard):
    """It notes nothing, or the test fails."""

    def noted(self, text: str) -> None:
        raise AssertionError(text)


def with_variables(shelf: Shelf, wish: ami.Order, text: str) -> None:
    path = shelf.at / "variables"
    path.write_text(text)
    names = {"upload": "upload.stamp", "img": "img.stamp", "boot": "boot.json", "scan": "scan.json"}
    names |= {"ami_id": "ami-id", "receipt": "ami.json"}
    paths: Any = {key: shelf.at / name for key, name in names.items()}
    ami.body(wish, report=Noting(), home=shelf.home, uefi_data=path, **paths)


def test_uefi_variables_are_given_and_seen_to_be_held(shelf, client):
    """As base64 in lines, or in one; other variables are another image."""
    wish = order(uefi_data="variables")
    with_variables(shelf, wish, VARIABLES[:10] + "\n" + VARIABLES[10:] + "\n")
    held = client.describe_image_attribute(ImageId=only(client)["ImageId"], Attribute="uefiData")
    assert held["UefiData"]["Value"] == VARIABLES
    with_variables(shelf, wish, VARIABLES)
    assert only(client)
    with_variables(shelf, wish, base64.b64encode(b"AMZNUEFI other").decode())
    assert len(ec2.ours(client)) == 2


@pytest.mark.parametrize("text", ["", "no base64!", "QU1aTlVFRkk" * 9000])
def test_what_is_no_variable_store_is_refused(shelf, client, text):
    with pytest.raises(ConfigFault, match=r"(?s)is no UEFI variable store.*uefivars"):
        with_variables(shelf, order(uefi_data="variables"), text)
    assert ec2.ours(client) == []


def test_variables_that_are_not_held_are_a_fault_and_those_that_may_not_be_seen_are_none(client):
    """What EC2 keeps of them is its own affair, until it says so."""
    with Stubber(client) as stub:
        for value in ({"Value": "b3RoZXI="}, {}):
            stub.add_response("describe_image_attribute", {"ImageId": "ami-1", "UefiData": value})
        stub.add_client_error("describe_image_attribute", "UnauthorizedOperation")
        for kept in ("others", "none"):
            with pytest.raises(CloudFault, match=f"UefiData: it holds {kept}"):
                registering.holds(client, "ami-1", VARIABLES)
        assert not registering.holds(client, "ami-1", VARIABLES)


def test_an_ec2_that_keeps_less_than_it_is_told_is_found_out(
    account, moto, tmp_path, fresh, home, shared
):
    """moto is such a one: it forgets architecture, virtualization, ENA, IMDS and tags, and makes the root of a snapshot of its own.
    EC2's model describes them all: the local cloud is right.
    """
    assert fresh
    client = account.ec2()
    volume = client.create_volume(Size=1, AvailabilityZone="us-east-1a")["VolumeId"]
    snapshot = client.create_snapshot(VolumeId=volume)["SnapshotId"]
    client.create_tags(Resources=[snapshot], Tags=labels())
    shelf = Shelf(tmp_path, home, shared)
    shelf.of(snapshot, cloud_id="")
    with pytest.raises(CloudFault, match=r"ami-\w+ is not as it was asked for") as caught:
        shelf.register(order(elsewhere(moto), volume=Volume(type="gp2")))
    told = {line.partition(": asked for")[0] for line in caught.value.evidence}
    assert {"Architecture", "BootMode", "EnaSupport", "volume /dev/xvda: SnapshotId"} <= told
    assert not (shelf.at / "ami-id").exists()
