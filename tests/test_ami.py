"""The stage `ami`: one content, one image, however often it is asked for and whatever gets lost; and nothing unproven."""

from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber

from tasks import ami, upload
from tasks.cloud import ec2, registering
from tasks.cloud.clients import connect
from tasks.kit import files
from tasks.kit.fault import CloudFault, ImageFault
from tasks.spec import record
from tasks.spec.ami import Volume
from tasks.spec.cloud import CloudSpec
from tasks.spec.model import Image
from tests import clouds, proofs
from tests.clouds import LOST, SHA256, elsewhere, relaying

OTHER = "f" * 64


def order(spec: CloudSpec = clouds.LOCAL, **more: Any) -> ami.Order:
    told: dict[str, Any] = {
        "image": "debian-12",
        "cloud": spec,
        "name": "debian-12-{date}-{digest}",
        "description": "",
        "architecture": "x86_64",
        "backing": "s3",
        "virtualization": "paravirtual",
        "boot_mode": None,
        "firmwares": (),
        "kernel_id": "aki-919dcaf8",
        "ramdisk_id": None,
        "root_device_name": "/dev/sda1",
        "block_devices": {"ami": "sda1", "root": "/dev/sda1", "ephemeral0": "sdb"},
        "volume": Volume(),
        "volumes": {},
        "imds": "v2",
        "ena": False,
        "tpm": False,
        "uefi_data": None,
        "tags": {"team": "images"},
    }
    return ami.Order(**{**told, **more})


class Shelf:
    """The stage's paths, and all it reads, well made."""

    def __init__(self, at: Path, home: Path) -> None:
        self.at, self.home = at, home
        self.manifest, self.bundle = clouds.bundle(at / "bundle")
        stamp = record.FileStamp(name="debian-12.img", size=1, mtime_ns=1, sha256=SHA256)
        record.ImgStamp(file=stamp, layout="none", made=clouds.MADE).write(at / "img.stamp")
        self.scanned()
        self.booted()

    def scanned(self, *findings: tuple[str, str], sha256: str = SHA256) -> None:
        found = tuple(record.Finding(path=path, reason=reason) for path, reason in findings)
        record.ScanReport(sha256=sha256, files=9, findings=found).write(self.at / "scan.json")

    def booted(self, *boots: record.Started, sha256: str = SHA256) -> None:
        proofs.report(*boots, sha256=sha256).write(self.at / "boot.json")

    def upload(self, spec: CloudSpec = clouds.LOCAL) -> None:
        wish = upload.Order(image="debian-12", cloud=spec)
        paths = {"manifest": self.manifest, "bundle": self.bundle, "receipt": self.at / "upload.stamp"}
        upload.body(wish, report=clouds.Heard(), home=self.home, **paths)

    def register(self, wish: ami.Order) -> record.AmiReceipt:
        ami.body(
            wish,
            report=clouds.Heard(),
            upload=self.at / "upload.stamp",
            img=self.at / "img.stamp",
            boot=self.at / "boot.json",
            scan=self.at / "scan.json",
            home=self.home,
            ami_id=self.at / "ami-id",
            receipt=self.at / "ami.json",
        )
        return record.AmiReceipt.read(self.at / "ami.json")


@pytest.fixture
def shelf(tmp_path, fresh, home):
    assert fresh
    shelf = Shelf(tmp_path, home)
    shelf.upload()
    return shelf


@pytest.fixture
def client(cloud):
    return cloud.ec2()


def test_an_image_is_registered_with_everything_said(shelf, client, fresh):
    """The bare id, the evidence, the tags; and EC2 describes what was asked for."""
    receipt = shelf.register(order())
    assert (shelf.at / "ami-id").read_text() == f"{receipt.id}\n"
    assert receipt.name == f"debian-12-20261123-{receipt.digest[:12]}"
    assert receipt.boot.boots[0].checks[0].name == "login"
    assert (receipt.sha256, receipt.cloud_id, receipt.account) == (SHA256, fresh.id, fresh.account)
    (image,) = client.describe_images(Owners=["self"])["Images"]
    assert image["ImageLocation"] == receipt.location
    assert (image["Architecture"], image["VirtualizationType"], image["KernelId"]) == (
        "x86_64",
        "paravirtual",
        "aki-919dcaf8",
    )
    assert image["BlockDeviceMappings"] == [{"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}]
    assert image["ImdsSupport"] == "v2.0"
    assert {tag["Key"]: tag["Value"] for tag in image["Tags"]} == {
        "Name": receipt.name,
        "doit-ami:image": "debian-12",
        "doit-ami:digest": receipt.digest,
        "doit-ami:sha256": SHA256,
        "team": "images",
    }


def test_a_second_run_and_a_lost_receipt_end_in_the_same_image(shelf, client):
    """Found by its tag, not by anything kept here; the receipt stays the same to the byte."""
    first = shelf.register(order())
    before = (shelf.at / "ami.json").read_bytes()
    shelf.register(order())
    assert (shelf.at / "ami.json").read_bytes() == before
    for path in ("ami.json", "ami-id"):
        (shelf.at / path).unlink()
    assert shelf.register(order()).id == first.id
    assert len(ec2.ours(client)) == 1


def test_the_same_content_made_again_another_day_is_the_same_image(shelf, client):
    """The date in a name is no content."""
    first = shelf.register(order())
    stamp = record.ImgStamp.read(shelf.at / "img.stamp")
    stamp.model_copy(update={"made": clouds.MADE.replace(day=24)}).write(shelf.at / "img.stamp")
    assert shelf.register(order()).name == first.name
    assert len(ec2.ours(client)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"description": "two"},
        {"tags": {}},
        {"imds": "optional"},
        {"kernel_id": None},
        {"architecture": "i386"},
    ],
)
def test_another_order_is_another_image(shelf, client, change):
    first, second = shelf.register(order()), shelf.register(order(**change))
    assert first.id != second.id
    assert len(ec2.ours(client)) == 2


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(("times", "tries"), [(1, 2), (5, 5)], ids=["once", "always"])
def test_a_lost_reply_ends_in_one_image(tmp_path, fresh, times, tries):
    """EC2 did it and the connection broke: the name is taken when we ask again, and it is ours."""
    with relaying(fresh.url) as relay:
        shelf = Shelf(tmp_path, tmp_path / "home")
        shelf.upload(elsewhere(relay.url))
        lose = iter([LOST] * times)
        relay.rule = lambda call: next(lose, None) if call.action == "RegisterImage" else None
        receipt = shelf.register(order(elsewhere(relay.url)))
        asked = [call for call in relay.seen if call.action == "RegisterImage"]
        client = connect(elsewhere(fresh.url), tmp_path).ec2()
        assert [image["ImageId"] for image in ec2.ours(client)] == [receipt.id]
        assert receipt.cloud_id == ""
    assert len(asked) == tries


def test_lists_that_lag_behind_are_waited_for(shelf, client):
    """The name is taken, but no image shows yet: we look until it does, and then stop."""
    wish = ami.wished(
        order(),
        stored := record.UploadReceipt.read(shelf.at / "upload.stamp"),
        record.ImgStamp.read(shelf.at / "img.stamp"),
        ami.Source(stored.location, 1),
    )
    mine = {
        "ImageId": "ami-1",
        "State": "available",
        "Tags": wish.request["TagSpecifications"][0]["Tags"],
    }
    described = {
        **{key: value for key, value in wish.request.items() if key != "TagSpecifications"},
        **mine,
    }
    with Stubber(client) as stub:
        stub.add_response("describe_images", {"Images": []})
        stub.add_response("describe_images", {"Images": []})
        stub.add_client_error("register_image", "InvalidAMIName.Duplicate")
        stub.add_response("describe_images", {"Images": []})
        stub.add_response("describe_images", {"Images": []})
        stub.add_response("describe_images", {"Images": [described]})
        stub.add_response(
            "describe_images", {"Images": [{**described, "RootDeviceType": "instance-store"}]}
        )
        assert registering.obtained(client, wish, pause=lambda _: None)["ImageId"] == "ami-1"
        stub.assert_no_pending_responses()
    with Stubber(client) as stub:
        for _ in range(2 * 31):
            stub.add_response("describe_images", {"Images": []})
        with pytest.raises(CloudFault, match=r"(?s)is not known: EC2's answer was lost.*run doit again"):
            registering.emerging(client, wish, lambda _: None)
        stub.assert_no_pending_responses()


def test_several_images_of_one_content_are_a_fault(shelf, client):
    """Somebody copied ours: which is meant is not ours to guess."""
    first = shelf.register(order())
    copy = client.register_image(Name="copy", ImageLocation=first.location)["ImageId"]
    client.create_tags(Resources=[copy], Tags=[{"Key": "doit-ami:digest", "Value": first.digest}])
    with pytest.raises(
        CloudFault, match=r"(?s)2 images hold this very content.*ami-.*ami-.*deregister-image"
    ):
        shelf.register(order())


def test_a_name_that_holds_other_content_is_a_fault(shelf):
    """A name without {digest} is taken by the image of before."""
    first = shelf.register(order(name="debian-12"))
    with pytest.raises(
        CloudFault,
        match=rf"(?s)the name debian-12 is taken by {first.id}.*\(debian-12\).*write {{digest}}",
    ):
        shelf.register(order(name="debian-12", description="other"))


def test_an_image_that_was_changed_is_not_taken_for_ours(shelf, client):
    """The differences are named."""
    first = shelf.register(order())
    client.create_tags(Resources=[first.id], Tags=[{"Key": "doit-ami:sha256", "Value": "x"}])
    with pytest.raises(
        CloudFault,
        match=rf"(?s){first.id} is not as it was asked for.*tag doit-ami:sha256: asked for {SHA256}, is x",
    ):
        shelf.register(order())


def test_a_disabled_image_is_not_doubled(shelf, client):
    """Its name is taken, and its content is ours."""
    first = shelf.register(order())
    client.disable_image(ImageId=first.id)
    with pytest.raises(CloudFault, match=rf"(?s){first.id} is disabled.*enable-image"):
        shelf.register(order())


def failed(name: str, detail: str) -> record.Check:
    return record.Check(name=name, passed=False, detail=detail)


def test_what_did_not_boot_is_not_registered(shelf, client):
    """Every failed check is named."""
    checks = (proofs.LOGIN, failed("units", "ssh.service failed"), failed("clock", "off by 3 h"))
    shelf.booted(proofs.started(checks=checks))
    with pytest.raises(
        ImageFault, match=r"(?s)did not boot as it should.*units: ssh.service failed.*clock: off by 3 h"
    ):
        shelf.register(order())
    shelf.booted(proofs.started(checks=()))
    with pytest.raises(ImageFault, match="tells of no check"):
        shelf.register(order())
    (shelf.at / "boot.json").unlink()
    with pytest.raises(ImageFault, match=r"boot.json is missing"):
        shelf.register(order())
    assert ec2.ours(client) == []
    assert not (shelf.at / "ami-id").exists()


def test_what_did_not_pass_the_scan_is_not_registered(shelf, client):
    """Twenty files and reasons, and how many more."""
    shelf.scanned(*((f"/root/key{number}", "a private key") for number in range(23)))
    with pytest.raises(ImageFault) as caught:
        shelf.register(order())
    text = str(caught.value)
    assert "the scan found 23 thing(s) in debian-12.img" in text
    assert "/root/key0: a private key" in text
    assert "/root/key19: a private key" in text
    assert "/root/key20" not in text
    assert "and 3 more" in text
    assert ec2.ours(client) == []


@pytest.mark.parametrize("evidence", ["boot.json", "scan.json", "the upload"])
def test_evidence_of_another_image_is_no_evidence(shelf, evidence):
    if evidence == "boot.json":
        shelf.booted(sha256=OTHER)
    elif evidence == "scan.json":
        shelf.scanned(sha256=OTHER)
    else:
        receipt = record.UploadReceipt.read(shelf.at / "upload.stamp")
        receipt.model_copy(update={"sha256": OTHER}).write(shelf.at / "upload.stamp")
    with pytest.raises(ImageFault, match=rf"{evidence} is of another image \(ffffffffffff\)"):
        shelf.register(order())


@pytest.mark.parametrize("name", ["upload.stamp", "img.stamp", "boot.json", "scan.json"])
def test_a_record_that_was_edited_is_not_believed(shelf, name):
    text = (shelf.at / name).read_text()
    (shelf.at / name).write_text(text.replace('"seal": "', '"seal": "0', 1))
    with pytest.raises(ImageFault, match=rf"{name} was changed"):
        shelf.register(order())


def test_a_bundle_that_lies_in_another_account_or_in_a_cloud_that_is_no_more(shelf):
    receipt = record.UploadReceipt.read(shelf.at / "upload.stamp")
    receipt.model_copy(update={"account": "210987654321"}).write(shelf.at / "upload.stamp")
    with pytest.raises(
        CloudFault,
        match=r"(?s)uploaded to account 210987654321 in us-east-1, but local is now 123456789012",
    ):
        shelf.register(order())
    receipt.model_copy(update={"cloud_id": "gone"}).write(shelf.at / "upload.stamp")
    with pytest.raises(CloudFault, match="and has forgotten what it held"):
        shelf.register(order())


def test_the_id_is_written_last(shelf, monkeypatch):
    """Whoever finds an ami-id finds its receipt too."""
    written: list[str] = []
    write = files.write

    def watched(path: Path, *told: Any, **more: Any) -> None:
        written.append(path.name)
        write(path, *told, **more)

    monkeypatch.setattr(files, "write", watched)
    shelf.register(order())
    assert written == ["ami.json", "ami-id"]


def test_a_name_that_grows_too_long_is_refused(shelf):
    """The template fits, what is filled in does not."""
    with pytest.raises(CloudFault, match=r"(?s)is no name for an image.*ami.name.*shorten"):
        shelf.register(order(image="i" * 120, name="{image}-{digest}"))


def test_an_order_is_made_of_the_configuration():
    """Every key of `ami:` reaches the order."""
    image = Image.model_validate({
        "name": "debian-12", "distro": "debian", "release": "bookworm", "architecture": "i386", "packages": ["x"],
        "disk": {"size": "1 GiB"}, "ami": {"volume": {"size": "8 GiB"}, "tags": {"a": "b"}},
    })  # fmt: skip
    made = ami.Order.of(image, clouds.LOCAL)
    assert set(type(image.ami).model_fields) <= set(ami.Order.model_fields)
    assert all(getattr(made, key) == value for key, value in image.ami if key != "boot_mode")
    assert (made.image, made.architecture, made.boot_mode, made.firmwares) == (
        "debian-12",
        "i386",
        "legacy-bios",
        ("bios",),
    )
