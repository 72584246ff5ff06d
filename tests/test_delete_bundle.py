"""The stage `delete_bundle`: a bundle, however large, and nothing beside it; never one that an image is made of."""

import pytest
from moto.s3.models import s3_backends

from tasks import delete_bundle, upload
from tasks.cloud.clients import connect
from tasks.kit.fault import CloudFault, ConfigFault, HostFault
from tasks.spec import names
from tasks.spec.record import UploadReceipt
from tests import clouds
from tests.clouds import Call, Reply, elsewhere, refusing
from tests.endings import BUCKET, IMAGE, Place, moto, place
from tests.seaweeds import ACCOUNT, client, seaweed, weeds

__all__ = ["moto", "place", "seaweed", "weeds"]


def run(
    place: Place, *, manifest: str = "", prefix: str = "", clear: bool = False, yes: bool = True
) -> None:
    delete_bundle.body(
        delete_bundle.Order(image=IMAGE, cloud=place.spec),
        home=place.at,
        upload=place.shelf.upload,
        manifest=manifest,
        prefix=prefix,
        clear=clear,
        yes=yes,
    )


def put(place: Place, *keys: str) -> None:
    for key in keys:
        place.s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")


def test_the_bundle_of_the_receipt_goes_and_the_receipt_with_it(place):
    """And nothing beside it."""
    other = place.upload("two")
    place.upload("one")
    run(place)
    assert {f"{BUCKET}/{key}".rpartition("/")[0] for key in place.objects()} == {
        other.rpartition("/")[0]
    }
    assert place.receipts() == []
    run(place, manifest=other)
    assert place.objects() == []


def test_the_manifest_goes_first_so_that_nobody_finds_half_a_bundle(place):
    place.upload()
    place.relay.seen.clear()
    run(place)
    deletions = [call.body for call in place.relay.seen if call.path.endswith("?delete")]
    assert len(deletions) == 2
    assert b".manifest.xml" in deletions[0]
    assert b".part." not in deletions[0]
    assert deletions[1].count(b".part.") == 3
    owners = {
        call.headers.get("x-amz-expected-bucket-owner")
        for call in place.relay.seen
        if call.path.startswith(f"/{BUCKET}")
    }
    assert owners == {ACCOUNT}


def test_a_bundle_that_an_image_is_made_of_is_refused(place):
    """With the command that makes it free."""
    id_, location = place.made()
    with pytest.raises(
        CloudFault, match=rf"(?s)refused.*{id_} is made of it: doit deregister:debian-12 --ami={id_}"
    ):
        run(place)
    with pytest.raises(CloudFault, match="is made of it"):
        run(place, prefix=f"{BUCKET}/{IMAGE}")
    assert len(place.objects()) == 4
    assert place.receipts() == ["ami-id", "ami.json", "upload.stamp"]
    place.s3.delete_object(Bucket=BUCKET, Key=location.partition("/")[2])
    with pytest.raises(CloudFault, match="is made of it"):
        run(place)
    assert len(place.objects()) == 3, "even if its manifest is gone"


def test_a_prefix_is_a_folder_or_a_name_and_never_half_a_word(place, capsys):
    """debian-12 is not debian-12-arm64; what is no bundle's file stays."""
    place.s3.create_bucket(Bucket=BUCKET)
    ours = (
        "debian-12/a/x.manifest.xml",
        "debian-12/a/x.part.0",
        "debian-12/a/x.part.12",
        "debian-12/b/y.part.0",
    )
    named = ("debian-12.manifest.xml", "debian-12.part.0")
    others = (
        "debian-12-arm64/a/x.manifest.xml",
        "debian-12.img.part.0",
        "debian-12/photo.jpg",
        "debian-12/a/x.part.1b",
    )
    put(place, *ours, *named, *others)
    run(place, prefix=f"{BUCKET}/debian-12/")
    assert set(place.objects()) == set(others)
    assert "no file of a bundle is called so" in capsys.readouterr().out


def test_unfinished_uploads_of_it_are_ended_and_no_others(place):
    place.upload()
    for key in ("debian-12/a/x.part.0", "debian-12-arm64/a/x.part.0"):
        place.s3.create_multipart_upload(Bucket=BUCKET, Key=key)
    run(place, prefix=f"{BUCKET}/debian-12")
    left = place.s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    assert [each["Key"] for each in left] == ["debian-12-arm64/a/x.part.0"]


def test_more_than_a_thousand_objects(place):
    """In batches of a thousand, which is all that S3 takes."""
    stem = place.upload().removeprefix(f"{BUCKET}/").removesuffix(".manifest.xml")
    for number in range(3, 2101):
        s3_backends[ACCOUNT]["aws"].put_object(BUCKET, f"{stem}.part.{number}", b"x")
    place.relay.seen.clear()
    run(place)
    deletions = [call.body for call in place.relay.seen if call.path.endswith("?delete")]
    assert [body.count(b"<Key>") for body in deletions] == [1, 1000, 1000, 101]
    assert place.objects() == []


def test_what_s3_refuses_inside_its_reply_is_a_fault(place):
    """It says 200 to the whole."""
    place.upload()

    def rule(call: Call) -> Reply | None:
        if not call.path.endswith("?delete"):
            return None
        body = "<DeleteResult><Error><Key>k</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"
        return Reply(200, body.encode(), {"Content-Type": "application/xml"})

    place.relay.rule = rule
    with pytest.raises(CloudFault, match=r"(?s)1 object.*k: AccessDenied: no.*s3:DeleteObject"):
        run(place)
    assert place.receipts() == ["upload.stamp"]


def test_killed_after_the_manifest_the_next_run_takes_the_parts(place):
    """By the receipt, and without it by the manifest's name or the folder's."""
    location = place.upload()
    place.s3.delete_object(Bucket=BUCKET, Key=location.partition("/")[2])
    run(place)
    assert (place.objects(), place.receipts()) == ([], [])
    for way in ({"manifest": location}, {"prefix": f"{BUCKET}/debian-12"}):
        place.upload()
        place.s3.delete_object(Bucket=BUCKET, Key=location.partition("/")[2])
        place.shelf.upload.unlink()
        run(place, **way)
        assert place.objects() == []


def test_the_bucket_goes_when_it_is_empty_and_ours(place):
    place.upload()
    run(place, clear=True)
    assert place.s3.list_buckets()["Buckets"] == []
    run(place, prefix=f"{BUCKET}/x", clear=True)


@pytest.mark.parametrize(
    ("spoiled", "reason"),
    [("more", "it holds other things: else"), ("foreign", "it bears no tag"), ("versioned", "it keeps versions")],
)  # fmt: skip
def test_the_bucket_stays_when_not(place, spoiled, reason):
    """The bundle goes all the same, and the task fails."""
    place.upload()
    if spoiled == "more":
        put(place, "else")
    elif spoiled == "foreign":
        place.s3.delete_bucket_tagging(Bucket=BUCKET)
    else:
        on = {"Status": "Enabled"}
        place.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=on)
    with pytest.raises(CloudFault, match=f"(?s)1 of what was asked for was refused.*{reason}"):
        run(place, clear=True)
    assert place.objects() == (["else"] if spoiled == "more" else [])


def test_of_a_bucket_that_keeps_versions_it_is_said_that_they_remain(place, capsys):
    place.upload()
    place.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})
    run(place)
    assert "it keeps versions: what is deleted is hidden in it, and costs" in capsys.readouterr().out


def test_a_bucket_of_somebody_else_is_refused(place):
    """S3 says 403 when the owner is not the one we expect; moto never does."""
    place.relay.rule = lambda call: refusing("AccessDenied") if call.method == "HEAD" else None
    with pytest.raises(CloudFault, match="the bucket theirs is not account 123456789012's"):
        run(place, prefix="theirs/x")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no receipt speaks of a bundle of debian-12"),
        ({"manifest": "b/x.manifest.xml", "prefix": "b/x"}, "mean different places"),
        ({"manifest": "b/x"}, "is no manifest's place"),
        ({"prefix": "b/"}, "is a whole bucket"),
    ],
)
def test_what_is_no_place_is_refused(place, options, message):
    with pytest.raises(ConfigFault, match=message):
        run(place, **options)


def test_nobody_there_to_ask_nothing_is_changed(place):
    location = place.upload()
    command = f"doit delete_bundle:debian-12 --manifest={location} --clear --yes"
    with pytest.raises(HostFault, match=command):
        run(place, manifest=location, clear=True, yes=False)
    assert len(place.objects()) == 4


def test_on_the_local_cloud_bundle_and_bucket_go(fresh, home, cloud, tmp_path):
    """It is as strict as AWS: owner, tags, an empty bucket."""
    assert fresh
    manifest, stamp = clouds.bundle(tmp_path / "bundle", size=100)
    receipt = tmp_path / "upload.stamp"
    wish = upload.Order(image=IMAGE, cloud=clouds.LOCAL)
    upload.body(wish, report=clouds.Heard(), manifest=manifest, bundle=stamp, home=home, receipt=receipt)
    part = UploadReceipt.read(receipt).objects[0].key
    cloud.s3().create_multipart_upload(Bucket=BUCKET, Key=part)
    order = delete_bundle.Order(image=IMAGE, cloud=clouds.LOCAL)
    delete_bundle.body(order, home=home, upload=receipt, manifest="", prefix="", clear=True, yes=True)
    assert cloud.s3().list_buckets()["Buckets"] == []
    assert not receipt.exists()


@pytest.mark.parametrize("uploaded", [True, False])
def test_an_ebs_backed_image_has_no_bundle_and_one_is_told_what_to_type(place, uploaded):
    """By its receipt, or by its configuration; a bundle of before is still found by its name."""
    before = place.upload()
    proof = UploadReceipt.read(place.shelf.upload)
    proof.model_copy(update={"location": "snap-1"}).write(place.shelf.upload)
    if not uploaded:
        place.shelf.upload.unlink()
    order = delete_bundle.Order(image=IMAGE, cloud=place.spec, backing="ebs")
    paths = {"home": place.at, "upload": place.shelf.upload}
    with pytest.raises(
        ConfigFault, match=r"(?s)is EBS-backed: there is no bundle.*doit deregister:debian-12"
    ):
        delete_bundle.body(order, **paths, manifest="", prefix="", clear=False, yes=True)
    delete_bundle.body(order, **paths, manifest=before, prefix="", clear=False, yes=True)
    assert place.objects() == []
    assert place.receipts() == (["upload.stamp"] if uploaded else [])


def test_to_look_makes_no_local_cloud(tmp_path, capsys):
    """There is nothing in it."""
    order = delete_bundle.Order(image=IMAGE, cloud=clouds.LOCAL)
    paths = {"home": tmp_path / "cloud", "upload": tmp_path / "upload.stamp"}
    delete_bundle.body(order, **paths, manifest="", prefix="", clear=False, yes=True)
    assert "no local cloud was made here" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_on_somebody_elses_s3_a_bundle_goes_up_and_is_deleted(weeds, tmp_path):
    """SeaweedFS: signatures, checksums and pages are checked there, and a batch of 1,001 refused. More than a thousand objects.

    It knows no public access block (501; AWS does), so the bucket is one that a user made; a bucket of another account
    is served to us (AWS says 403); the ACL aws-exec-read is taken and not kept. In the rest it is as AWS.
    """
    direct, bucket = client(weeds.upstream), f"own-{tmp_path.name.replace('_', '-')[:40].lower()}"
    direct.create_bucket(Bucket=bucket, ObjectOwnership="BucketOwnerPreferred")
    direct.put_bucket_ownership_controls(
        Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]}
    )
    spec = elsewhere(weeds.url, bucket=bucket)
    manifest, stamp = clouds.bundle(tmp_path / "bundle", parts=1100, size=64)
    receipt = tmp_path / "upload.stamp"
    order = upload.Order(image=IMAGE, cloud=spec)
    upload.body(
        order, report=clouds.Heard(), manifest=manifest, bundle=stamp, home=tmp_path, receipt=receipt
    )
    direct.put_object(Bucket=bucket, Key="else", Body=b"x")

    part = UploadReceipt.read(receipt).objects[0].key
    direct.create_multipart_upload(Bucket=bucket, Key=part)

    answered = weeds.rule
    no_images = b"<DescribeImagesResponse><imagesSet/></DescribeImagesResponse>"  # it is no EC2
    weeds.rule = lambda call: (
        Reply(200, no_images) if call.action == "DescribeImages" else answered(call)
    )
    gone = delete_bundle.Order(image=IMAGE, cloud=spec)
    options = {"manifest": "", "prefix": "", "yes": True, "upload": receipt, "home": tmp_path}
    delete_bundle.body(gone, **options, clear=False)
    assert [each["Key"] for each in direct.list_objects_v2(Bucket=bucket)["Contents"]] == ["else"]
    assert "Uploads" not in direct.list_multipart_uploads(Bucket=bucket)
    assert not receipt.exists()

    direct.delete_object(Bucket=bucket, Key="else")
    tags = [{"Key": names.BUCKET_TAG, "Value": bucket}]
    direct.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    delete_bundle.body(gone, **{**options, "prefix": f"{bucket}/x"}, clear=True)
    assert bucket not in {each["Name"] for each in direct.list_buckets()["Buckets"]}
    assert connect(spec, tmp_path).account == ACCOUNT
