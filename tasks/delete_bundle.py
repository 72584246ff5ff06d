"""A bundle deleted from its bucket: the manifest first, then the parts.

In:    upload.stamp, or a manifest's place, or a prefix
Out:   nothing that stays; the receipt of what went is removed
Needs: ec2:DescribeImages; s3:ListBucket, ListBucketMultipartUploads, AbortMultipartUpload, DeleteObject,
       GetBucketVersioning; for --clear GetBucketTagging, DeleteBucket
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from tasks.cloud import ec2, ending, erase, local, obey, s3
from tasks.cloud.clients import Cloud, connect
from tasks.kit.fault import ConfigFault
from tasks.plan import verdict
from tasks.plan.things import Bucket, Bundle, Others, Receipt, Uploads, Verdict, is_snapshot
from tasks.spec import names, record
from tasks.spec.cloud import CloudSpec
from tasks.spec.model import Image
from tasks.spec.part import Part

RECIPE = 1
MANIFEST = {
    "name": "manifest",
    "long": "manifest",
    "type": str,
    "default": "",
    "help": "another bundle than that of the receipt: BUCKET/KEY of its manifest",
}
PREFIX = {
    "name": "prefix",
    "long": "prefix",
    "type": str,
    "default": "",
    "help": "every bundle in a folder, or of a name: BUCKET/PREFIX",
}
CLEAR = {
    "name": "clear",
    "long": "clear",
    "type": bool,
    "default": False,
    "help": "the bucket, too, if it is ours and holds nothing else",
}


class Order(Part):
    image: str
    cloud: CloudSpec
    backing: Literal["ebs", "s3"] = "s3"

    @classmethod
    def of(cls, image: Image, cloud: CloudSpec) -> Self:
        return cls(image=image.name, cloud=cloud, backing=image.ami.backing)


@dataclass(frozen=True)
class Place:
    """What was asked for: one bundle by its stem, or all that a prefix is the folder or the stem of."""

    bucket: s3.Bucket
    prefix: str
    one: bool

    def holds(self, key: str) -> bool:
        ends = (verdict.MANIFEST, verdict.PART) if self.one else (verdict.MANIFEST, verdict.PART, "/")
        return key.startswith(tuple(self.prefix + end for end in ends))


def body(
    order: Order,
    *,
    home: Path,
    upload: Path,
    manifest: str,
    prefix: str,
    clear: bool,
    yes: bool,
) -> None:
    if order.cloud.kind == "local" and not local.exists(home):
        sys.stdout.write("no local cloud was made here: no bundle is in it\n")
        return
    cloud = connect(order.cloud, home)
    proof = record.UploadReceipt.of_place(upload, cloud.account, cloud.region, cloud.id)
    uploaded = proof.location if proof else ""
    if not (manifest or prefix) and (is_snapshot(uploaded) or (order.backing == "ebs" and not uploaded)):
        raise ConfigFault(
            f"{order.image} is EBS-backed: there is no bundle of it, but a snapshot",
            hint=f"doit deregister:{order.image} takes back both AMI and snapshot; --prefix names a bundle of before",
        )
    place = place_of(order, cloud, manifest=manifest or ("" if prefix else uploaded), prefix=prefix)
    given = {f"--manifest={manifest}": manifest, f"--prefix={prefix}": prefix, "--clear": clear}
    wish = obey.Wish(f"delete_bundle:{order.image}", tuple(name for name, said in given.items() if said))
    verdicts = judged(place, cloud, clear=clear)
    obey.carry_out([*verdicts, *receipts(place, verdicts, upload, uploaded)], cloud, wish, yes=yes)


def place_of(order: Order, cloud: Cloud, *, manifest: str, prefix: str) -> Place:
    """Raises ConfigFault unless exactly one place is meant."""
    own = order.cloud.bucket_in(cloud.account, cloud.region)
    sample = f"doit delete_bundle:{order.image} --prefix={own}/{names.folder(order.cloud, order.image)}"
    if manifest and prefix:
        raise ConfigFault("--manifest and --prefix mean different places", hint="give one of them")
    if not manifest and not prefix:
        raise ConfigFault(
            f"no receipt speaks of a bundle of {order.image} in {cloud.name}", hint=f"name it: {sample}"
        )
    name, _, key = (manifest or prefix).strip("/").partition("/")
    if manifest and not key.endswith(verdict.MANIFEST):
        raise ConfigFault(
            f"--manifest={manifest} is no manifest's place",
            hint=f"write BUCKET/KEY; its name ends with {verdict.MANIFEST}",
        )
    if not key:
        raise ConfigFault(
            f"--prefix={prefix} is a whole bucket", hint=f"say what in it is meant, as in {sample}"
        )
    bucket = s3.Bucket(cloud.s3(), name, owner=cloud.account, region=cloud.region)
    return Place(bucket, key.removesuffix(verdict.MANIFEST), one=bool(manifest))


def judged(place: Place, cloud: Cloud, *, clear: bool) -> list[Verdict]:
    """Bundles, unfinished uploads, what belongs to no bundle, the bucket."""
    if not s3.exists(place.bucket):
        return []
    images = [ending.held_image(image) for image in ec2.images(cloud.ec2())]
    found = erase.listed(place.bucket, place.prefix)
    keys = {key: value for key, value in found.items() if place.holds(key)}
    within = f"{place.bucket.name}/"
    named = (source for image in images for source in image.sources if source.startswith(within))
    manifests = [key for key in (source.removeprefix(within) for source in named) if place.holds(key)]
    bundles, others = verdict.bundles(place.bucket.name, keys, manifests)
    verdicts = verdict.asked(bundles, images)
    verdicts += uploads(place, [each for each in verdicts if not each.goes])
    if others:
        told = Others(place.bucket.name, others)
        verdicts.append(Verdict("stays", told, "no file of a bundle is called so"))
    return verdicts + bucket(place.bucket, verdicts, clear=clear)


def uploads(place: Place, refused: Iterable[Verdict]) -> list[Verdict]:
    stems = tuple(
        each.thing.manifest.removesuffix(verdict.MANIFEST)
        for each in refused
        if isinstance(each.thing, Bundle)
    )
    ids = tuple(
        (key, upload)
        for key, upload in erase.unfinished(place.bucket, place.prefix)
        if place.holds(key) and key.rpartition(verdict.PART)[0] not in stems
    )
    thing = Uploads(place.bucket.name, ids)
    return [Verdict("goes", thing, "they are of what was asked for, and cost")] if ids else []


def bucket(of: s3.Bucket, verdicts: Iterable[Verdict], *, clear: bool) -> list[Verdict]:
    """Whether the bucket goes with what was in it; and what will be left of that, if it keeps versions."""
    thing = Bucket(of.name)
    if erase.keeps_versions(of):
        kept = "it keeps versions: what is deleted is hidden in it, and costs, until its versions are deleted, too"
        return [Verdict("refused" if clear else "stays", thing, kept)]
    if not clear:
        return []
    if names.BUCKET_TAG not in s3.labels_of(of):
        return [Verdict("refused", thing, f"it is not ours: it bears no tag {names.BUCKET_TAG}")]
    going = [
        key
        for each in verdicts
        if each.goes and isinstance(each.thing, Bundle)
        for key in each.thing.keys
    ]
    if more := erase.holds_more(of, going):
        return [Verdict("refused", thing, f"it holds other things: {more}")]
    return [Verdict("goes", thing, "it is ours, and will hold nothing")]


def receipts(place: Place, verdicts: Iterable[Verdict], upload: Path, uploaded: str) -> list[Verdict]:
    """The upload's, when what it speaks of goes, or went before."""
    name, _, key = uploaded.partition("/")
    stays = uploaded in {each.thing.id for each in verdicts if not each.goes}
    if name != place.bucket.name or not place.holds(key) or stays:
        return []
    return [Verdict("goes", Receipt(upload), f"it speaks of {uploaded}")]
