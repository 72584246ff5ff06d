"""AMIs of an image deregistered, with their snapshots or their bundle when nothing else needs them.

In:    ami.json and upload.stamp, the cloud's own tags and folders
Out:   nothing that stays; the receipts of what went are removed, so that the next doit registers again
Needs: ec2:DescribeImages, DescribeInstances, DescribeSnapshots, DeregisterImage, DeleteSnapshot; s3:ListBucket,
       GetBucketVersioning, DeleteObject

A run that is killed leaves what no image is made of; the next one finds it: by the receipts, or by tag and folder.
"""

import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.cloud import ending, erase, local, obey, s3
from tasks.cloud.clients import Cloud, connect
from tasks.plan import verdict
from tasks.plan.things import Bundle, Known, Receipt, Snapshot, Verdict
from tasks.spec import names, record
from tasks.spec.cloud import CloudSpec
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


@dataclass(frozen=True)
class Receipts:
    """The files here that speak of what may go."""

    ami_id: Path
    ami: Path
    upload: Path


def body(
    order: Order,
    *,
    home: Path,
    ami_id: Path,
    receipt: Path,
    upload: Path,
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
    papers = Receipts(ami_id, receipt, upload)
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
    beneath = verdict.sources(
        made(order, cloud, [*made_of, known.made_of, known.uploaded]),
        verdicts,
        kept,
        known,
        of=order.image,
        now=record.now(),
        force=force,
    )
    stay = {each.id for each in kept} | {each.thing.id for each in beneath if not each.goes}
    return [*verdicts, *beneath, *receipts(papers, known, stay)]


def spoken_of(papers: Receipts, cloud: Cloud, registered: record.AmiReceipt | None) -> Known:
    uploaded = record.UploadReceipt.of_place(papers.upload, cloud.account, cloud.region, cloud.id)
    return Known(
        image=registered.id if registered else "",
        made_of=registered.location if registered else "",
        uploaded=uploaded.location if uploaded else "",
    )


def made(order: Order, cloud: Cloud, of_these: Sequence[str]) -> list[Bundle | Snapshot]:
    """What images may be made of: all in the image's folder and of its tag, and what is named."""
    ids = [each for each in of_these if each.startswith("snap-")]
    return [
        *bundles(order, cloud, [each for each in of_these if each not in ids]),
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
