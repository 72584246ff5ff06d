"""The stage `deregister`: what the verdict says goes, and nothing else; nothing is orphaned, whenever it is killed."""

import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks import deregister
from tasks.cloud import ending, obey
from tasks.cloud.clients import Cloud
from tasks.cloud.journal import Head, Journal
from tasks.cloud.local.ebs.snapshots import KIND
from tasks.cloud.local.store import Things, every
from tasks.kit.fault import CloudFault, HostFault
from tasks.plan.delta import Ledger
from tasks.spec import record
from tasks.spec.model import AptImage
from tests import clouds, localsnapshots, proofs, test_ami
from tests.clouds import Call, Reply
from tests.endings import BUCKET, IMAGE, Place, moto, place
from tests.localcloud import LocalCloud

__all__ = ["moto", "place"]

ROOT = Path(__file__).parents[1]


def run(
    place: Place, *, ami: str = "", every: bool = False, force: bool = False, yes: bool = True
) -> None:
    deregister.body(
        deregister.Order(image=IMAGE, cloud=place.spec),
        home=place.at,
        ami_id=place.shelf.ami_id,
        receipt=place.shelf.ami,
        upload=place.shelf.upload,
        ledger=place.shelf.ledger,
        journal=place.shelf.journal,
        ami=ami,
        every=every,
        force=force,
        yes=yes,
    )


def test_an_image_goes_with_its_bundle_and_its_receipts(place):
    """So that the next doit uploads and registers it again."""
    place.made()
    run(place)
    assert (place.images(), place.objects(), place.receipts()) == ([], [], [])


def test_the_verdict_comes_first_and_says_why(place, capsys):
    id_, location = place.made()
    other = place.image(name="two")
    run(place)
    out = capsys.readouterr().out
    assert f"goes     image     {id_} one" in out
    assert "it is the current one" in out
    assert f"{other} two" in out
    assert f"not asked for: --ami={other}, or --all" in out
    assert f"{location} (4 objects" in out
    assert f"{id_}, which goes, was made of it" in out
    assert "5 of 7 gone" in out, "of the other image, it and its snapshot stay"


def test_nobody_there_to_ask_nothing_is_changed(place):
    """The command that asks nothing is told."""
    place.made()
    before = (place.images(), place.objects(), place.receipts())
    with pytest.raises(HostFault, match=r"(?s)no terminal.*doit deregister:debian-12 --all --yes"):
        run(place, every=True, yes=False)
    assert (place.images(), place.objects(), place.receipts()) == before


def test_an_ebs_backed_image_goes_with_its_snapshots_and_leaves_what_is_shared(place):
    """A snapshot in the mappings of another image stays, and so does one that is not tagged as ours."""
    first, second, third = (place.image(name=name) for name in ("one", "two", "three"))
    of = {id_: place.backend.amis[id_].ebs_snapshot for id_ in (first, second, third)}
    place.backend.amis[third].ebs_snapshot = of[second]
    place.backend.snapshots[of[third].id].from_ami = None
    place.ec2.delete_tags(Resources=[of[third].id])
    run(place, ami=first)
    assert place.images() == sorted([second, third])
    assert place.snapshots() == sorted([of[second].id, of[third].id])
    run(place, ami=second)
    assert of[second].id in place.snapshots()
    assert place.images() == [third]


def test_all_of_an_image_and_none_of_another(place):
    for name in ("one", "two"):
        place.image(name=name)
    other = place.image(image="rocky-9", name="three")
    run(place, every=True)
    assert place.images() == [other]
    assert len(place.snapshots()) == 1


@pytest.mark.parametrize(
    ("image", "reason"),
    [("", "it is not ours: it bears no tag doit-ami:image"), ("rocky-9", "it is rocky-9's: doit deregister:rocky-9")],
)  # fmt: skip
def test_what_is_not_ours_is_refused_by_name(place, image, reason):
    id_ = place.image(image=image)
    with pytest.raises(CloudFault, match=f"{id_} one: {reason}"):
        run(place, ami=id_)
    assert place.images() == [id_]


def test_an_image_of_another_account_is_refused(place):
    """It is found by its id alone."""
    id_ = place.image()
    place.backend.amis[id_].owner_id = "999999999999"
    with pytest.raises(CloudFault, match="it belongs to account 999999999999"):
        run(place, ami=id_)


@pytest.mark.parametrize("stopped", [False, True])
def test_an_image_in_use_is_refused_unless_forced(place, stopped):
    """A stopped instance counts: it could not start again on some of what it needs."""
    id_, _ = place.made()
    instance = place.instance(id_)
    if stopped:
        place.ec2.stop_instances(InstanceIds=[instance])
    with pytest.raises(
        CloudFault, match=rf"{instance} \(\w+\) is made of it: doit terminate:debian-12, or --force"
    ):
        run(place)
    assert len(place.objects()) == 4
    run(place, force=True)
    assert (place.images(), place.objects()) == ([], [])


def test_an_ended_instance_needs_nothing(place):
    id_, _ = place.made()
    place.ec2.terminate_instances(InstanceIds=[place.instance(id_)])
    run(place)
    assert place.images() == []


def test_a_bundle_of_two_images_stays_until_both_are_gone(place):
    id_, location = place.made()
    second = place.image(location, name="two")
    run(place)
    assert place.images() == [second]
    assert len(place.objects()) == 4
    assert place.receipts() == ["upload.stamp"]
    run(place, ami=second)
    assert (place.images(), place.objects(), place.receipts()) == ([], [], [])
    assert id_


def test_what_is_uploaded_and_not_yet_registered_is_no_orphan(place, capsys):
    """Nor is what another machine may be uploading at this moment; that one can be forced."""
    place.upload("two")
    mine = place.upload("one")
    run(place)
    out = capsys.readouterr().out
    assert "uploaded, and not yet registered: doit ami:debian-12" in out
    assert "another machine may be about to register it; --force" in out
    assert "nothing goes" in out
    assert len(place.objects()) == 8
    run(place, force=True)
    assert {f"{BUCKET}/{key}".rpartition("/")[0] for key in place.objects()} == {mine.rpartition("/")[0]}


def test_receipts_of_another_place_are_left_alone(place):
    """Another account, another local cloud: they speak of what is not here."""
    id_, _ = place.made()
    text = place.shelf.ami.read_text()
    receipt = record.AmiReceipt.read(place.shelf.ami)
    receipt.model_copy(update={"account": "210987654321"}).write(place.shelf.ami)
    run(place)
    assert place.images() == [id_]
    assert place.shelf.ami.read_text() != text
    assert place.receipts() == ["ami-id", "ami.json", "upload.stamp"]


def test_a_second_run_finds_nothing_to_do(place, capsys):
    place.made()
    run(place)
    capsys.readouterr()
    run(place)
    assert capsys.readouterr().out == "nothing goes\n"
    run(place, ami="ami-0123456789abcdef0")
    assert "ami-0123456789abcdef0 is not there" in capsys.readouterr().out


def test_an_image_of_this_minute_that_lists_do_not_show_yet_is_not_gone(place, monkeypatch):
    """Else its bundle would be deleted, and it would appear without."""
    id_, _ = place.made()
    receipt = record.AmiReceipt.read(place.shelf.ami).model_copy(update={"at": record.now()})
    receipt.write(place.shelf.ami)
    hidden = iter([True, True])
    waited: list[float] = []
    none = Reply(200, b"<DescribeImagesResponse><imagesSet/></DescribeImagesResponse>")
    place.relay.rule = lambda call: (
        none if call.action == "DescribeImages" and next(hidden, False) else None
    )
    monkeypatch.setattr(ending.await_shown, "__kwdefaults__", {"pause": waited.append})
    run(place)
    assert waited == [ending.PAUSE] * 2
    assert (place.images(), place.objects(), place.receipts()) == ([], [], [])
    assert "DeregisterImage" in {call.action for call in place.relay.seen}
    assert id_


def snapshot(client: Any) -> str:
    """One of ours, as a client of the direct APIs makes it."""
    tags = [{"Key": "doit-ami:image", "Value": IMAGE}]
    return localsnapshots.made(client, {0: "a"}, Tags=tags)


def registered(client: Any, name: str, of: str) -> str:
    volume = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": of}}
    tags = [{"ResourceType": "image", "Tags": [{"Key": "doit-ami:image", "Value": IMAGE}]}]
    made = client.register_image(
        Name=name, Architecture="x86_64", VirtualizationType="hvm", RootDeviceName="/dev/xvda",
        BlockDeviceMappings=[volume], TagSpecifications=tags,
    )  # fmt: skip
    return str(made["ImageId"])


def on(home: Path, at: Path, backing: Any = "s3", **options: Any) -> None:
    """The stage, on the local cloud."""
    told: Any = {"ami": "", "every": False, "force": False, "yes": True, **options}
    paths: Any = {"ami_id": at / "ami-id", "receipt": at / "ami.json", "upload": at / "upload.stamp"}
    paths |= {"ledger": at / "snapshot.blocks.json", "journal": at / "upload.journal"}
    order = deregister.Order(image=IMAGE, cloud=clouds.LOCAL, backing=backing)
    deregister.body(order, home=home, **paths, **told)


def test_on_the_local_cloud_a_snapshot_goes_with_the_last_image_that_is_made_of_it(
    fresh, shared, home, cloud, tmp_path
):
    """It refuses, as EC2, to delete one that is in use."""
    assert fresh
    client = cloud.ec2()
    source = snapshot(shared.client("ebs"))
    one, two = (registered(client, f"image-{number}", source) for number in "12")
    on(home, tmp_path, ami=one)
    assert [each["ImageId"] for each in client.describe_images(Owners=["self"])["Images"]] == [two]
    assert len(client.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 1
    on(home, tmp_path, every=True)
    assert client.describe_images(Owners=["self"])["Images"] == []
    assert client.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


def test_on_the_local_cloud_what_was_registered_is_taken_back(fresh, home, cloud, tmp_path):
    """By the stages' own receipts, and it can be registered again."""
    assert fresh
    shelf = test_ami.Shelf(tmp_path, home)
    for _ in range(2):
        shelf.upload()
        shelf.register(test_ami.order())
        on(home, tmp_path)
        assert cloud.ec2().describe_images(Owners=["self"])["Images"] == []
        left = cloud.s3().list_objects_v2(Bucket=BUCKET)
        assert left["KeyCount"] == 0
        assert [
            each.name
            for each in tmp_path.iterdir()
            if each.name in ("ami-id", "ami.json", "upload.stamp")
        ] == []


def test_to_look_makes_no_local_cloud(tmp_path, capsys):
    """There is nothing in it."""
    on(tmp_path / "cloud", tmp_path)
    assert "no local cloud was made here" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


CHILD = """
import sys; from pathlib import Path
from tasks import deregister; from tasks.spec.cloud import CloudSpec
at = Path(sys.argv[1]); spec = CloudSpec.model_validate_json(sys.argv[2])
there = at / "build" / "debian-12" / "aws"
deregister.body(deregister.Order(image="debian-12", cloud=spec), home=at, ami_id=there / "ami-id",
                receipt=there / "ami.json", upload=there / "upload.stamp", ledger=there / "snapshot.blocks.json",
                journal=there / "upload.journal", ami=sys.argv[3], every=False, force=False, yes=True)
"""


def test_killed_before_its_snapshot_the_next_run_finds_it_by_its_tag(place):
    """No receipt speaks of it; what is an hour old is no upload of another machine."""
    id_ = place.image()
    (snapshot,) = place.snapshots()
    assert killed_at(place, lambda call: call.action == "DeleteSnapshot", before=True, ami=id_) < 0
    assert (place.images(), place.snapshots()) == ([], [snapshot])
    run(place, ami=id_)
    assert place.snapshots() == [snapshot], "it may be another machine's"
    place.backend.snapshots[snapshot].start_time -= timedelta(hours=2)
    run(place)
    assert place.snapshots() == []


def killed_at(place: Place, deed: Callable[[Call], bool], *, before: bool, ami: str = "") -> int:
    """The stage in a process of its own, killed when its deed comes by, or at the next request after it; its status."""
    passed = False

    def rule(call: Call) -> Reply | None:
        nonlocal passed
        if passed or (before and deed(call)):
            child.kill()
            child.wait()
            return Reply(500)
        passed = not before and deed(call)
        return None

    place.relay.rule = rule
    words = [sys.executable, "-c", CHILD, str(place.at), place.spec.model_dump_json(), ami]
    child = subprocess.Popen(words, cwd=ROOT)
    try:
        return child.wait(60)
    finally:
        child.kill()
        place.relay.rule = lambda _: None


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("deed", ["DeregisterImage", "the manifest", "the parts"])
def test_killed_at_any_of_its_deeds_the_next_run_leaves_nothing(place, deed, before):
    """Before the deed is done, or after it: images, objects and receipts all go in the end."""
    place.made()
    deletions = iter(["the manifest", "the parts"])

    def is_it(call: Call) -> bool:
        deletes = call.method == "POST" and call.path.endswith("?delete")
        return bool(deed == (next(deletions) if deletes else call.action))

    status = killed_at(place, is_it, before=before)
    last = deed == "the parts" and not before  # then there is no further request to be killed at
    assert status == (0 if last else -signal.SIGKILL)
    assert last or place.receipts() == ["ami-id", "ami.json", "upload.stamp"]
    assert before or not place.images()
    run(place)
    assert (place.images(), place.objects(), place.receipts()) == ([], [], [])


@pytest.mark.parametrize("left", [["ami-id", "ami.json"], ["ami.json"]])
def test_killed_among_the_receipts_the_next_run_removes_the_rest(place, left):
    place.made()
    run(place)
    place.registered("ami-0123456789abcdef0", f"{BUCKET}/x/y.manifest.xml")
    for path in place.shelf.there.iterdir():
        if path.name not in left:
            path.unlink()
    run(place)
    assert place.receipts() == []


class Ebs:
    """The local cloud, and the receipts of an EBS-backed image."""

    def __init__(self, at: Path, home: Path, shared: LocalCloud, cloud: Cloud) -> None:
        self.at, self.home, self.shared, self.cloud = at, home, shared, cloud
        self.ec2, self.ebs = cloud.ec2(), shared.client("ebs")

    def run(self, **options: Any) -> None:
        on(self.home, self.at, "ebs", **options)

    @property
    def place(self) -> dict[str, str]:
        return {
            "account": self.cloud.account,
            "region": self.cloud.region,
            "cloud_id": self.cloud.id,
        }

    def uploaded(self, snapshot: str) -> None:
        """As the upload leaves it, with the ledger of what the snapshot holds."""
        record.UploadReceipt(
            **self.place, sha256="s", at=clouds.MADE, digest="b", location=snapshot
        ).write(self.at / "upload.stamp")
        Ledger(
            **self.place, image=IMAGE, snapshot=snapshot, encrypted=False, kms_key=None,
            block_size=localsnapshots.SIZE, volume_size=1 << 30, blocks=(),
        ).write(self.at / "snapshot.blocks.json")  # fmt: skip

    def registered(self, snapshot: str, name: str = "one") -> str:
        self.uploaded(snapshot)
        image = registered(self.ec2, name, snapshot)
        record.AmiReceipt(
            **self.place, sha256="s", at=clouds.MADE, id=image, name=name, digest="d", location=snapshot,
            boot=proofs.report(),
        ).write(self.at / "ami.json")  # fmt: skip
        (self.at / "ami-id").write_text(f"{image}\n")
        return image

    def writing(self, snapshot: str, **place: str) -> None:
        """The journal of an upload that was killed."""
        head = Head(
            **{**self.place, **place},
            image=IMAGE,
            sha256="s",
            digest="b",
            parent="",
            delta="",
            attempt=0,
        )
        journal = Journal.begun(self.at / "upload.journal", head).opened()
        if snapshot:
            journal.started(snapshot)
        journal.close()

    def pending(self, **asked: Any) -> str:
        tags = [{"Key": "doit-ami:image", "Value": IMAGE}]
        return localsnapshots.started(self.ebs, {0: "a"}, **{"Tags": tags, "Timeout": 4320, **asked})

    def older(self, **by: float) -> None:
        """All snapshots were started, and touched, so much earlier."""
        store, seconds = self.shared.server.store, timedelta(**by).total_seconds()
        with store.change():
            for account, region, thing in list(every(store, KIND)):
                moved = {key: thing[key] - seconds for key in ("StartTime", "Touched")}
                Things(store, KIND, account, region).save(thing["SnapshotId"], thing | moved)

    def left(self) -> tuple[list[str], list[str], list[str]]:
        """Images, snapshots, receipts."""
        return (
            sorted(each["ImageId"] for each in self.ec2.describe_images(Owners=["self"])["Images"]),
            sorted(
                each["SnapshotId"]
                for each in self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
            ),
            sorted(each.name for each in self.at.iterdir() if each.is_file()),
        )


@pytest.fixture
def there(fresh, shared, home, cloud, tmp_path):
    assert fresh
    return Ebs(tmp_path, home, shared, cloud)


def test_an_ebs_backed_image_goes_with_all_that_speaks_of_it(there, capsys):
    """Image, snapshot, receipts, and the ledger: no child would be made of what is gone."""
    there.registered(snapshot(there.ebs))
    there.run()
    assert there.left() == ([], [], [])
    assert capsys.readouterr().out.count("receipt") >= 4


@pytest.mark.parametrize("deeds", range(8))
def test_killed_after_any_of_its_deeds_the_next_run_leaves_nothing(there, monkeypatch, deeds):
    """An image, its snapshot, one that failed, five receipts: by whatever is left the rest is found."""

    class Killed(BaseException):
        """What no one catches."""

    there.registered(snapshot(there.ebs))
    there.writing(there.pending(Timeout=10))
    there.older(minutes=20)
    done = iter(range(deeds))
    real = obey.Hands.deed

    def deed(hands: Any, thing: Any) -> None:
        if next(done, None) is None:
            raise Killed
        real(hands, thing)

    monkeypatch.setattr(obey.Hands, "deed", deed)
    with pytest.raises(Killed):
        there.run()
    monkeypatch.setattr(obey.Hands, "deed", real)
    there.run()
    assert there.left() == ([], [], [])


def test_who_has_no_right_to_s3_takes_back_what_is_ebs_backed(there, shared):
    """Nothing of the image lies there, so nobody asks."""
    there.registered(snapshot(there.ebs))
    shared.faults({"operation": "s3:*", "kind": "deny", "times": None})
    try:
        there.run()
    finally:
        shared.faults()
    assert there.left() == ([], [], [])


def test_an_s3_backed_ami_of_before_is_still_found_with_its_bundle(there, tmp_path):
    """Somebody wrote `backing: ebs` since; what the image was made of says where to look."""
    shelf = test_ami.Shelf(tmp_path / "before", there.home)
    shelf.upload()
    old = shelf.register(test_ami.order())
    there.run(ami=old.id)
    assert there.left()[0] == []
    assert there.cloud.s3().list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0


def test_orphans_go_and_what_is_being_written_stays(there, capsys):
    """A pending snapshot that no journal speaks of, older than an hour; one that failed; and none of another image."""
    dead, ours = there.pending(), there.pending()
    failed = there.pending(Timeout=10)
    foreign = there.pending(Tags=[{"Key": "doit-ami:image", "Value": "rocky-9"}])
    there.older(minutes=30)
    there.writing(ours)
    young = there.pending()
    there.run()
    out = capsys.readouterr().out
    assert there.left()[1] == sorted([dead, ours, foreign, young]), "half an hour is no age"
    assert f"{failed} (1 GiB)" in out
    assert "it failed, and nothing can be made of it" in out
    there.older(minutes=31)
    there.run()
    assert there.left()[1:] == (sorted([ours, foreign, young]), ["upload.journal"])
    there.run(force=True)
    assert there.left()[1:] == (sorted([ours, foreign]), ["upload.journal"])


def test_a_journal_goes_with_its_snapshot_and_stays_when_it_is_another_clouds(there):
    """And one that does not know its snapshot yet keeps all that are pending."""
    there.writing(there.pending(Timeout=10))
    there.older(minutes=20)
    there.run()
    assert there.left() == ([], [], [])
    there.writing("snap-0123456789abcdef0", account="210987654321")
    there.run()
    assert there.left() == ([], [], ["upload.journal"])
    there.writing("")
    unknown = there.pending()
    there.older(hours=5)
    there.run(force=True)
    assert there.left() == ([], [unknown], ["upload.journal"])


def test_a_ledger_of_a_snapshot_that_stays_stays(there):
    """It was uploaded and is not registered: the next one is a child of it."""
    kept = snapshot(there.ebs)
    there.uploaded(kept)
    there.older(hours=2)
    there.run()
    assert there.left() == ([], [kept], ["snapshot.blocks.json", "upload.stamp"])


def test_what_a_child_was_made_of_goes_and_the_child_is_whole(there):
    """EBS keeps the blocks that the child has of it."""
    tags = [{"Key": "doit-ami:image", "Value": IMAGE}]
    parent = localsnapshots.made(there.ebs, {0: "a", 1: "b"}, Tags=tags)
    old = there.registered(parent, "one")
    child = localsnapshots.made(there.ebs, {1: "c"}, ParentSnapshotId=parent, Tags=tags)
    new = there.registered(child, "two")
    there.run(ami=old)
    assert there.left()[:2] == ([new], [child])
    assert localsnapshots.held(there.ebs, child) == {0: "a", 1: "c"}


def test_an_order_is_made_of_the_configuration():
    """Whether the bucket is looked at follows from the image."""
    told = {"name": "i", "distro": "debian", "release": "bookworm", "architecture": "x86_64", "packages": ["x"],
            "disk": {"size": "1 GiB"}}  # fmt: skip
    image = AptImage.model_validate(told)
    assert deregister.Order.of(image, clouds.LOCAL).backing == "ebs"
