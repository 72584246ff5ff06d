"""AMIs of an image deregistered, with their snapshots or their bundle when nothing else needs them.

In:    ami.json and upload.stamp, a snapshot's ledger and journal; the cloud's own tags and folders
Out:   nothing that stays; the receipts of what went are removed, so that the next doit registers again
Needs: ec2:DescribeImages, DescribeInstances, DescribeSnapshots, DeregisterImage, DeleteSnapshot; where anything of the image
       is S3-backed s3:ListBucket, GetBucketVersioning, DeleteObject

A run that is killed leaves what no image is made of; the next one finds it: by the receipts, or by tag and folder.
"""

import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from tasks.cloud import ending, erase, local, obey, s3
from tasks.cloud.clients import Cloud, connect
from tasks.cloud.journal import Head, Journal
from tasks.kit.fault import ImageFault
from tasks.plan import verdict
from tasks.plan.delta import Ledger
from tasks.plan.things import SOME, Bundle, Known, Receipt, Snapshot, Verdict, is_snapshot
from tasks.spec import names, record
from tasks.spec.cloud import CloudSpec
from tasks.spec.model import Image
from tasks.spec.part import Part

RECIPE = 1
AMI = {
    "name": "ami",
    "long": "ami",
    "type": str,
    "default": "",
    "help": "another image than that of the receipt, by its id",
}
ALL = {"name": "every", "long": "all", "type": bool, "default": False, "help": "every AMI of the image"}
FORCE = {
    "name": "force",
    "long": "force",
    "type": bool,
    "default": False,
    "help": "even what instances were made of, and what may be another machine's upload",
}


class Order(Part):
    image: str
    cloud: CloudSpec
    backing: Literal["ebs", "s3"] = "s3"  # s3: bundles that no image is made of are looked for, too

    @classmethod
    def of(cls, image: Image, cloud: CloudSpec) -> Self:
        return cls(image=image.name, cloud=cloud, backing=image.ami.backing)


@dataclass(frozen=True)
class Receipts:
    """The files here that speak of what may go."""

    ami_id: Path
    ami: Path
    upload: Path
    ledger: Path
    journal: Path


def body(
    order: Order,
    *,
    home: Path,
    ami_id: Path,
    receipt: Path,
    upload: Path,
    ledger: Path,
    journal: Path,
    ami: str,
    every: bool,
    force: bool,
    yes: bool,
) -> None:
    if order.cloud.kind == "local" and not local.exists(home):
        sys.stdout.write(f"no local cloud was made here: nothing of {order.image} is in it\n")
        return
    cloud = connect(order.cloud, home)
    given = {f"--ami={ami}": ami, "--all": every, "--force": force}
    wish = obey.Wish(f"deregister:{order.image}", tuple(name for name, said in given.items() if said))
    papers = Receipts(ami_id, receipt, upload, ledger, journal)
    verdicts = judged(order, cloud, papers, ami, every=every, force=force)
    if ami and ami not in {each.thing.id for each in verdicts}:
        sys.stdout.write(f"{ami} is not there: it is gone, or never was\n")
    obey.carry_out(verdicts, cloud, wish, yes=yes)


def judged(
    order: Order, cloud: Cloud, papers: Receipts, ami: str, *, every: bool, force: bool
) -> list[Verdict]:
    """Images, what they are made of, receipts: in the order in which they can go."""
    registered = record.AmiReceipt.of_place(papers.ami, cloud.account, cloud.region, cloud.id)
    if registered:
        ending.await_shown(cloud.ec2(), registered.id, registered.at)
    known = spoken_of(papers, cloud, registered)
    wanted = [ami] if ami else [known.image] if known.image else []
    held = ending.held_images(cloud.ec2(), wanted, order.image)
    if every:
        wanted = [each.id for each in held if each.of == order.image]
    verdicts = verdict.images(
        wanted, held, of=order.image, account=cloud.account, current=known.image, force=force
    )
    going = {each.thing for each in verdicts if each.goes}
    made_of = [source for each in held if each in going for source in each.sources]
    kept = [each for each in held if each not in going]
    named = [*made_of, *filter(None, (known.made_of, known.uploaded))]
    in_s3 = order.backing == "s3" or any(
        not is_snapshot(source)
        for source in (
            *named,
            *(each for image in held if image.of == order.image for each in image.sources),
        )
    )
    beneath = verdict.sources(
        made(order, cloud, named, in_s3=in_s3),
        verdicts,
        kept,
        known,
        of=order.image,
        now=record.now(),
        force=force,
    )
    stay = {each.id for each in kept} | {each.thing.id for each in beneath if not each.goes}
    return [*verdicts, *beneath, *receipts(papers, known, stay), *writings(papers, cloud, known, stay)]


def spoken_of(papers: Receipts, cloud: Cloud, registered: record.AmiReceipt | None) -> Known:
    uploaded = record.UploadReceipt.of_place(papers.upload, cloud.account, cloud.region, cloud.id)
    return Known(
        image=registered.id if registered else "",
        made_of=registered.location if registered else "",
        uploaded=uploaded.location if uploaded else "",
        writing=written_to(papers.journal, cloud),
    )


def written_to(journal: Path, cloud: Cloud) -> str:
    """What a run that was killed was writing here."""
    found = Journal.read(journal)
    if found is None or (found.head and place_of(found.head) != (cloud.account, cloud.region, cloud.id)):
        return ""
    return found.snapshot or SOME


def place_of(paper: Head | Ledger) -> tuple[str, str, str]:
    return paper.account, paper.region, paper.cloud_id


def made(order: Order, cloud: Cloud, of_these: Sequence[str], *, in_s3: bool) -> list[Bundle | Snapshot]:
    """What images may be made of: all in the image's folder and of its tag, and what is named. The bucket is looked at only
    `in_s3`: who makes EBS-backed images may have no right to.
    """
    ids = [each for each in of_these if is_snapshot(each)]
    return [
        *(bundles(order, cloud, [each for each in of_these if each not in ids]) if in_s3 else ()),
        *ending.held_snapshots(cloud.ec2(), order.image, ids),
    ]


def bundles(order: Order, cloud: Cloud, locations: Iterable[str]) -> list[Bundle]:
    own = order.cloud.bucket_in(cloud.account, cloud.region)
    folder = names.folder(order.cloud, order.image) + "/"
    found = in_bucket(cloud, own, folder)
    for location in dict.fromkeys(locations):
        name, _, key = location.partition("/")
        if key.endswith(verdict.MANIFEST) and not (name == own and key.startswith(folder)):
            stem = key.removesuffix(verdict.MANIFEST)
            found += [each for each in in_bucket(cloud, name, f"{stem}.") if each.id == location]
    return found


def in_bucket(cloud: Cloud, name: str, prefix: str) -> list[Bundle]:
    bucket = s3.Bucket(cloud.s3(), name, owner=cloud.account, region=cloud.region)
    return verdict.bundles(name, erase.listed(bucket, prefix))[0]


def receipts(papers: Receipts, known: Known, stay: Collection[str]) -> list[Verdict]:
    """The upload's first: whoever is killed between the two still knows by the other's what became of it."""
    found = []
    if known.uploaded and known.uploaded not in stay:
        found.append(Verdict("goes", Receipt(papers.upload), f"it speaks of {known.uploaded}"))
    if known.image and known.image not in stay:
        because = f"it speaks of {known.image}"
        found += [Verdict("goes", Receipt(path), because) for path in (papers.ami_id, papers.ami)]
    return found


def writings(papers: Receipts, cloud: Cloud, known: Known, stay: Collection[str]) -> list[Verdict]:
    """The ledger, of which a child would be made, and the journal, when the snapshot that they speak of is no more."""
    found = []
    try:
        ledger = Ledger.read(papers.ledger) if papers.ledger.exists() else None
    except ImageFault:
        ledger = None  # the upload says what is wrong with it
    here = (cloud.account, cloud.region, cloud.id)
    if ledger and place_of(ledger) == here and ledger.snapshot not in stay:
        found.append(Verdict("goes", Receipt(papers.ledger), f"it speaks of {ledger.snapshot}"))
    if known.writing not in ("", SOME) and known.writing not in stay:
        found.append(Verdict("goes", Receipt(papers.journal), f"it speaks of {known.writing}"))
    return found
