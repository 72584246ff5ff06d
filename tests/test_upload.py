"""The stage `upload`: whole, private, resumed, and never said to be there when it is not."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tasks import upload
from tasks.cloud import clients, s3
from tasks.cloud.clients import connect
from tasks.kit.fault import CloudFault, ImageFault
from tasks.spec import record
from tasks.spec.cloud import LOCAL_ACCOUNT, CloudSpec
from tasks.spec.record import BundleStamp, UploadReceipt
from tests import clouds
from tests.clouds import LOST, Reply, elsewhere, refusing, relaying

BUCKET = f"doit-ami-{LOCAL_ACCOUNT}-us-east-1"
ROOT = str(Path(__file__).parents[1])

CHILD = """
import sys; from pathlib import Path
from tasks import upload; from tasks.kit.report import Silent
order = upload.Order.model_validate_json(sys.argv[1]); at = Path(sys.argv[2])
upload.body(order, report=Silent(), manifest=at / "bundle" / sys.argv[3], bundle=at / "bundle.stamp",
            home=at / "home", receipt=at / "upload.stamp")
"""


@pytest.fixture
def made(tmp_path):
    """A bundle's folder, with the stage's paths in it."""
    clouds.bundle(tmp_path / "bundle")
    return tmp_path


def sent(
    made: Path, spec: CloudSpec, *, home: Path | None = None, report: clouds.Heard | None = None
) -> UploadReceipt:
    """The stage, run; its receipt."""
    paths = {
        "manifest": made / "bundle" / clouds.MANIFEST,
        "bundle": made / "bundle.stamp",
        "receipt": made / "upload.stamp",
    }
    order = upload.Order(image="debian-12", cloud=spec)
    upload.body(order, report=report or clouds.Heard(), home=home or made / "home", **paths)
    return UploadReceipt.read(made / "upload.stamp")


def test_a_bundle_lies_in_the_bucket_whole(made, fresh, home, cloud):
    """Keys from the content, the receipt from what the bucket says, progress to the last byte."""
    report, stamp = clouds.Heard(), BundleStamp.read(made / "bundle.stamp")
    receipt = sent(made, clouds.LOCAL, home=home, report=report)
    prefix = f"debian-12/{stamp.digest[:16]}/"
    assert receipt.location == f"{BUCKET}/{prefix}{clouds.MANIFEST}"
    assert [item.key for item in receipt.objects] == [
        prefix + name for name in [*(p.name for p in stamp.parts), clouds.MANIFEST]
    ]
    assert (receipt.account, receipt.region, receipt.cloud_id) == (LOCAL_ACCOUNT, "us-east-1", fresh.id)
    assert (receipt.sha256, receipt.digest) == (stamp.sha256, stamp.digest)
    s3client = cloud.s3()
    for item in receipt.objects:
        body = s3client.get_object(Bucket=BUCKET, Key=item.key)["Body"].read()
        assert body == (made / "bundle" / Path(item.key).name).read_bytes()
    total = sum(item.size for item in receipt.objects)
    assert report.steps[-1] == (total, total)
    assert [done for done, _ in report.steps] == sorted(done for done, _ in report.steps)


def test_a_prefix_and_a_bucket_of_ones_own(made, fresh, home):
    """The region is filled in; a bucket that a user named is made just the same."""
    assert fresh
    spec = clouds.LOCAL.model_copy(update={"prefix": "a/b", "bucket": "own-{region}"})
    assert sent(made, spec, home=home).location.startswith("own-us-east-1/a/b/debian-12/")


@pytest.mark.usefixtures("credentials")
def test_a_second_run_sends_nothing_and_writes_the_same_receipt(made, fresh, monkeypatch):
    """Nor does a run after the receipt was lost."""
    with relaying(fresh.url) as relay:
        spec = elsewhere(relay.url)
        sent(made, spec)
        before = (made / "upload.stamp").read_bytes()
        assert sum(call.sends for call in relay.seen) == 4
        relay.seen.clear()
        monkeypatch.setattr(record, "now", lambda: clouds.MADE)
        sent(made, spec)
        assert (made / "upload.stamp").read_bytes() == before
        (made / "upload.stamp").unlink()
        sent(made, spec)
        assert sum(call.sends for call in relay.seen) == 0


@pytest.mark.usefixtures("credentials")
def test_every_call_says_whose_the_bucket_must_be_and_every_put_says_what_it_is(made, fresh):
    """The owner, the checksum, the ACL; and the manifest comes last of all."""
    with relaying(fresh.url) as relay:
        sent(made, elsewhere(relay.url))
    about = [call for call in relay.seen if call.path.startswith(f"/{BUCKET}")]
    made_by = [call for call in about if call.method == "PUT" and call.path == f"/{BUCKET}"]
    assert len(made_by) == 1
    owners = {call.headers.get("x-amz-expected-bucket-owner") for call in about if call not in made_by}
    assert owners == {LOCAL_ACCOUNT}
    puts = [call for call in about if call.sends]
    assert {call.headers["x-amz-acl"] for call in puts} == {"aws-exec-read"}
    stamp = BundleStamp.read(made / "bundle.stamp")
    for item in (*stamp.parts, stamp.manifest):
        put = next(call for call in puts if call.key == item.name)
        assert put.headers["x-amz-checksum-sha256"] == s3.checksum_of(item.sha256)
        assert put.headers["x-amz-meta-sha256"] == item.sha256
    assert puts[-1].key == clouds.MANIFEST


@pytest.mark.usefixtures("credentials")
def test_killed_midway_it_sends_only_what_is_missing(tmp_path, fresh):
    """SIGKILL with some parts there and some on their way; the next run asks, and sends the rest."""
    clouds.bundle(tmp_path / "bundle", parts=12)
    with relaying(fresh.url) as relay:
        spec = elsewhere(relay.url)
        order = upload.Order(image="debian-12", cloud=spec)
        through, enough = threading.Semaphore(7), threading.Event()

        def some(call):
            if call.sends and not through.acquire(blocking=False):
                enough.set()
                time.sleep(0.3)
                return Reply(500)
            return None

        relay.rule = some
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, order.model_dump_json(), str(tmp_path), clouds.MANIFEST],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": ROOT},
        )
        assert enough.wait(20)
        child.kill()
        child.wait()
        time.sleep(0.4)
        relay.rule = lambda _: None
        assert not (tmp_path / "upload.stamp").exists()
        held = s3.listing(
            s3.Bucket(connect(spec, tmp_path).s3(), BUCKET, LOCAL_ACCOUNT, "us-east-1"), ""
        )
        assert len(held) == 7
        relay.seen.clear()
        assert len(sent(tmp_path, spec).objects) == 13
    assert sum(call.sends for call in relay.seen) == 13 - 7


@pytest.mark.usefixtures("credentials")
def test_an_answer_that_was_lost_is_asked_for_again(made, fresh):
    """The part is there, though nobody said so."""
    with relaying(fresh.url) as relay:
        once = iter([LOST])
        relay.rule = lambda call: (
            next(once, None) if call.key.endswith("part.1") and call.sends else None
        )
        assert len(sent(made, elsewhere(relay.url)).objects) == 4


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            refusing("AccessDenied", message="Access Denied"),
            "could not send .*part.1.*do not permit s3:PutObject",
        ),
        (
            refusing("BadDigest", 400, "The SHA256 you specified did not match"),
            "could not send .*part.1.*SHA256 you specified",
        ),
        (
            refusing("AccessControlListNotSupported", 400, "The bucket does not allow ACLs"),
            "does not allow ACLs",
        ),
        (
            refusing("ExpiredToken", 400),
            "(?s)part.1: the credentials have expired.*goes on where it stopped",
        ),
        (
            refusing("RequestTimeTooSkewed", date="Mon, 23 Nov 2020 09:00:00 GMT"),
            "clock is .* ahead of AWS's",
        ),
    ],
)
def test_a_refused_part_fails_the_stage_and_no_manifest_follows(made, fresh, reply, message):
    """The original tool says "Uploaded" here."""
    with relaying(fresh.url) as relay:
        relay.rule = lambda call: reply if call.key.endswith("part.1") and call.sends else None
        with pytest.raises(CloudFault, match=message):
            sent(made, elsewhere(relay.url))
        assert not [call for call in relay.seen if call.sends and call.key == clouds.MANIFEST]
    assert not (made / "upload.stamp").exists()


@pytest.mark.usefixtures("credentials")
def test_a_bucket_of_somebody_else_is_named_before_anything_is_sent(made, fresh):
    with relaying(fresh.url) as relay:
        relay.rule = lambda call: Reply(403) if call.method == "HEAD" else None
        with pytest.raises(CloudFault, match=f"the bucket {BUCKET} is not account {LOCAL_ACCOUNT}'s"):
            sent(made, elsewhere(relay.url))
        assert not [call for call in relay.seen if call.method == "PUT"]


@pytest.mark.usefixtures("credentials")
def test_what_is_accepted_and_not_there_is_noticed(made, fresh):
    """At the end the bucket is asked, not our memory."""
    with relaying(fresh.url) as relay:
        relay.rule = lambda call: (
            Reply(200, headers={"ETag": '"x"'}) if call.key.endswith("part.1") and call.sends else None
        )
        with pytest.raises(CloudFault, match=r"(?s)1 of 4 files are not in the bucket.*part.1"):
            sent(made, elsewhere(relay.url))
    assert not (made / "upload.stamp").exists()


@pytest.mark.parametrize("change", ["other", "longer", "gone"])
def test_a_part_that_was_tampered_with_is_named_and_not_sent(made, fresh, home, cloud, change):
    assert fresh
    part = made / "bundle" / "debian-12.img.part.1"
    data = part.read_bytes()
    {
        "other": lambda: part.write_bytes(b"X" + data[1:]),
        "longer": lambda: part.write_bytes(data + b"X"),
        "gone": part.unlink,
    }[change]()
    with pytest.raises(
        ImageFault, match=r"(?s)debian-12.img.part.1 (was changed|is gone).*try: .*delete"
    ):
        sent(made, clouds.LOCAL, home=home)
    found = cloud.s3().list_objects_v2(Bucket=BUCKET).get("Contents", [])
    assert clouds.MANIFEST not in [item["Key"].rpartition("/")[2] for item in found]


def test_an_object_that_was_changed_in_the_bucket_is_mended(made, fresh, home, cloud):
    """Same name and size, other content: its digest tells."""
    assert fresh
    first = sent(made, clouds.LOCAL, home=home)
    client, key = cloud.s3(), first.objects[1].key
    client.put_object(Bucket=BUCKET, Key=key, Body=b"X" * first.objects[1].size)
    assert sent(made, clouds.LOCAL, home=home).objects[1].etag == first.objects[1].etag
    client.delete_object(Bucket=BUCKET, Key=key)
    assert sent(made, clouds.LOCAL, home=home).objects == first.objects


def test_stale_multipart_uploads_of_ours_are_ended(made, fresh, home, cloud, shared):
    assert fresh
    sent(made, clouds.LOCAL, home=home)
    client = cloud.s3()
    for key in ("debian-12/old/part.0", "centos-4/old/part.0"):
        client.create_multipart_upload(Bucket=BUCKET, Key=key)
    shared.age(days=2)
    sent(made, clouds.LOCAL, home=home)
    assert [item["Key"] for item in client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]] == [
        "centos-4/old/part.0"
    ]


def test_no_more_than_a_few_parts_are_in_memory(tmp_path, fresh, home, monkeypatch):
    """One for each worker: what is read is sent before the next is read."""
    assert fresh
    clouds.bundle(tmp_path / "bundle", parts=20)
    lock, now, most = threading.Lock(), 0, 0
    put, content = s3.put, upload.content

    def reading(load):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        return content(load)

    def putting(*told):
        nonlocal now
        put(*told)
        with lock:
            now -= 1

    monkeypatch.setattr(upload, "content", reading)
    monkeypatch.setattr(s3, "put", putting)
    sent(tmp_path, clouds.LOCAL, home=home)
    assert 1 < most <= clients.WORKERS
