"""One upload by EBS's direct APIs: as a child where that saves something, gone on with where a killed run stopped.

The order of things is what makes it safe to kill. The journal's head is on the disk before the snapshot is asked for, and
the request's token follows from it: whoever asks again gets the same snapshot. A block is in the journal when EBS has said
that it has it. The ledger is written when the snapshot is completed, and the journal goes last of all.
"""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.cloud import puts, snapshots, tags
from tasks.cloud.clients import Cloud
from tasks.cloud.crew import Cargo, Crew, Spent
from tasks.cloud.journal import Head, Journal
from tasks.cloud.pace import MOST
from tasks.cloud.snapshots import Orphaned, Taken, Wish
from tasks.kit import files
from tasks.kit.fault import CloudFault, ImageFault
from tasks.kit.report import Report
from tasks.plan import delta as plan
from tasks.plan.delta import Delta, Ledger
from tasks.spec import names
from tasks.spec.cloud import CloudSpec
from tasks.spec.record import BlockList

if TYPE_CHECKING:
    from mypy_boto3_ebs import EBSClient
    from mypy_boto3_ec2 import EC2Client

ATTEMPTS = 10  # snapshots that may turn out to be spent before the first that is not


@dataclass(frozen=True)
class Job:
    """One upload: what, where to, and what is kept of it here."""

    image: str
    spec: CloudSpec
    report: Report
    cloud: Cloud
    ec2: "EC2Client"
    ebs: "EBSClient"
    blocks: BlockList
    img: Path
    ledger: Path
    journal: Path

    @property
    def digest(self) -> str:
        """Of what makes this snapshot itself: two of the same blocks, one of them encrypted, are not the same."""
        ebs = self.spec.ebs
        said = {"blocks": self.blocks.digest, "encrypted": ebs.encrypted, "kms_key": ebs.kms_key}
        return files.digest(said)

    @property
    def labels(self) -> dict[str, str]:
        return {
            names.NAME_TAG: f"{self.image} {self.blocks.sha256[:12]}",
            names.IMAGE_TAG: self.image,
            names.DIGEST_TAG: self.digest,
            names.SHA256_TAG: self.blocks.sha256,
        }

    @property
    def place(self) -> dict[str, str]:
        return {"account": self.cloud.account, "region": self.cloud.region, "cloud_id": self.cloud.id}

    def head(self, delta: Delta, attempt: int = 1) -> Head:
        return Head(
            account=self.cloud.account,
            region=self.cloud.region,
            cloud_id=self.cloud.id,
            image=self.image,
            sha256=self.blocks.sha256,
            digest=self.digest,
            parent=delta.parent,
            delta=delta.digest,
            attempt=attempt,
        )

    def delta(self, parent: Ledger | None) -> Delta:
        return plan.against(self.blocks, parent) if parent else plan.whole(self.blocks)


def sent(job: Job) -> str:
    """The completed snapshot. What was started before, and EBS takes no more blocks for, is deleted, and another is started."""
    parent, journal = resumed(job)
    parent = parent if journal else parent_of(job)
    attempt = journal.head.attempt if journal and journal.head else 1
    for _ in range(ATTEMPTS):
        delta = job.delta(parent)
        journal = journal or Journal.begun(job.journal, job.head(delta, attempt))
        try:
            snapshot = pushed(job, delta, journal)
        except Orphaned as error:
            job.report.noted(f"{delta.parent} is taken for no parent: {error}; every block is sent")
            parent, journal = None, None
            continue
        except Taken:
            snapshot = ""
        except Spent as error:
            snapshot = done_by_others(job, journal.snapshot, error)
        if snapshot:
            settled(job, snapshot, parent)
            return snapshot
        if journal.snapshot:
            job.report.noted(f"{journal.snapshot} takes no blocks any more; another one is started")
            snapshots.delete(job.ec2, journal.snapshot)
        attempt, journal = attempt + 1, None
    raise CloudFault(
        f"{ATTEMPTS} snapshots were started, and each took no blocks any more",
        where=f"EBS in {job.cloud.region}",
        hint="see who deletes snapshots there (aws cloudtrail lookup-events), and run doit again",
    )


def pushed(job: Job, delta: Delta, journal: Journal) -> str:
    """All that is not there yet; then EBS is told, and waited for. Raises Spent, Taken, Orphaned."""
    with closing(journal.opened()):
        if not journal.snapshot:
            job.report.said("starting a snapshot")
            journal.started(snapshots.start(job.ebs, wished(job, delta, journal)))
        if not journal.completing:
            push(job, delta, journal)
            journal.complete()
        snapshots.complete(job.ebs, journal.snapshot, delta)
    snapshots.completed(job.ec2, journal.snapshot, job.report)
    return journal.snapshot


def push(job: Job, delta: Delta, journal: Journal) -> None:
    left = plan.unsent(delta.writes, journal.acknowledged)
    way = puts.road(job.cloud, MOST)
    if isinstance(way, puts.Detour):
        job.report.noted(
            "the proxy is one that only boto3 can use: sending takes twice the time of a processor"
        )
    of = f" as a child of {delta.parent}" if delta.parent else ""
    job.report.said(f"to {journal.snapshot}{of}")
    crew = Crew(Cargo(journal.snapshot, job.img, delta.block_size, left), way.line, journal.acknowledge)
    crew.send(job.report, before=len(delta.writes) - len(left))


def wished(job: Job, delta: Delta, journal: Journal) -> Wish:
    return Wish(
        size=job.blocks.volume_size // snapshots.GIB,
        token=journal.head.token if journal.head else "",
        description=f"{job.image}, image {job.blocks.sha256}",
        labels=job.labels,
        parent=delta.parent,
        ebs=job.spec.ebs,
    )


def done_by_others(job: Job, snapshot: str, spent: Spent) -> str:
    """It takes no more blocks because it has them all: completed by another machine with the same image, which got the same
    snapshot for the same token; or by us, who were killed over it. Nothing when it is dead.
    """
    if spent.gone or snapshots.state_of(snapshots.by_id(job.ec2, snapshot)) == "error":
        return ""
    snapshots.completed(job.ec2, snapshot, job.report)
    return snapshot


def resumed(job: Job) -> tuple[Ledger | None, Journal | None]:
    """The journal of a run that was killed, if it is of this very upload, and its parent. Any other is given up."""
    past = Journal.read(job.journal)
    if past is None:
        return None, None
    if past.head is None:
        given_up(job, past, "its journal is damaged")
        return None, None
    parent = known(job) if past.head.parent else None
    if parent and parent.snapshot != past.head.parent:
        parent = None
    if past.head.model_copy(update={"attempt": 1}) != job.head(job.delta(parent)):
        given_up(job, past, "it was of another image, another content, or for another place")
        return None, None
    if past.damaged:
        job.report.noted(
            f"{past.damaged} line(s) of the journal are damaged: those blocks are sent again"
        )
    return parent, past


def given_up(job: Job, past: Journal, why: str, *, but: str = "") -> None:
    """End a journal, and the pending snapshot that it speaks of, unless that is not ours to end."""
    job.report.noted(f"an upload that was not finished is given up: {why}")
    head = past.head
    if head and (head.account, head.region, head.cloud_id) != tuple(job.place.values()):
        job.report.noted(
            f"its snapshot {past.snapshot} in account {head.account}, {head.region} is left: EBS gives it up in a day"
        )
    else:
        for each in pending(job, past) - {but}:
            snapshots.delete(job.ec2, each)
    past.end()


def pending(job: Job, past: Journal) -> set[str]:
    """The snapshots of a journal that came to nothing. Where it does not tell the id, tags do."""
    if past.head is None:
        shown = snapshots.by_id(job.ec2, past.snapshot) if past.snapshot else None
        ours = shown and tags.mapped(shown.get("Tags", ())).get(names.IMAGE_TAG) == job.image
        return {past.snapshot} if ours and snapshots.state_of(shown) != "completed" else set()
    if not past.snapshot:
        labels = {names.IMAGE_TAG: past.head.image, names.DIGEST_TAG: past.head.digest}
        return {snapshots.id_of(each) for each in snapshots.labelled(job.ec2, labels, "pending")}
    done = snapshots.state_of(snapshots.by_id(job.ec2, past.snapshot)) == "completed"
    return set() if done else {past.snapshot}


def known(job: Job) -> Ledger | None:
    """What the snapshot that was made last holds, as far as it is known here."""
    if not job.ledger.exists():
        return None
    try:
        return Ledger.read(job.ledger)
    except ImageFault as fault:
        job.report.noted(f"{fault.problem}: every block is sent")
        return None


def parent_of(job: Job) -> Ledger | None:
    """The last snapshot, if it can be a parent and saves something. Where it cannot, that is said."""
    held = known(job)
    if held is None:
        return None
    why = plan.misfit(job.blocks, held, **job.place) or unfit(job, held)
    if not why and len(plan.against(job.blocks, held).writes) >= len(job.blocks.blocks):
        why = "nothing in it is as in this image"
    if why:
        job.report.noted(f"{held.snapshot} can be no parent: {why}; every block is sent")
    return None if why else held


def unfit(job: Job, held: Ledger) -> str:
    """Why the cloud's own words make it no parent, or nothing."""
    shown = snapshots.by_id(job.ec2, held.snapshot)
    if shown is None:
        return "it is gone"
    wish, key = job.spec.ebs, shown.get("KmsKeyId", "")
    other_key = bool(wish.kms_key) and wish.kms_key != key
    reasons = (
        (shown.get("OwnerId") != job.cloud.account, f"it belongs to account {shown.get('OwnerId')}"),
        (
            held.image != job.image
            or tags.mapped(shown.get("Tags", ())).get(names.IMAGE_TAG) != job.image,
            "it is of another image",
        ),
        (shown.get("State") != "completed", f"it is in state {shown.get('State')}"),
        (shown.get("StorageTier") == "archive", "it is archived"),
        (shown.get("VolumeSize", 0) * snapshots.GIB > job.blocks.volume_size, "it is larger"),
        (
            (held.encrypted, held.kms_key) != (wish.encrypted, wish.kms_key)
            or (wish.encrypted and not shown.get("Encrypted"))
            or other_key,
            "it is not encrypted as it is wanted now",
        ),
    )  # fmt: skip
    return next((reason for holds, reason in reasons if holds), "")


def settled(job: Job, snapshot: str, parent: Ledger | None = None) -> None:
    """It is there: what it holds is kept in the ledger, and what a journal says of any other comes to its end."""
    shown = snapshots.by_id(job.ec2, snapshot)
    if job.spec.ebs.encrypted and shown and not shown.get("Encrypted"):
        raise CloudFault(
            f"{snapshot} is not encrypted, though `ebs.encrypted` says so",
            where=f"EBS in {job.cloud.region}",
            hint=f"aws ec2 delete-snapshot --snapshot-id {snapshot}, and run doit again",
        )
    past = Journal.read(job.journal)
    if past and past.snapshot != snapshot:
        given_up(job, past, f"{snapshot} has the same content", but=snapshot)
    held = known(job)
    if held is None or held.snapshot != snapshot:
        Ledger(
            account=job.cloud.account,
            region=job.cloud.region,
            cloud_id=job.cloud.id,
            image=job.image,
            snapshot=snapshot,
            encrypted=job.spec.ebs.encrypted,
            kms_key=job.spec.ebs.kms_key,
            block_size=job.blocks.block_size,
            volume_size=job.blocks.volume_size,
            blocks=plan.after(job.blocks, parent),
        ).write(job.ledger)
